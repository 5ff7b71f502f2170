"""The command ``embed``, on twenty-four tiny images and the shipped probe."""

import re
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from wsdarts_hub import embed
from wsdarts_registry.embedding.embedding import TaskEmbedding


def test_says_how_exact_it_is(images: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "e.safetensors"
    shown = run("embed", images, "--out", out, "--budget", "1h", "--target-error", "0.001")
    assert shown.code == 0
    embedding = TaskEmbedding.load(out)
    assert embedding.relative_error is not None
    facts = {line[:16].strip(): line[16:].strip() for line in shown.lines[1:]}
    assert facts["embedded"] == "16 images, 2 classes"
    relative, distance = embedding.relative_error, embedding.distance_error
    assert facts["standard error"].startswith(f"{100 * relative:.2g} %")
    assert f"{distance:.2g} to a distance" in facts["standard error"]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--budget", "soon", "budget is 'soon'; .* 30s"),
        ("--target-error", "5", "target_error is 5; .* 0 and 1"),
    ],
)
def test_limits_that_cannot_be(
    images: Path, run: Run, option: str, value: str, message: str
) -> None:
    shown = run("embed", images, option, value)
    assert shown.code == 1
    assert re.match(f"error: {message}", shown.err.splitlines()[-1])


def test_limits_are_for_the_estimator_that_adds_images(images: Path, run: Run) -> None:
    shown = run("embed", images, "--estimator", "variational", "--budget", "3s")
    assert shown.code == 1
    assert "variational" in shown.err


def test_what_was_passed_over_is_said_once_on_stderr(images: Path, run: Run) -> None:
    for number in range(3):
        (images / "loose.HEIC").with_name(f"{number}.heic").write_bytes(b"any")
        (next(p for p in sorted(images.iterdir()) if p.is_dir()) / f"{number}.psd").touch()
    shown = run("embed", images, "--out", images.parent / "e.safetensors")
    assert shown.code == 0
    said = [line for line in shown.err.splitlines() if "passed over" in line]
    assert len(said) == 2
    assert ["3 .psd" in said[0], "3 .heic" in said[1]] == [True, True]
    quiet = run("embed", images, "--out", images.parent / "e.safetensors", "--quiet")
    assert "passed over" not in quiet.err


def test_a_given_split_is_said(images: Path, run: Run) -> None:
    first, second = (images.parent / "given" / part for part in ("train", "val"))
    shutil.copytree(images, first)
    for file in sorted(first.rglob("*.png"))[::3]:
        target = second / file.relative_to(first)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
    shown = run("embed", first.parent, "--out", images.parent / "e.safetensors")
    assert shown.code == 0, shown.err
    assert "train 16, validation 8" in shown.err
    assert any(line.split() == ["given", "split", "train", "16,", "validation", "8"]
               for line in shown.lines)  # fmt: skip


def test_in_python_it_is_said_by_progress(images: Path, tmp_path: Path) -> None:
    (images / "loose.png").write_bytes(b"any")
    told: list[str] = []
    embed(images, progress=lambda what, done, total: told.append(what))
    assert len([what for what in told if "1 .png" in what]) == 1
