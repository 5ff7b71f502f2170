"""A split that a dataset comes with, from the folder to the card."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from wsdarts_hub import TINY, ImageTask, Preset, open_registry, push, search, train, warm_start
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.errors import RunError
from wsdarts_sdk.models.training import train_network
from wsdarts_sdk.reports.report import report
from wsdarts_sdk.reports.report_files import read_run

_QUICK = Preset(
    name="quick",
    search=replace(
        TINY.search,
        stages=tuple(replace(stage, epochs=1, trained_epochs=1) for stage in TINY.search.stages),
        steps_per_epoch=1,
        image_size=12,
        batch_size=6,
    ),
    training=replace(TINY.training, epochs=1, steps_per_epoch=1, image_size=12, batch_size=6),
    selection=replace(TINY.selection, epochs=1, steps_per_epoch=1, image_size=12, batch_size=6),
)
_SIZES = {"train": 6, "val": 4, "test": 5}


@pytest.fixture(scope="module")
def make_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Digits of three classes, so many of a class in each part."""
    digits = load_digits(n_class=3)

    def make(*parts: str) -> Path:
        root = tmp_path_factory.mktemp("digits")
        for label in range(3):
            images = iter(digits.images[digits.target == label])
            for part in parts:
                (root / part / str(label)).mkdir(parents=True)
                for number in range(_SIZES[part]):
                    pixels = (next(images) * 15).astype(np.uint8)
                    Image.fromarray(pixels).save(root / part / str(label) / f"{number}.png")
        return root

    return make


MakeFolder = Callable[..., Path]


def test_validation_chooses_and_test_is_reported_once(
    make_folder: MakeFolder, tmp_path: Path
) -> None:
    folder = make_folder("train", "val", "test")
    found = search(folder, out=tmp_path / "run", preset=_QUICK)
    assert "train 18, validation 12, test 15" in repr(found.tasks[0])
    trained = train(found.genotype, folder, preset=_QUICK, out=tmp_path / "run" / "training")
    assert (trained.result.held_out, trained.result.images) == ("test", 15)

    # What the report, the artifact and the card say.
    page = found.report.read_text(encoding="utf-8")
    assert "split as given" in page
    assert '<td class="n">12</td><td class="n">15</td>' in page
    (row,) = read_run(tmp_path / "run").tasks
    assert (row.given_split, row.weights_images, row.alpha_images) == (True, 9, 9)
    assert (row.validation_images, row.test_images) == (12, 15)
    assert "on the test part" in trained.report.read_text(encoding="utf-8")
    (task,) = read_artifact(found.artifact).manifest.tasks
    assert str(task.split) == "train 18, validation 12, test 15"
    assert task.images == 45
    entry = push(found.path, "digits", registry=tmp_path / "zoo")
    assert entry.manifest.metrics["classifier_images"] == 15


def test_without_a_test_part_the_validation_part_is_reported(
    make_folder: MakeFolder, tmp_path: Path
) -> None:
    folder = make_folder("train", "val")
    found = search(folder, out=tmp_path / "run", preset=_QUICK)
    trained = train(found.genotype, folder, preset=_QUICK, out=tmp_path / "training")
    assert (trained.result.held_out, trained.result.images) == ("validation", 12)
    assert "on the validation part" in trained.report.read_text(encoding="utf-8")


def test_groups_are_in_report_artifact_and_cards(make_folder: MakeFolder, tmp_path: Path) -> None:
    folder = make_folder("train") / "train"
    files = sorted(folder.glob("*/*.png"))
    rows = [f"{file.parent.name}/{file.name},p{n // 2}" for n, file in enumerate(files)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,patient", *rows]))
    found = search(folder, out=tmp_path / "run", preset=_QUICK, groups="patient")
    assert read_artifact(found.artifact).manifest.tasks[0].groups == 9
    assert read_run(found.path).tasks[0].groups == 9
    assert "9 groups" in found.report.read_text(encoding="utf-8")
    net = train(found.genotype, folder, preset=_QUICK, out=tmp_path / "net", groups="patient")
    facts = net.model.facts
    assert facts is not None
    assert facts.data is not None
    assert facts.data.groups == 9
    card = net.model.save_timm(tmp_path / "timm") / "README.md"
    assert "9 groups" in card.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("parts", "held_out", "images"),
    [(("train", "val"), "alpha", 9), (("train", "val", "test"), "validation", 12)],
)
def test_a_selection_is_ranked_without_what_is_reported(
    parts: tuple[str, ...], held_out: str, images: int, make_folder: MakeFolder
) -> None:
    task = ImageTask.load(make_folder(*parts))
    genotype = open_registry().pull("dtd-10").genotype
    found = train_network(genotype, task, _QUICK.selection, selection=True)
    assert (found.held_out, found.images) == (held_out, images)


@pytest.mark.slow
def test_a_sweep_is_ranked_by_the_validation_part(make_folder: MakeFolder, tmp_path: Path) -> None:
    found = warm_start(
        make_folder("train", "val", "test"),
        out=tmp_path / "run",
        preset=_QUICK,
        source="dtd-10",
        mode="topology",
        sweep_skip_dropout=True,
    )
    page = found.report.read_text(encoding="utf-8")
    assert "on the validation part" in page
    assert "the test part" in page
    hits = [12 * trial.accuracy for trial in found.trials]
    assert hits == pytest.approx(np.round(hits))


def test_a_run_by_the_rule_before_is_read_and_pushed_and_not_resumed(
    make_folder: MakeFolder, tmp_path: Path
) -> None:
    folder = make_folder("train") / "train"
    found = search(folder, out=tmp_path / "run", preset=_QUICK)
    # As runs were recorded before: no rule in the configuration, no parts but three in the report.
    config = json.loads((found.path / "config.json").read_bytes())
    assert config.pop("split_rule") == 2
    (found.path / "config.json").write_text(json.dumps(config))
    data = json.loads((found.path / "report.json").read_bytes())
    for row in data["tasks"]:
        del row["test_images"], row["given_split"], row["groups"]
    (found.path / "report.json").write_text(json.dumps(data))

    with pytest.raises(RunError, match="split rule") as caught:
        search(folder, out=found.path, preset=_QUICK, resume=True)
    assert (caught.value.found, caught.value.expected) == ("1", "2")
    assert str(found.path) in str(caught.value)
    assert "\n" not in str(caught.value)
    (row,) = read_run(found.path).tasks
    assert (row.test_images, row.given_split) == (0, False)
    assert report(found.path).save(tmp_path / "page.html").is_file()
    entry = push(found.path, "old", registry=tmp_path / "zoo")
    assert entry.manifest.tasks[0].split is None
