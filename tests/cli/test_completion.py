import os
import subprocess
import sys
from pathlib import Path

import pytest

from wsdarts_registry.stores.directory import DirectoryStore


def proposed(line: str, **environment: str) -> list[str]:
    """Return what fish proposes at the end of a command line, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "wsdarts_hub"],
        capture_output=True,
        check=False,
        text=True,
        env={
            **os.environ,
            **environment,
            "_WSDARTS_HUB_COMPLETE": "complete_fish",
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
            "_TYPER_COMPLETE_ARGS": f"wsdarts-hub {line}",
        },
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.fixture
def environment(zoo: Path) -> dict[str, str]:
    """Names the registry; flowers@1 is stable there and textures@1 is yanked."""
    store = DirectoryStore(zoo)
    store.set_alias("flowers", "stable", 1)
    store.yank("textures@1", "wrong labels")
    return {"WSDARTS_HUB_REGISTRY": str(zoo)}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("show fl", ["flowers", "flowers@stable", "flowers-textures"]),
        ("show flowers@", ["flowers@stable", "flowers@1"]),
        ("show flowers@st", ["flowers@stable"]),
        ("show tex", []),
        ("show textures@", ["textures@1"]),
        ("verify flowers-", ["flowers-textures"]),
        ("diff flowers flowers-", ["flowers-textures"]),
        ("unyank te", ["textures@1"]),
        ("alias set flo", ["flowers", "flowers-textures"]),
        ("warm-start images --from fl", ["flowers", "flowers@stable", "flowers-textures"]),
        ("train flowers-", ["flowers-textures"]),
        ("show nosuch", []),
    ],
)
def test_names_aliases_and_versions(
    environment: dict[str, str], line: str, words: list[str]
) -> None:
    assert proposed(line, **environment) == words


def test_the_registry_of_the_line_goes_first(environment: dict[str, str], tmp_path: Path) -> None:
    DirectoryStore(tmp_path / "empty", create=True)
    assert proposed(f"show --registry {tmp_path / 'empty'} fl", **environment) == []
    assert proposed(f"show --registry {tmp_path / 'nowhere'} fl", **environment) == []


def test_no_network_is_asked(environment: dict[str, str]) -> None:
    assert proposed("show fl", WSDARTS_HUB_REGISTRY="hf://lab") == []
