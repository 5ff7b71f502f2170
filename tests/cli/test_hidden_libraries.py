"""Files beside a script that hide libraries are named, in processes as users start them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """
from wsdarts_hub import WsdartsError
try:
    {}
except WsdartsError as error:
    print(type(error).__name__, error)
"""
_LOAD = "from wsdarts_hub import ImageTask; ImageTask.load('hf:nobody/nothing')"


def started(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(directory / "hf")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("hiding", "content", "code"),
    [
        ("datasets.py", "rows = 1", _LOAD),
        ("datasets/__init__.py", "", _LOAD),
        ("torch.py", "x = 1", "from wsdarts_hub import load_network"),
        ("torch.py", "raise ValueError('not ready')", "from wsdarts_hub import load_network"),
        ("timm/__init__.py", "", "import wsdarts_hub as hub; hub.load_probe('resnet18')"),
        ("timm/__init__.py", "", "import wsdarts_hub.timm"),
        ("sklearn.py", "", "from wsdarts_hub.cli.demo import digits; digits()"),
        ("random.py", "x = 1", "from wsdarts_hub import open_registry"),
    ],
)
def test_a_script_is_told_what_hides_a_library(
    hiding: str, content: str, code: str, tmp_path: Path
) -> None:
    file = tmp_path / hiding
    file.parent.mkdir(exist_ok=True)
    file.write_text(content)
    (tmp_path / "script.py").write_text(_SCRIPT.format(code))
    for arguments in (("script.py",), ("-c", _SCRIPT.format(code))):  # a notebook is as -c is
        shown = started(tmp_path, *arguments)
        assert shown.stdout.startswith("LibraryError"), shown.stderr
        assert str(file) in shown.stdout
        assert shown.stdout.count("\n") == 1


def test_the_command_line_is_told_what_hides_a_library(tmp_path: Path) -> None:
    for name in ("typer.py", "torch.py"):
        (tmp_path / name).write_text("x = 1")
        shown = started(tmp_path, "-m", "wsdarts_hub", "train", "cifar10-1000@3", "images")
        (tmp_path / name).unlink()
        assert shown.returncode == 1
        assert shown.stderr.startswith("error: ")
        assert str(tmp_path / name) in shown.stderr


def test_what_hides_nothing_is_not_named(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()  # a directory of data, no package
    (tmp_path / "timm.txt").write_text("")
    (tmp_path / "script.py").write_text(_SCRIPT.format(_LOAD))
    shown = started(tmp_path, "script.py")
    assert shown.stdout.startswith("TaskError dataset 'nobody/nothing'")
    broken = started(tmp_path, "-c", "import wsdarts_hub; wsdarts_hub.nothing")
    assert re.search(r"AttributeError: .*'wsdarts_hub'.* 'nothing'$", broken.stderr.rstrip())
