"""Fixtures: a hub in this process, and hubs in processes of their own.

A conftest takes them with ``from tests.hub_server.fixture import hub_process, hub_server``.
"""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from .control import RemoteHub
from .hub import Settings
from .server import HubServer

_NOBODY = "http://127.0.0.1:9"
_look_up = socket.getaddrinfo
_ROOT = Path(__file__).resolve().parents[2]

StartHub = Callable[..., HubServer]
StartProcess = Callable[..., "HubProcess"]


@pytest.fixture
def start_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartHub]:
    """Start hubs in this process: ``start_hub(page_size=2)``, each in a directory of its own.

    A ``directory`` may be given to go on with what another hub left there. At the end every hub
    is closed, and one whose handlers failed fails the test.
    """
    _isolate(tmp_path, monkeypatch)
    started: list[HubServer] = []

    def start(*, directory: Path | None = None, **settings: Any) -> HubServer:
        where = directory or tmp_path / f"hub{len(started)}"
        started.append(HubServer(where, Settings(**settings)))
        return started[-1]

    yield start
    for server in started:
        server.close()
    assert [failure for server in started for failure in server.failures] == []


@pytest.fixture
def hub_server(start_hub: StartHub) -> HubServer:
    """A hub in this process."""
    return start_hub()


@pytest.fixture
def hub_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartProcess]:
    """Start hubs in processes of their own: ``hub_process("--page-size", "2")``.

    All of them go on in one directory, one after the other, unless another one is given. At the
    end every hub is closed; one whose handlers failed, and that was not killed, fails the test.
    """
    _isolate(tmp_path, monkeypatch)
    started: list[HubProcess] = []

    def start(*options: str, directory: Path | None = None) -> HubProcess:
        started.append(HubProcess(directory or tmp_path / "hub_process", *options))
        return started[-1]

    yield start
    for hub in started:
        hub.close()


class HubProcess(RemoteHub):
    """A hub in a process of its own, until it is closed or killed."""

    def __init__(self, directory: Path, *options: str) -> None:
        command = [sys.executable, "-m", "tests.hub_server", str(directory), *options]
        self._process = subprocess.Popen(
            [*command, "--while-stdin-is-open"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        super().__init__(self._process.stdout.readline().strip())

    def kill(self) -> None:
        """Kill the process (SIGKILL), whatever it is doing."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Let the process end, and fail if a handler did."""
        with self._process:
            pass
        assert self._process.returncode in (0, -signal.SIGKILL), "see the hub's standard error"


def _isolate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the client off Xet, off the user's token and caches, and off the network.

    The client reads its environment when it is imported, so its constants are set as well. A call
    that was given no endpoint goes to a port where nobody listens.
    """
    home = tmp_path / "huggingface"
    settings = {
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_ENDPOINT": _NOBODY,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, _NOBODY)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", _NOBODY)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    # Else the client asks the endpoint, unasked and once a day, which agents there are.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(socket, "getaddrinfo", _look_up_here)


def _look_up_here(host: object, *arguments: Any, **options: Any) -> Any:
    assert host in ("127.0.0.1", "localhost"), f"a test would reach {host} over the network"
    return _look_up(host, *arguments, **options)
