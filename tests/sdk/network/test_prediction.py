"""Predictions: the right pixels reach the network, in order, and bad images are named."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from wsdarts_hub import Classifier
from wsdarts_registry.errors import ArtifactError, SettingsError, TaskError
from wsdarts_registry.genotype import Genotype
from wsdarts_sdk.network import prediction
from wsdarts_sdk.network.derived import DerivedNetwork
from wsdarts_sdk.network.prediction import predict

NAMES = ("a", "b", "c")


@pytest.fixture
def model(genotype: Genotype) -> Classifier:
    """A network with used norms, for images of 8×8."""
    network = DerivedNetwork(genotype, classes=3, cells=3, channels=4, seed=3)
    network(torch.randn(16, 3, 8, 8))
    return Classifier(
        network,
        mean=torch.tensor([0.1, 0.2, 0.3]),
        std=torch.tensor([0.4, 0.5, 0.6]),
        image_size=8,
        class_names=NAMES,
    ).eval()


@pytest.fixture
def constant(model: Classifier) -> Classifier:
    """A model that says 0.2, 0.7 and 0.1 of everything."""
    nn.init.zeros_(model.network.classifier.weight)
    with torch.no_grad():
        model.network.classifier.bias.copy_(torch.tensor([0.2, 0.7, 0.1]).log())
    return model


def noise(number: int, size: tuple[int, int] = (8, 8)) -> NDArray[np.uint8]:
    return np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five images, one of them in a folder within, and a file that is none."""
    root = tmp_path / "photos"
    (root / "within").mkdir(parents=True)
    for number, name in enumerate(("0.png", "1.png", "2.png", "within/3.png", "within/4.png")):
        Image.fromarray(noise(number)).save(root / name)
    (root / "notes.txt").write_text("no image")
    return root


def test_most_probable_first(constant: Classifier) -> None:
    (found,) = constant.predict(noise(0))
    assert [name for name, _ in found.classes] == ["b", "a", "c"]
    assert [value for _, value in found.classes] == pytest.approx([0.7, 0.2, 0.1], abs=1e-6)
    assert (found.name, found.image, found.problem) == ("b", "image 0", None)
    (two,) = constant.predict([noise(0)], top_k=2)
    assert two.classes == found.classes[:2]


def test_the_preprocessing_of_the_model(model: Classifier) -> None:
    pixels = noise(1)
    expected = model(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255)
    (found,) = model.predict(pixels)
    by_name = dict(found.classes)
    assert [by_name[name] for name in NAMES] == pytest.approx(
        expected.softmax(dim=1)[0].tolist(), abs=1e-6
    )


def test_images_are_squashed(model: Classifier) -> None:
    wide = noise(2, (8, 16))
    small = np.asarray(Image.fromarray(wide).resize((8, 8), Image.Resampling.BILINEAR))
    assert model.predict(wide)[0].classes == model.predict(small)[0].classes


@pytest.mark.parametrize("batch_size", [1, 2, 3, 64])
def test_order_does_not_depend_on_batches(batch_size: int, model: Classifier, folder: Path) -> None:
    (folder / "1.png").write_bytes(b"broken")
    found = model.predict([folder / "2.png", folder], batch_size=batch_size)
    names = ["2.png", "0.png", "1.png", "2.png", "within/3.png", "within/4.png"]
    assert [item.image for item in found] == [str(folder / name) for name in names]
    for item, number in zip(found, (2, 0, None, 2, 3, 4), strict=True):
        if number is None:
            assert (item.classes, item.name) == ((), None)
            assert item.problem == "not an image in a known format"
        else:
            (alone,) = model.predict(noise(number))
            assert [n for n, _ in item.classes] == [n for n, _ in alone.classes]
            assert [p for _, p in item.classes] == pytest.approx([p for _, p in alone.classes])


def test_large_images_go_in_small_batches(
    model: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    model.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    monkeypatch.setattr(prediction, "_MOST_PIXELS", 3 * model.image_size**2)
    images = [noise(number) for number in range(7)]
    assert len(model.predict(images)) == 7
    assert sizes == [3, 3, 1]


def test_every_form_of_an_image(model: Classifier, folder: Path) -> None:
    path = folder / "0.png"
    forms = (path, str(path), path.read_bytes(), Image.open(path), noise(0))
    (expected,) = model.predict(noise(0))
    for form in forms:
        (found,) = model.predict(form)
        assert found.classes == expected.classes
    assert [found.image for found in model.predict(forms)][2:] == ["image 2", "image 3", "image 4"]


def test_images_are_turned_and_their_transparency_is_laid_over_white(model: Classifier) -> None:
    picture = Image.fromarray(noise(3, (6, 9)))
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", exif=exif)
    turned = np.asarray(picture.transpose(Image.Transpose.ROTATE_270))
    assert model.predict(buffer.getvalue())[0].classes == model.predict(turned)[0].classes
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    white = np.full((8, 8, 3), 255, dtype=np.uint8)
    assert model.predict(clear)[0].classes == model.predict(white)[0].classes


def test_what_cannot_be_read(model: Classifier, folder: Path) -> None:
    (missing,) = model.predict(folder / "absent.png")
    assert missing.problem == "it cannot be read (No such file or directory)"
    (empty,) = model.predict(b"")
    assert empty.problem == "the file is empty"
    (folder / "empty").mkdir()
    with pytest.raises(TaskError, match="empty has no images; name files, or another folder"):
        model.predict([folder / "0.png", folder / "empty"])
    with pytest.raises(TaskError, match=r"image 1 has shape \(8, 8\) and type uint8; expected RGB"):
        model.predict([noise(0), noise(0)[..., 0]])
    with pytest.raises(TaskError, match="and type float32; expected RGB"):
        model.predict(noise(0).astype(np.float32))  # type: ignore[arg-type]
    assert model.predict([]) == []


def test_numbers_that_do_not_fit(model: Classifier) -> None:
    with pytest.raises(SettingsError, match="top_k is 0 and batch_size 64; expected at least 1"):
        model.predict(noise(0), top_k=0)
    with pytest.raises(SettingsError, match="top_k is 5 and batch_size 0"):
        model.predict(noise(0), batch_size=0)


def test_a_model_that_computes_no_numbers(model: Classifier) -> None:
    nn.init.constant_(model.network.classifier.bias, float("nan"))
    with pytest.raises(ArtifactError, match="numbers that are not finite; train it again"):
        model.predict(noise(0))


def test_the_mode_comes_back(model: Classifier) -> None:
    (expected,) = model.predict(noise(0))
    model.train()
    assert model.predict(noise(0)) == [expected]
    assert model.training
    iterator = predict(model, [noise(0)])
    next(iterator)
    iterator.close()
    assert model.training
