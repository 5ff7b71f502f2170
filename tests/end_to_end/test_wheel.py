"""The wheel: the same bytes from the same files, and only what is to be installed."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="needs hatchling, which builds the wheel")
_ROOT = Path(__file__).resolve().parents[2]
_SOURCES = ("wsdarts_hub", "registry", "sdk", "cards")
_FILES = ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", ".gitignore")
_PACKAGES = {"wsdarts_hub", "wsdarts_registry", "wsdarts_sdk", "wsdarts_cards"}


def _built(directory: Path, *, when: int, mode: int) -> Path:
    """Build the wheel of a copy of the sources whose files have a time and permissions."""
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    for folder in _SOURCES:
        shutil.copytree(_ROOT / folder, directory / folder, ignore=ignored)
    for name in _FILES:
        shutil.copy(_ROOT / name, directory)
    for path in sorted(directory.rglob("*"), reverse=when % 2 == 0):
        if path.is_file():
            path.chmod(mode)
        os.utime(path, (when, when))
    environment = {k: v for k, v in os.environ.items() if k != "SOURCE_DATE_EPOCH"}
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run(command, cwd=directory, env=environment, check=True, capture_output=True)
    (wheel,) = (directory / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout."""
    return _built(tmp_path_factory.mktemp("first"), when=1_700_000_000, mode=0o644)


def test_the_same_files_make_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    other = _built(tmp_path / "elsewhere", when=1_800_000_001, mode=0o600)
    assert wheel.name == other.name
    assert wheel.read_bytes() == other.read_bytes()


def test_only_what_is_to_be_installed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry_points = [n for n in names if n.endswith(".dist-info/entry_points.txt")]
        assert b"wsdarts-hub = wsdarts_hub.cli:main" in archive.read(entry_points[0])
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == _PACKAGES
    assert len(tops) == len(_PACKAGES) + 1
    assert not [n for n in names if re.search(r"(^|/)(tests?|\.[^/]*|__pycache__)(/|$)", n)]


def test_all_files_of_the_packages_and_no_others(wheel: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *_SOURCES],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("this is no checkout of git")
    tracked = {re.sub(r"^(registry|sdk|cards)/", "", name) for name in listed.stdout.splitlines()}
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == tracked
