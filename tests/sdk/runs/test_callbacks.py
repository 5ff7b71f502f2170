"""Callbacks and logging of real runs, and what TensorBoard reads of them."""

import itertools
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run, images, run
from tests.cli.test_search_commands import QUICK, QUICK_TRAINING
from wsdarts_hub import (
    TINY,
    Callback,
    Genotype,
    RunFacts,
    TensorBoardWriter,
    TrainingRun,
    search,
    train,
    warm_start,
)
from wsdarts_registry.architecture.genotype import Connection
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_registry.errors import ArgumentError
from wsdarts_sdk.presets import Preset
from wsdarts_sdk.progress import silent

__all__ = ["images", "run"]

NODES = ((Connection(source=0, operation="sep_conv_3x3"),),)
CELLS = Genotype(space=SearchSpace(nodes=1), normal=NODES, reduction=NODES)


class Told(Callback):
    """Keeps what it is told, and fails at an epoch if asked to."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.facts: list[RunFacts] = []
        self.rows: list[Mapping[str, Any]] = []
        self.results: list[Any] = []
        self.fails_at = fails_at

    def on_start(self, facts: RunFacts, /) -> None:
        self.facts.append(facts)

    def on_epoch(self, row: Mapping[str, Any], /) -> None:
        self.rows.append(row)
        if row["epoch"] == self.fails_at:
            raise ZeroDivisionError("of the callback")

    def on_end(self, result: Any, /) -> None:
        self.results.append(result)


@pytest.fixture
def quick() -> Preset:
    stage = replace(TINY.search.stages[-1], cells=3, operations=3, epochs=2, weights_only_epochs=0)
    first = replace(stage, operations=8, epochs=1)
    searching = replace(
        TINY.search,
        stages=(first, stage),
        channels=2,
        image_size=8,
        steps_per_epoch=1,
        batch_size=4,
    )
    training = replace(
        TINY.training, epochs=4, cells=3, channels=2, image_size=8, batch_size=8, steps_per_epoch=1
    )
    return replace(TINY, search=searching, training=training)


def trained(images: Path, quick: Preset, out: Path, *told: Callback, **more: Any) -> TrainingRun:
    return train(CELLS, images, preset=quick, out=out, progress=silent, callbacks=told, **more)


def test_a_training_tells_start_epochs_and_end(images: Path, quick: Preset, tmp_path: Path) -> None:
    told = Told()
    found = trained(images, quick, tmp_path / "net", told)
    (facts,) = told.facts
    assert (facts.command, facts.path, facts.tasks) == ("train", tmp_path / "net", ("images",))
    assert facts.settings["epochs"] == 4
    assert not facts.resumed
    assert [dict(row) for row in told.rows] == list(found.result.rows)
    assert told.results == [found]
    with pytest.raises(TypeError):
        told.rows[0]["loss"] = 0  # type: ignore[index]
    with pytest.raises(TypeError):
        facts.settings["epochs"] = 5  # type: ignore[index]


def test_searches_tell_the_epochs_of_all_stages(
    images: Path, quick: Preset, tmp_path: Path
) -> None:
    told = Told()
    found = search(images, preset=quick, out=tmp_path / "s", progress=silent, callbacks=[told])
    assert [(row["stage"], row["epoch"]) for row in told.rows] == [(0, 0), (1, 0), (1, 1)]
    assert told.facts[0].command == "search"
    assert told.results == [found]
    warm = Told()
    started = warm_start(
        images, mode="cold", preset=quick, out=tmp_path / "w", progress=silent, callbacks=[warm]
    )
    assert [row["stage"] for row in warm.rows] == [0, 1, 1]
    after = Told()
    started.train(preset=quick, progress=silent, callbacks=[after])
    assert len(after.rows) == 4


def test_an_exception_ends_the_run_and_keeps_the_checkpoint(
    images: Path, quick: Preset, tmp_path: Path
) -> None:
    failing = Told(fails_at=1)
    with pytest.raises(ZeroDivisionError):
        trained(images, quick, tmp_path / "net", failing)
    assert [row["epoch"] for row in failing.rows] == [0, 1]
    assert failing.results == []
    goes_on = Told()
    found = trained(images, quick, tmp_path / "net", goes_on, resume=True)
    # Only new epochs, and the same network as without the interruption.
    assert [row["epoch"] for row in goes_on.rows] == [2, 3]
    assert goes_on.facts[0].resumed
    whole = trained(images, quick, tmp_path / "whole")
    assert found.result.loss == whole.result.loss
    searching = Told(fails_at=0)
    with pytest.raises(ZeroDivisionError):
        search(images, preset=quick, out=tmp_path / "s", progress=silent, callbacks=[searching])
    rest = Told()
    search(images, preset=quick, out=tmp_path / "s", progress=silent, callbacks=[rest], resume=True)
    assert [(row["stage"], row["epoch"]) for row in rest.rows] == [(1, 0), (1, 1)]


@pytest.mark.parametrize("given", [print, [print], "abc", None])
def test_what_is_no_callback_is_refused_before_the_work(given: Any, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError):
        train(CELLS, "no/such/folder", out=tmp_path / "net", callbacks=given)
    assert not (tmp_path / "net").exists()


def test_tensorboard_reads_what_was_written(images: Path, quick: Preset, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    from tensorboard.backend.event_processing.event_accumulator import (  # noqa: PLC0415
        EventAccumulator,
    )

    class Stops(Callback):
        def on_epoch(self, row: Mapping[str, Any], /) -> None:
            if row["epoch"] == 1:
                raise ZeroDivisionError

    there = tmp_path / "events"
    with pytest.raises(ZeroDivisionError):
        trained(images, quick, tmp_path / "net", TensorBoardWriter(there), Stops())
    found = trained(images, quick, tmp_path / "net", TensorBoardWriter(there), resume=True)
    events = EventAccumulator(str(there))
    events.Reload()
    losses = events.Scalars("training/loss")
    assert [each.step for each in losses] == [0, 1, 2, 3]
    assert [each.value for each in losses] == pytest.approx([r["loss"] for r in found.result.rows])
    (accuracy,) = events.Scalars("held out/accuracy")
    assert accuracy.value == pytest.approx(found.accuracy)


def test_the_library_logs_and_shows_nothing_by_itself(
    images: Path,
    quick: Preset,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with caplog.at_level(logging.INFO, "wsdarts_hub"):
        for name in ("one", "two"):
            search(images, preset=quick, out=tmp_path / name, progress=silent)
    assert {record.name.partition(".")[0] for record in caplog.records} == {"wsdarts_hub"}
    said = [record.getMessage() for record in caplog.records]
    assert sum(text.startswith("epoch: ") for text in said) == 6
    assert sum(text.startswith("phase: embedding") for text in said) == 2
    assert any(record.name == "wsdarts_hub.embedding" for record in caplog.records)
    assert capsys.readouterr().err == ""


def test_commands_print_no_log(images: Path, run: Run, tmp_path: Path) -> None:
    found = run("search", images, "--out", tmp_path / "run", *QUICK)
    assert found.code == 0
    lines = found.err.splitlines()
    assert not any(line == after for line, after in itertools.pairwise(lines))
    assert not any(line.startswith(("epoch: ", "phase: ")) for line in lines)
    done = run("train", tmp_path / "run", images, "--out", tmp_path / "net", *QUICK_TRAINING, "-q")
    assert done.err == ""
