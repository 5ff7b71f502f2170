"""The command ``push-model``, and models on the Hub as arguments."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.test_json_results import check_keys, read
from tests.cli.test_model_commands import model
from tests.hub_server import ALICE, HubServer
from tests.hub_server.fixture import hub_server, start_hub
from wsdarts_hub.cli import app
from wsdarts_hub.cli.shared.documentation import registered

__all__ = ["hub_server", "model", "start_hub"]


@pytest.fixture(autouse=True)
def _hub(hub_server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub_server.url)
    monkeypatch.setenv("HF_TOKEN", ALICE.token)


def test_a_model_is_pushed_and_used_by_its_name(model: Path, images: Path, run: Run) -> None:
    shown = run("push-model", model, "alice/noise", "--license", "mit", "--private", "-q")
    assert shown.code == 0, shown.err
    assert shown.out.endswith("/alice/noise\n")
    again = run("push-model", model, "alice/noise", "--license", "mit", "--json")
    found = read(again.out)
    check_keys(found, registered(app)["push-model"])
    assert found["made"] is False
    one = images / "dark" / "00.png"
    predicted = run("predict", "hf://alice/noise", one, "--json", "-q")
    assert json.loads(predicted.out)[0]["classes"][0]["name"] == "light"


def test_a_refusal_is_one_line_without_the_token(
    model: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bob/noise", "noise"):
        shown = run("push-model", model, name)
        assert shown.code == 1
        assert shown.err.startswith("error: ")
        assert len(shown.err.splitlines()) == 1
        assert ALICE.token not in shown.err
