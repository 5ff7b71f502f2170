import json
import re
from pathlib import Path

import pytest

import wsdarts_hub as hub
from tests.cli.conftest import Run
from tests.registry.factories import make_artifact
from tests.registry.publishing.test_training import write_training


def test_push_makes_the_registry_and_prints_the_reference(
    zoo: Path, run: Run, tmp_path: Path
) -> None:
    draft, registry = tmp_path / "drafts" / "flowers", tmp_path / "new"
    shown = run("push", draft, "mine", "--registry", registry)
    assert (shown.code, shown.lines[0]) == (0, "mine@1")
    again = run("push", draft, "mine", "--registry", registry, "-q")
    assert again.lines == ["mine@1"]


def test_push_sets_licence_description_and_version(zoo: Path, run: Run, tmp_path: Path) -> None:
    shown = run(
        *("push", tmp_path / "drafts" / "flowers", "mine", "--registry", zoo, "--version", 4),
        *("--license", "mit", "--description", "Only a test"),
    )
    assert shown.lines[0] == "mine@4"
    about = run("show", "mine", "--registry", zoo).out
    assert re.search(r"^licen[cs]e +mit$", about, re.MULTILINE)
    assert "about      Only a test" in about
    card = hub.pull("mine@4", registry=zoo).card or ""
    assert "\nOnly a test\n" in card.split("## The cells")[0]
    assert "Only a test" not in card.split("## Licence")[1]


@pytest.fixture
def plain(tmp_path: Path) -> tuple[Path, Path]:
    """Two artifacts of a name, neither of which states a licence or a description."""
    for number in (1, 2):
        made = {"metrics": {"steps": number}, "license": "", "description": "", "files": {}}
        make_artifact(tmp_path / f"plain-{number}", "flowers", **made)
    return tmp_path / "plain-1", tmp_path / "plain-2"


def test_a_further_version_keeps_licence_and_description(
    plain: tuple[Path, Path], zoo: Path, run: Run
) -> None:
    first, second = plain
    there = ("mine", "--registry", zoo)
    said = run("push", first, *there, "--license", "cc0-1.0", "--description", "Petals")
    assert said.err == ""
    further = run("push", second, *there)
    (note,) = further.err.splitlines()
    assert (further.lines[0], note.split()[-1]) == ("mine@2", "mine@1")
    assert {"licence", "description"} < set(note.split())
    card = hub.pull("mine@2", registry=zoo).card or ""
    assert card.startswith("---\nlicense: cc0-1.0\n")
    assert "\nPetals\n" in card
    again = run("push", second, *there)
    assert (again.lines[0], again.err) == ("mine@2", "")
    data = json.loads(run("push", first, *there, "--license", "mit", "--json").out)
    assert (data["reference"], data["inherited"]) == ("mine@3", ["description"])
    assert data["inherited_from"] == "mine@2"


def test_empty_values_drop_licence_and_description(
    plain: tuple[Path, Path], zoo: Path, run: Run
) -> None:
    there = ("mine", "--registry", zoo)
    run("push", plain[0], *there, "--license", "cc0-1.0", "--description", "Petals")
    dropped = run("push", plain[1], *there, "--license", "", "--description", "")
    assert (dropped.lines[0], dropped.err) == ("mine@2", "")
    manifest = hub.pull("mine@2", registry=zoo).manifest
    assert (manifest.license, manifest.description) == ("", "")


def test_the_result_names_accuracy_and_training(run: Run, tmp_path: Path) -> None:
    make_artifact(tmp_path / "run" / "artifact", "flowers", files={})
    for number in (1, 2):
        finished = f"2026-01-02T03:04:0{number}Z"
        write_training(tmp_path / "run" / f"training-{number}", result={"finished": finished})
    push = ("push", tmp_path / "run", "mine", "--registry", tmp_path / "new")
    shown = run(*push)
    assert re.search(r"^trained accuracy +62\.5 %, by training-2$", shown.out, re.MULTILINE)
    assert shown.err.startswith("warning: ")
    data = json.loads(run(*push, "--json").out)
    assert data["accuracy"] == 0.625
    assert data["training"] == str(tmp_path / "run" / "training-2")
    assert (
        json.loads(run("push", tmp_path / "run" / "artifact", *push[2:], "--json").out)["training"]
        is None
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("push", "{draft}", "mine"),
        ("yank", "flowers@1", "--reason", "a test"),
        ("unyank", "flowers@1", "--reason", "a test"),
        ("alias", "set", "flowers102", "stable", "1"),
        ("alias", "remove", "flowers102", "stable"),
    ],
)
def test_the_shipped_zoo_is_not_written(
    arguments: tuple[str, ...], zoo: Path, run: Run, tmp_path: Path
) -> None:
    draft = str(tmp_path / "drafts" / "flowers")
    shown = run(*(argument.format(draft=draft) for argument in arguments))
    assert shown.code == 1
    assert "read-only" in shown.err
    assert "--registry DIR" in shown.err
    assert "WSDARTS_HUB_REGISTRY" in shown.err


def test_push_writes_where_the_environment_says(
    zoo: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSDARTS_HUB_REGISTRY", str(tmp_path / "own"))
    assert run("push", tmp_path / "drafts" / "flowers", "mine").code == 0
    assert run("list", "-q").lines == ["mine@1"]


def test_yank_hides_a_version(zoo: Path, run: Run) -> None:
    shown = run("yank", "flowers@1", "--reason", "wrong labels", "--registry", zoo)
    assert (shown.code, shown.out) == (0, "yanked flowers@1: wrong labels\n")
    assert "flowers@1" not in run("list", "-q", "--registry", zoo).lines
    assert "wrong labels" in run("list", "--yanked", "--registry", zoo).out


def test_unyank_restores_a_version_and_keeps_both_reasons(zoo: Path, run: Run) -> None:
    there = ("--registry", zoo)
    assert "is not yanked" in run("unyank", "flowers@1", "--reason", "a test", *there).err
    run("yank", "flowers@1", "--reason", "wrong labels", *there)
    shown = run("unyank", "flowers@1", "--reason", "they were right", *there)
    assert (shown.code, shown.out[:19]) == (0, "restored flowers@1:")
    assert "flowers@1" in run("list", "-q", *there).lines
    about = run("show", "flowers", *there).out
    assert ": wrong labels\nrestored   2" in about
    assert ": they were right\n" in about
    data = json.loads(run("show", "flowers", "--json", *there).out)
    assert data["yanked"] is None
    assert data["status"]["yanked"] is False
    assert data["status"]["yank"]["lifted"]["reason"] == "they were right"


def test_yank_needs_a_reason(zoo: Path, run: Run) -> None:
    shown = run("yank", "flowers@1", "--registry", zoo)
    assert shown.code == 2
    assert "--reason" in shown.err


def test_yank_needs_an_exact_version(zoo: Path, run: Run) -> None:
    shown = run("yank", "flowers", "--reason", "a test", "--registry", zoo)
    assert shown.code == 1
    assert "such as flowers@1" in shown.err


def test_push_of_an_unfinished_run_says_what_to_do(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    shown = run("push", tmp_path / "run", "mine", "--registry", tmp_path / "new")
    assert shown.code == 1
    assert str(tmp_path / "run") in shown.err
    assert "--resume" in shown.err


def test_push_of_a_directory_that_is_not_there_says_so(run: Run, tmp_path: Path) -> None:
    shown = run("push", tmp_path / "typo", "mine", "--registry", tmp_path / "new")
    assert shown.code == 1
    assert "typo does not exist; " in shown.err
    assert not (tmp_path / "new").exists()
