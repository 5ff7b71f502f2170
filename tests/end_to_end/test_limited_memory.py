"""Searches and trainings in processes whose memory is really limited."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.documentation.workplace import Programs
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_sdk.runs.directory import METRICS_SUFFIX, MODEL_FILE

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space"),
]

_SIZE = 64
_STAGE = {"cells": 3, "epochs": 2, "weights_only_epochs": 1}
# A batch takes 0.4 GB, and two of its images a quarter of that.
_SEARCH = (
    *("--preset", "tiny", "--candidates", "1"),
    *("--set", f"search.image_size={_SIZE}", "--set", "search.channels=8"),
    *("--set", "search.batch_size=8", "--set", "search.steps_per_epoch=2"),
    *("--set", f"search.stages={json.dumps([{**_STAGE, 'operations': n} for n in (8, 5)])}"),
)
# A batch takes 0.17 GB.
_TRAINING = (
    *("--preset", "tiny", "--no-baseline", "--set", f"training.image_size={_SIZE}"),
    *("--set", "training.channels=16", "--set", "training.batch_size=16"),
    *("--set", "training.steps_per_epoch=1"),
)
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of two classes: dark and bright noise."""
    draws = np.random.default_rng(0)
    for name, low in (("bright", 120), ("dark", 0)):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for number in range(13):
            noise = draws.integers(low, low + 120, (_SIZE, _SIZE, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"{number:02}.png")
    return tmp_path / "images"


@pytest.fixture
def command(programs: Programs, environment: dict[str, str]) -> Command:
    """Run a command: ``command(ARGUMENT, …, MEMORY_OF_SEARCH=0.5)``."""

    def run(*arguments: str | Path, **limits: float) -> "subprocess.CompletedProcess[str]":
        set_by = {name: str(value) for name, value in limits.items()}
        return subprocess.run(
            [programs.path("wsdarts-hub"), *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=environment | set_by | {"DOCUMENTATION_IMPORT": "tests.end_to_end.limited_memory"},
        )

    return run


def rows(run: Path, name: str) -> list[dict[str, Any]]:
    """Return the metrics of each epoch of a search or training."""
    lines = (run / f"{name}{METRICS_SUFFIX}").read_text().splitlines()
    return [json.loads(line) for line in lines]


def assert_one_line(ended: "subprocess.CompletedProcess[str]", *words: str) -> None:
    """Assert that a command ended with an error of one line with some words, and nothing else."""
    assert ended.returncode == 1, ended.stderr
    assert ended.stdout == ""
    line = "".join(f"{re.escape(each)}[^\n]*" for each in words)
    assert re.fullmatch(rf"error: [^\n]*{line}\n", ended.stderr), ended.stderr


def test_a_search_without_memory_and_with_that_of_half_a_batch(
    images: Path, command: Command, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    none = command("search", images, *_SEARCH, "--out", run, "-q", MEMORY_OF_SEARCH=0.001)
    assert_one_line(none, "2 images", "64 pixels", " MB", "can be had", "search.image_size")

    half = command("search", images, *_SEARCH, "--out", run, "--resume", MEMORY_OF_SEARCH=0.7)
    assert half.returncode == 0, half.stderr
    assert re.search(r"^stage 1/2, .*batches in [2-4] parts", half.stderr, re.MULTILINE)
    parts = [row["batch_parts"] for row in rows(run, "search")]
    assert len(parts) == 4
    # What an epoch has left behind is there for the next one.
    assert 1 < parts[0] == parts[1]
    assert Genotype.load(run / "genotype.json").normal


def test_a_training_without_memory_loses_nothing(
    images: Path, command: Command, tmp_path: Path
) -> None:
    run = tmp_path / "run"

    def train(*more: str, **limits: float) -> "subprocess.CompletedProcess[str]":
        words = ("train", "flowers102", images, *_TRAINING, "--out", run, "-q")
        return command(*words, *more, **limits)

    begun = train("--epochs", "1")
    assert begun.returncode == 0, begun.stderr
    model = (run / MODEL_FILE).read_bytes()
    none = train("--epochs", "2", "--resume", MEMORY_OF_TRAINING=20e6)
    assert_one_line(none, "16 images", "64 pixels", "can be had", "--resume")
    assert (run / MODEL_FILE).read_bytes() == model

    ended = train("--epochs", "2", "--resume")
    assert ended.returncode == 0, ended.stderr
    assert [row["epoch"] for row in rows(run, "training")] == [0, 1]
    assert (run / MODEL_FILE).read_bytes() != model
