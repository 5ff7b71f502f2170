"""The command line with a registry on the Hub."""

import json
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import disable_progress_bars

from tests.cli.conftest import Run
from tests.hub_server import ALICE, HubServer
from tests.hub_server.fixture import hub_server, start_hub
from tests.registry.factories import make_artifact

__all__ = ["hub_server", "start_hub"]

LAB = ("--registry", "hf://acme")


@pytest.fixture
def on_hub(run: Run, hub_server: HubServer, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command as Alice, on a hub of the test's own."""
    monkeypatch.setenv("HF_TOKEN", ALICE.token)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    disable_progress_bars()  # `main` does so, but the client was imported before
    return lambda *arguments: run("--endpoint", hub_server.url, *arguments)


def test_from_a_push_to_a_pull(on_hub: Run, tmp_path: Path) -> None:
    make_artifact(tmp_path / "run" / "artifact", "flowers")
    pushed = on_hub("push", tmp_path / "run", "flowers", "--description", "Roses.", *LAB)
    assert (pushed.code, pushed.err) == (0, "")
    assert pushed.lines[0] == "flowers@1"
    assert on_hub("list", "--quiet", *LAB).out == "flowers@1\n"
    # A whole reference needs no option.
    shown = on_hub("show", "hf://acme/flowers@1", "--json")
    assert json.loads(shown.out)["reference"] == "flowers@1"
    assert "verified: hf://acme/flowers" in on_hub("verify", "hf://acme/flowers").out
    pulled = on_hub("pull", "hf://acme/flowers", "--out", tmp_path / "out")
    assert pulled.lines[0] == str(tmp_path / "out")
    assert "Roses." in (tmp_path / "out" / "README.md").read_text()
    assert on_hub("yank", "hf://acme/flowers@1", "--reason", "wrong").code == 0
    assert on_hub("list", "--quiet", *LAB).out == ""
    rebuilt = on_hub("index", "rebuild", *LAB)
    assert rebuilt.out.endswith(" hf://acme is new: 1 name\n")


def test_a_hub_that_is_not_encrypted_has_to_be_allowed(
    run: Run, hub_server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example")
    monkeypatch.setenv("WSDARTS_HUB_INSECURE", "")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "'http://hub.example' is not encrypted" in run("list", *LAB).err
    plain = run("--endpoint", "http://lab.example", "list", *LAB)
    assert (plain.code, plain.err.count("\n")) == (1, 1)
    assert "'http://lab.example' is not encrypted" in plain.err
    assert "HF_HUB_OFFLINE is set" in run("--insecure", "list", *LAB).err
    monkeypatch.setenv("WSDARTS_HUB_INSECURE", "")
    unnamed = run("--endpoint", "lab.example", "list", *LAB)
    assert "'lab.example' is malformed" in unnamed.err


def test_errors_and_warnings_are_one_line(on_hub: Run, tmp_path: Path) -> None:
    gone = on_hub("pull", "hf://acme/flowers")
    assert gone.code == 1
    assert "no artifact named flowers; " in gone.err
    assert gone.err.count("\n") == 1
    for reference, said in (
        ("hf://acme", "error: reference 'hf://acme'"),
        ("hf:///flowers", "error: the registry 'hf://'"),
    ):
        assert on_hub("pull", reference).err.startswith(said)
    directory = on_hub("index", "rebuild", "--registry", tmp_path)
    assert directory.code == 1


def test_a_warm_start_names_a_registry_and_an_artifact(
    on_hub: Run, images: Path, tmp_path: Path
) -> None:
    missing = on_hub("warm-start", images, "--from", "hf://acme/none@2", "--out", tmp_path / "run")
    assert missing.code == 1
    assert "hf://acme" in missing.err
