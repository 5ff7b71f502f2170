"""The command ``embed``, on twenty-four tiny images and the shipped probe."""

from pathlib import Path

import pytest

from tests.hub.conftest import Run
from wsdarts_registry.embedding import TaskEmbedding


def test_says_how_exact_it_is(images: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "e.safetensors"
    shown = run("embed", images, "--out", out, "--budget", "1h", "--target-error", "0.001")
    assert shown.code == 0
    embedding = TaskEmbedding.load(out)
    assert embedding.relative_error is not None
    facts = {line[:16].strip(): line[16:].strip() for line in shown.lines[1:]}
    assert facts["embedded"] == "16 images, 2 classes"
    relative, distance = embedding.relative_error, embedding.distance_error
    assert facts["standard error"] == (
        f"{100 * relative:.2g} % of a value; adds about {distance:.2g} to a distance"
    )


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--budget", "soon", "budget is 'soon'; expected a time above 0, such as 30s"),
        ("--target-error", "5", "target_error is 5; expected a fraction between 0 and 1"),
    ],
)
def test_limits_that_cannot_be(
    images: Path, run: Run, option: str, value: str, message: str
) -> None:
    shown = run("embed", images, option, value)
    assert shown.code == 1
    assert shown.err.splitlines()[-1].startswith(f"error: {message}")


def test_limits_are_for_the_estimator_that_adds_images(images: Path, run: Run) -> None:
    shown = run("embed", images, "--estimator", "variational", "--budget", "3s")
    assert shown.code == 1
    assert "leave them out for the variational one" in shown.err
