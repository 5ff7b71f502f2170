"""Version and silent progress of the package."""

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import wsdarts_hub

ROOT = Path(__file__).parents[2]


def test_the_version_is_that_of_the_project() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        assert wsdarts_hub.__version__ == tomllib.load(file)["project"]["version"]
    assert "__version__" in dir(wsdarts_hub)


def test_the_version_is_looked_up_when_it_is_asked_for() -> None:
    code = "import sys, wsdarts_hub; print('importlib.metadata' in sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "False\n"


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
    task = wsdarts_hub.ImageTask.load((images, [0, 1] * 6))
    wsdarts_hub.embed(task, progress=wsdarts_hub.silent)
    assert capsys.readouterr().err == ""
