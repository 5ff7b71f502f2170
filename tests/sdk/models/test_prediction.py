"""Predictions: the right pixels reach the network, in order, and bad images are named."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from wsdarts_hub import Classifier
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.errors import ArtifactError, ExportError, SettingsError, TaskError
from wsdarts_sdk.models import prediction
from wsdarts_sdk.models.network import DerivedNetwork
from wsdarts_sdk.models.prediction import predict

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
            assert "not an image" in str(item.problem)
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


def test_an_open_file_is_one_image(model: Classifier, folder: Path) -> None:
    path = folder / "0.png"
    (expected,) = model.predict(path)
    with path.open("rb") as file:
        file.read(10)
        (found,) = model.predict(file)
        assert found == expected  # named by the file, read from its beginning
        assert [item.image for item in model.predict([file, path])] == [str(path), str(path)]
    buffer = io.BytesIO()
    Image.fromarray(noise(0)).save(buffer, "PNG")
    for form in (buffer, bytearray(buffer.getvalue()), memoryview(buffer.getvalue())):
        (found,) = model.predict(form)  # type: ignore[arg-type]
        assert (found.image, found.classes) == ("image 0", expected.classes)
    (closed,) = model.predict(file)
    assert "closed file" in str(closed.problem)
    with path.open(encoding="latin-1") as text:
        (found,) = model.predict(text)  # type: ignore[arg-type]
    assert "'rb'" in str(found.problem)


def test_pixels_in_every_form(model: Classifier) -> None:
    pixels = noise(0)
    (expected,) = model.predict(pixels)
    first = np.moveaxis(pixels, -1, 0)
    for form in (
        first,
        pixels / 255,
        first.astype(np.float32) / 255,
        torch.from_numpy(pixels),
        torch.from_numpy(first.copy()) / 255,
    ):
        (found,) = model.predict(form)
        assert found.classes == expected.classes
    grey = pixels[..., 0]
    (same,) = model.predict(np.repeat(grey[..., None], 3, axis=2))
    assert model.predict(grey) == [same]
    several = torch.stack([torch.from_numpy(noise(n)) for n in range(3)])
    found = model.predict(several)
    assert [item.image for item in found] == ["image 0", "image 1", "image 2"]
    assert dict(found[0].classes) == pytest.approx(dict(expected.classes))
    assert [item.image for item in model.predict([pixels, several])][1:] == [
        "image 1.0", "image 1.1", "image 1.2"
    ]  # fmt: skip
    assert model.predict(iter([pixels])) == [expected]


@pytest.mark.parametrize("images", [None, 5, {"a.png": 1}, object()])
def test_what_is_no_image_is_refused(images: Any, model: Classifier) -> None:
    with pytest.raises(TaskError, match=type(images).__name__):
        model.predict(images)
    with pytest.raises(TaskError, match=f"image 1 is of type {type(images).__name__}"):
        model.predict([noise(0), images])


@pytest.mark.parametrize(
    ("pixels", "named"),
    [
        (noise(0)[0, 0], r"image 0 has shape \(3,\)"),
        (noise(0).astype(np.int64), "int64"),
        (noise(0).astype(np.float32), "by 255"),
        (torch.full((3, 8, 8), -1.0), "-1 to -1"),
        (np.zeros((8, 8, 5), dtype=np.uint8), r"\(8, 8, 5\)"),
    ],
)
def test_pixels_in_another_form(pixels: Any, named: str, model: Classifier) -> None:
    with pytest.raises(TaskError, match=named):
        model.predict(pixels)


def test_images_that_pillow_cannot_read_have_a_problem(model: Classifier, folder: Path) -> None:
    path = folder / "0.png"
    content = path.read_bytes()
    cut = Image.open(io.BytesIO(content[: len(content) // 2]))
    bright = Image.fromarray(np.full((8, 8), 7.0, dtype=np.float32))
    found = model.predict([cut, bright, path, "https://example.org/cat.jpg", "a\0b", "x" * 5000])
    assert [item.problem is None for item in found] == [False, False, True, False, False, False]
    assert (found[3].image, found[4].image) == ("https://example.org/cat.jpg", "a\0b")
    assert "address" in str(found[3].problem)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_models_of_every_floating_type_predict(dtype: torch.dtype, model: Classifier) -> None:
    expected = dict(model.predict(noise(0))[0].classes)
    model.to(dtype)
    found = dict(model.predict(noise(0))[0].classes)
    assert found == pytest.approx(expected, abs=0.05)
    x = torch.rand(1, 3, 8, 8)
    assert model(x).dtype == model(x.to(dtype)).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_images_of_integers_are_refused(dtype: torch.dtype, model: Classifier) -> None:
    with pytest.raises(TaskError, match=rf"{dtype}.*images / 255"):
        model(torch.zeros(1, 3, 8, 8, dtype=dtype))


@pytest.mark.filterwarnings(
    "ignore:.torch.jit:DeprecationWarning", "ignore:.torch.jit:FutureWarning"
)
def test_scripting_is_refused_and_tracing_works(model: Classifier) -> None:
    x = torch.rand(1, 3, 8, 8)
    for each in (model, model.network, nn.Sequential(model)):
        with pytest.raises(ExportError, match=r"torch\.jit\.script.*torch\.jit\.trace"):
            torch.jit.script(each)
    traced = torch.jit.trace(model, x)
    assert torch.allclose(traced(x), model(x), atol=1e-6)


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
    assert "(No such file" in str(missing.problem)
    (empty,) = model.predict(b"")
    assert empty.problem == "the file is empty"
    (folder / "empty").mkdir()
    with pytest.raises(TaskError, match="empty has no images"):
        model.predict([folder / "0.png", folder / "empty"])
    assert model.predict([]) == []


def test_images_of_a_folder_that_are_passed_over_are_said(model: Classifier, folder: Path) -> None:
    (folder / "0.png").rename(folder / "img0")
    for number in range(3):
        (folder / f"{number}.heic").touch()
    told: list[str] = []
    list(predict(model, folder, progress=lambda what, done, total: told.append(what)))
    (said,) = [what for what in told if "passed over" in what]
    assert "3 .heic, 1 without a suffix" in said
    (folder / "rest").mkdir()
    for file in (*folder.glob("*.heic"), folder / "img0"):
        file.rename(folder / "rest" / file.name)
    with pytest.raises(TaskError, match=r"3 \.heic, 1 without"):
        model.predict(folder / "rest")


def test_what_is_no_regular_file_or_has_no_black_and_white(model: Classifier, folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    grey = Image.fromarray(np.full((8, 8), -7, dtype=np.int32))
    pipe, signed = model.predict([folder / "pipe.png", grey])
    assert "no regular file" in str(pipe.problem)
    assert "values from -7 to -7" in str(signed.problem)


def test_numbers_that_do_not_fit(model: Classifier) -> None:
    with pytest.raises(SettingsError, match="top_k is 0"):
        model.predict(noise(0), top_k=0)
    with pytest.raises(SettingsError, match="batch_size is 0"):
        model.predict(noise(0), batch_size=0)


def test_a_model_that_computes_no_numbers(model: Classifier) -> None:
    nn.init.constant_(model.network.classifier.bias, float("nan"))
    with pytest.raises(ArtifactError, match="not finite"):
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
