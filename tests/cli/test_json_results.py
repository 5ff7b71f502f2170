"""Every command with a result: what ``--json`` prints is valid, and has the keys of the help."""

import inspect
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.conftest import Run
from tests.cli.test_search_commands import QUICK, QUICK_TRAINING
from tests.sdk.reports.compared import make_cold
from wsdarts_hub import Classifier
from wsdarts_hub.cli import app
from wsdarts_hub.cli.shared.documentation import is_json_array, json_keys, registered
from wsdarts_registry.architecture.genotype import Connection, Genotype
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_sdk.models.network import DerivedNetwork
from wsdarts_sdk.reports.report_files import save_report
from wsdarts_sdk.runs.directory import RunDirectory

COMMANDS = registered(app)
# What each command is given; what stands before it in the list is done first.
BEFORE = {
    "unyank": ("yank flowers@1 --reason test --registry zoo",),
    "alias remove": ("alias set flowers stable 1 --registry zoo",),
    "alias list": ("alias set flowers stable 1 --registry zoo",),
    "sign": ("keygen my.key",),
}
CALLS = {
    "accept": "--registry zoo",
    "alias list": "flowers --registry zoo",
    "alias remove": "flowers stable --registry zoo",
    "alias set": "flowers stable 1 --registry zoo",
    "copy": "flowers --registry zoo --to other",
    "diff": "flowers textures --registry zoo",
    "doctor": "--registry zoo",
    "embed": "images --out e.safetensors",
    "export": "model --timm folder",
    "gallery build": "--registry zoo --out site",
    "gc": "",
    "keygen": "my.key",
    "lineage": "flowers --registry zoo",
    "list": "--registry zoo",
    "nearest": "images",
    "predict": "model images/dark/00.png",
    "pull": "flowers --registry zoo --out pulled",
    "push": "drafts/flowers mine --registry zoo",
    "report": "run",
    "search": f"images --out found {' '.join(QUICK)}".replace('": ', '":').replace(", ", ","),
    "show": "flowers --registry zoo",
    "sign": "flowers --key my.key --registry zoo",
    "unyank": "flowers@1 --reason test --registry zoo",
    "verify": "flowers --registry zoo",
    "yank": "flowers@1 --reason test --registry zoo",
}
CALLS["warm-start"] = CALLS["search"].replace("found", "warm")
CALLS["train"] = f"flowers images --registry zoo --out net {' '.join(QUICK_TRAINING)}"
CALLS["evaluate"] = "model images --out evaluation.html"
LONG = ("embed", "nearest", "search", "train", "warm-start")
ELSEWHERE = {
    "demo": "takes minutes; tests/cli/test_demo.py runs it",
    "push-model": "needs a Hub; tests/cli/test_models_on_hub.py runs it",
    "index rebuild": "needs a Hub; tests/cli/test_huggingface_registry.py runs it",
}
NO_RESULT = {"gallery serve"}


def has_json(name: str) -> bool:
    return "as_json" in inspect.signature(COMMANDS[name]).parameters


@pytest.fixture
def place(zoo: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a registry, images, a model and a run."""
    nodes = ((Connection(source=0, operation="sep_conv_3x3"),),)
    genotype = Genotype(space=SearchSpace(nodes=1), normal=nodes, reduction=nodes)
    Classifier(
        DerivedNetwork(genotype, classes=2, cells=2, channels=2),
        mean=torch.zeros(3),
        std=torch.ones(3),
        image_size=8,
        class_names=("dark", "light"),
    ).save(tmp_path / "model" / "model.safetensors")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text('{"format": 1}')
    save_report(RunDirectory(tmp_path / "run"), make_cold())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(text: str) -> Any:
    """Parse strict JSON: no NaN, no key twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({key for key, _ in pairs}) == len(pairs)
        return dict(pairs)

    found = json.loads(text, object_pairs_hook=unique, parse_constant=float)
    assert all(math.isfinite(number) for number in numbers(found))
    return found


def numbers(value: Any) -> list[float]:
    """All numbers in JSON data."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return [number for each in inner for number in numbers(each)]
    return [value] if isinstance(value, float) else []


def check_keys(found: Any, command: Callable[..., None]) -> None:
    """Compare the keys of a result, and of the objects in its lists, with the help."""
    documented = json_keys(command)
    objects = found if is_json_array(command) else [found]
    assert objects
    top = {key for key in documented if "." not in key}
    for each in objects:
        assert any(key.isupper() for key in top) or set(each) == top
    for key in documented:
        above, _, below = key.partition(".")
        for each in objects[0][above] if below else ():
            assert below in each


def test_every_command_with_a_result_has_a_case() -> None:
    named = {name for name in COMMANDS if has_json(name)}
    assert named == {*CALLS, *ELSEWHERE}
    assert {*COMMANDS} - named <= NO_RESULT


@pytest.mark.parametrize("name", [name for name in COMMANDS if has_json(name)])
def test_the_help_explains_every_key(name: str) -> None:
    assert all(json_keys(COMMANDS[name]).values())


@pytest.mark.parametrize("name", CALLS)
def test_the_result_is_one_json_value_with_the_keys_of_the_help(
    name: str, place: Path, run: Run
) -> None:
    for line in BEFORE.get(name, ()):
        assert run(*line.split()).code == 0
    shown = run(*name.split(), *CALLS[name].split(), "--json")
    assert shown.code == 0, shown.err
    check_keys(read(shown.out), COMMANDS[name])


def test_early_stopping_is_in_the_result_of_a_training(place: Path, run: Run) -> None:
    shown = run("train", *CALLS["train"].split(), "--patience", "1", "--json")
    assert shown.code == 0, shown.err
    best = read(shown.out)["best"]
    assert set(best) == {"epoch", "accuracy", "loss", "images", "judged_on"}


def test_every_long_command_has_a_dry_run() -> None:
    with_dry_run = {n for n, c in COMMANDS.items() if "dry_run" in inspect.signature(c).parameters}
    assert with_dry_run == set(LONG)


@pytest.mark.parametrize("name", LONG)
def test_a_dry_run_says_the_same_in_words_and_as_json(name: str, place: Path, run: Run) -> None:
    shown = run(name, *CALLS[name].split(), "--dry-run", "--json")
    assert shown.code == 0, shown.err
    found = read(shown.out)
    assert set(found) == {"seconds", "steps", "memory", "disk", "note", "phases"}
    assert found["seconds"] == pytest.approx(sum(phase["seconds"] for phase in found["phases"]))
    said = run(name, *CALLS[name].split(), "--dry-run")
    assert said.code == 0, said.err
    assert {line.split()[0] for line in said.lines if line.strip()} >= {"total", "memory", "disk"}
    for written in ("found", "warm", "net", "e.safetensors"):
        assert not (place / written).exists()


def test_an_embedding_that_is_made_has_no_dry_run(place: Path, run: Run) -> None:
    assert run("nearest", "made.safetensors", "--dry-run").code == 2


@pytest.mark.parametrize("name", [name for name in CALLS if name not in ("gc", "doctor")])
def test_an_error_is_one_line_as_without_json(name: str, place: Path, run: Run) -> None:
    for folder in ("zoo", "images", "model", "run", "drafts"):
        shutil.rmtree(place / folder)
    (place / "my.key").write_text("no key")
    (place / "site").write_text("no directory")
    shown = run(*name.split(), *CALLS[name].split(), "--json", "--quiet")
    assert (shown.code, shown.out) == (1, "")
    assert shown.err.startswith("error: ")
    assert len(shown.err.splitlines()) == 1
