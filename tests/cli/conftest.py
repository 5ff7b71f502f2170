"""Fixtures of the tests of the command line."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.registry.factories import make_artifact
from wsdarts_hub.cli import main
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.opening import open_registry
from wsdarts_registry.stores.records import RegistryConfig
from wsdarts_sdk import progress


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Exit code, stdout and stderr of a command."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Lines of stdout."""
        return self.out.splitlines()


Run = Callable[..., Outcome]


def without_signs_of_life(stderr: str) -> str:
    """Return what a command said besides that it is at work, which a slow machine lets it say."""
    lines = stderr.splitlines(keepends=True)
    return "".join(line for line in lines if not re.search(": working(, | for )", line))


def call_all_near(registry: Path) -> None:
    """Let a registry call near whatever the shipped probe says; noise is like nothing else."""
    near = open_registry().config.near[0].model_copy(update={"distance": 0.999999})
    DirectoryStore(registry).configure(RegistryConfig(name="zoo", near=(near,)))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process, as `main` runs it."""
    monkeypatch.delenv("WSDARTS_HUB_REGISTRY", raising=False)
    # No line because the machine is busy: tests count those of stderr.
    monkeypatch.setattr(progress, "_INTERVAL_SECONDS", 1e6)

    def call(*arguments: str | Path) -> Outcome:
        monkeypatch.setattr("sys.argv", ["wsdarts-hub", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 0
        captured = capsys.readouterr()
        return Outcome(code=code, out=captured.out, err=captured.err)

    return call


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the original of `zoo`: a registry, and in `drafts` what was published in it."""
    root = tmp_path_factory.mktemp("original")
    store = DirectoryStore(root / "zoo", create=True)
    for tasks in (("flowers",), ("textures",), ("flowers", "textures")):
        directory = root / "drafts" / "-".join(tasks)
        make_artifact(directory, *tasks)
        store.publish(directory, "-".join(tasks))
    return root


@pytest.fixture
def zoo(original: Path, tmp_path: Path) -> Path:
    """A registry with two transfer artifacts and one meta-transfer artifact."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    return tmp_path / "zoo"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of two classes that differ in brightness, twelve images each."""
    random = np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 128)):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for number in range(12):
            pixels = random.integers(low, low + 128, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return tmp_path / "images"
