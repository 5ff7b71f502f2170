"""A finished training within a run: its accuracy goes along with the artifact."""

import json
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from tests.registry.factories import digest_of, make_artifact, make_genotype
from wsdarts_registry.artifact.facts import TrainedResult
from wsdarts_registry.errors import RegistryWarning, RunError
from wsdarts_registry.publishing.publication import push
from wsdarts_registry.publishing.training_record import link_training, run_of
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.store import Entry

CLASSIFIER = {"classifier_accuracy", "classifier_images", "classifier_epochs"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory with an artifact of flowers."""
    metrics = {"alpha_accuracy": 0.25}
    make_artifact(tmp_path / "run" / "artifact", "flowers", files={}, metrics=metrics)
    (tmp_path / "run" / "config.json").write_text('{"format": 1, "command": "search"}')
    return tmp_path / "run"


def write_training(place: Path, *, result: dict[str, Any] | None = None, **changes: Any) -> None:
    """What `wsdarts-hub train` leaves, as far as it is read."""
    config = {
        "format": 1,
        "command": "train",
        "tasks": [digest_of("flowers")],
        "preset": "tiny",
        "training": {"cells": 5, "epochs": 8, "seed": 3, "crop_padding": None},
        "genotype": make_genotype().to_json(),
        **changes,
    }
    found = {"accuracy": 0.625, "loss": 1.5, "images": 40, "held_out": "validation"}
    place.mkdir(parents=True)
    (place / "config.json").write_text(json.dumps(config))
    (place / "result.json").write_text(json.dumps({**found, **(result or {})}))


def test_its_accuracy_is_on_the_card_and_in_the_list_of_the_hub(
    run: Path, store: DirectoryStore
) -> None:
    before = push(run, "flowers", registry=store)
    assert not CLASSIFIER & before.manifest.metrics.keys()
    write_training(run / "training")
    entry = push(run, "flowers", registry=store)
    assert entry.version == 2  # it says more than the first
    assert {key: entry.manifest.metrics[key] for key in CLASSIFIER} == {
        "classifier_accuracy": 0.625,
        "classifier_images": 40,
        "classifier_epochs": 8,
    }
    assert entry.manifest.config["classifier"] == {
        "cells": 5, "epochs": 8, "seed": 3, "crop_padding": None,
    }  # fmt: skip
    card = str(store.pull("flowers").card)
    (figure,) = (line for line in card.splitlines() if "Accuracy 62.5 %" in line)
    classifier, supernet = ModelCard(card).data.eval_results or []
    assert classifier.metric_value == 0.625
    for line in (figure, classifier.metric_name):
        assert "validation third (40 images)" in line
        assert "8 epochs" in line
    assert supernet.metric_value == 0.25
    assert push(run, "flowers", registry=store) == entry


def _baseline(accuracy: float, *, low: float, high: float, **changes: Any) -> dict[str, Any]:
    """What a training writes of its baseline, as far as it is read."""
    interval = {"value": accuracy, "low": accuracy, "high": accuracy}
    return {
        "name": "linear classifier on the features of a-probe",
        "kind": "linear",
        "accuracy": interval,
        "difference": {"value": 0.625 - accuracy, "low": low, "high": high},
        **changes,
    }


@pytest.mark.parametrize(
    ("accuracy", "low", "high", "judgement", "start", "end"),
    [
        (0.5, 0.025, 0.225, "above", "12.5 points above", "linear baseline"),
        (0.75, -0.25, -0.05, "below", "12.5 points below", "linear baseline"),
        (0.6, -0.1, 0.15, "unsure", "2.5 points above", "which may be chance"),
        (0.625, -0.05, 0.05, "unsure", "equal", "linear baseline"),
    ],
)
def test_the_linear_baseline_goes_along(
    accuracy: float,
    low: float,
    high: float,
    judgement: str,
    start: str,
    end: str,
    run: Path,
    store: DirectoryStore,
) -> None:
    found = {"baseline": _baseline(accuracy, low=low, high=high), "parameters": 1234}
    write_training(run / "training", result=found)
    manifest = push(run, "flowers", registry=store).manifest
    assert manifest.metrics["classifier_baseline_accuracy"] == accuracy
    assert manifest.metrics["classifier_parameters"] == 1234
    assert manifest.config["classifier_baseline"].endswith("a-probe")
    result = TrainedResult.of(manifest)
    assert result is not None
    assert result.judgement == judgement
    verdict = result.verdict
    assert verdict.startswith(start)
    assert verdict.endswith(end)
    assert "linear baseline" in verdict
    card = str(store.pull("flowers").card)
    assert verdict in card
    assert ("**Below its baseline.**" in card) is (judgement == "below")
    (classifier, _) = ModelCard(card).data.eval_results or []
    assert f"linear baseline {100 * accuracy:.1f} %" in classifier.metric_name


def test_another_baseline_stays_in_the_training(run: Path, store: DirectoryStore) -> None:
    tuned = _baseline(0.5, low=0.1, high=0.2, kind="timm", name="fine-tuned resnet10t")
    write_training(run / "training", result={"baseline": tuned})
    manifest = push(run, "flowers", registry=store).manifest
    assert not [key for key in manifest.metrics if "baseline" in key]
    result = TrainedResult.of(manifest)
    assert result is not None
    assert result.judgement == "unknown"


def _left_out(run: Path, store: DirectoryStore, reason: str) -> Entry:
    with pytest.warns(RegistryWarning, match=f"was left out: .*{reason}"):
        entry = push(run, "flowers", registry=store)
    assert not CLASSIFIER & entry.manifest.metrics.keys()
    return entry


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tasks": [digest_of("birds")]}, "other cells .*another task"),
        (
            {"genotype": {**make_genotype().to_json(), "normal": [[["none", 0]], [["none", 0]]]}},
            "other cells .*another task",
        ),
        ({"genotype": {}}, "cannot be read"),
        ({"command": "warm-start"}, "cannot be read: command"),
        ({"result": {"accuracy": 62.5}}, "cannot be read: accuracy"),
        ({"result": {"held_out": "alpha"}}, "cannot be read: held_out"),
        ({"result": {"baseline": {"kind": "linear"}}}, "cannot be read: baseline"),
    ],
)
def test_what_is_no_training_of_these_cells_is_left_out(
    changes: dict[str, Any], reason: str, run: Path, store: DirectoryStore
) -> None:
    write_training(run / "training", **changes)
    _left_out(run, store, reason)


def test_of_several_the_one_that_finished_last_goes_along(run: Path, store: DirectoryStore) -> None:
    write_training(run / "training-tiny-1", result={"finished": "2026-01-02T03:04:06Z"})
    best = {"accuracy": 0.75, "finished": "2026-01-02T03:04:05Z"}
    write_training(run / "training-tiny-2", result=best)
    write_training(run / "elsewhere-called", result={"finished": "2025-01-02T03:04:05Z"})
    with pytest.warns(RegistryWarning, match=r"3 trainings.*training-tiny-1 \(62\.5 %\)"):
        entry = push(run, "flowers", registry=store)
    assert entry.manifest.metrics["classifier_accuracy"] == 0.625
    named = push(run, "flowers", registry=store, training=run / "training-tiny-2")
    assert named.manifest.metrics["classifier_accuracy"] == 0.75


def test_without_a_date_the_file_tells_when_it_finished(run: Path, store: DirectoryStore) -> None:
    for name, accuracy, when in (("training", 0.5, 2000.0), ("training-2", 0.25, 1000.0)):
        write_training(run / name, result={"accuracy": accuracy})
        os.utime(run / name / "result.json", (when, when))
    with pytest.warns(RegistryWarning, match="2 trainings"):
        entry = push(run, "flowers", registry=store)
    assert entry.manifest.metrics["classifier_accuracy"] == 0.5


def test_a_training_elsewhere_is_found(run: Path, store: DirectoryStore, tmp_path: Path) -> None:
    write_training(tmp_path / "net")
    link_training(run, tmp_path / "net")
    assert run_of(tmp_path / "net") == run
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        entry = push(run, "flowers", registry=store)
    assert entry.manifest.metrics["classifier_accuracy"] == 0.625


def test_both_may_be_moved_together(run: Path, store: DirectoryStore, tmp_path: Path) -> None:
    write_training(tmp_path / "net")
    link_training(run, tmp_path / "net")
    (tmp_path / "moved").mkdir()
    for name in ("run", "net"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    entry = push(tmp_path / "moved" / "run", "flowers", registry=store)
    assert entry.manifest.metrics["classifier_accuracy"] == 0.625
    assert run_of(tmp_path / "moved" / "net") == tmp_path / "moved" / "run"


def test_one_that_is_gone_is_said_and_can_be_named(
    run: Path, store: DirectoryStore, tmp_path: Path
) -> None:
    write_training(tmp_path / "net")
    link_training(run, tmp_path / "net")
    (tmp_path / "net").rename(tmp_path / "elsewhere")
    with pytest.warns(RegistryWarning, match=rf"{tmp_path / 'net'} any more.*--training"):
        entry = push(run, "flowers", registry=store)
    assert not CLASSIFIER & entry.manifest.metrics.keys()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        named = push(run, "flowers", registry=store, training=tmp_path / "elsewhere")
    assert named.manifest.metrics["classifier_accuracy"] == 0.625


def test_a_training_that_was_named_has_to_be_one(
    run: Path, store: DirectoryStore, tmp_path: Path
) -> None:
    write_training(tmp_path / "other", tasks=[digest_of("birds")])
    (tmp_path / "unfinished").mkdir()
    for name in ("other", "unfinished", "nowhere"):
        with pytest.raises(RunError, match=rf"{tmp_path / name} .*expected the --out") as raised:
            push(run, "flowers", registry=store, training=tmp_path / name)
        assert "fetch" not in str(raised.value)  # a training is made, not fetched
    assert not store.names()


def test_a_record_that_is_damaged_stops_nothing(
    run: Path, store: DirectoryStore, tmp_path: Path
) -> None:
    write_training(tmp_path / "net")
    link_training(run, tmp_path / "net")
    for number, text in enumerate(("{", "[]", '{"format": 1, "path": 3, "relative": ""}')):
        (run / "trainings" / f"{number}.json").write_text(text)
    entry = push(run, "flowers", registry=store)
    assert entry.manifest.metrics["classifier_accuracy"] == 0.625
