"""What a run says about the machine: enough to compare, nothing that names it."""

import getpass
import json
import socket
from importlib.metadata import version
from pathlib import Path

import torch

from wsdarts_sdk.runs.environment import environment, hardware, library_versions


def test_environment() -> None:
    found = environment(torch.device("cpu"))
    assert found["libraries"]["torch"] == version("torch")
    assert found["libraries"]["python"].startswith("3.")
    assert found["threads"] == torch.get_num_threads()
    threads = torch.get_num_threads()
    words = "1 thread" if threads == 1 else f"{threads} threads"
    assert hardware(torch.device("cpu")).endswith(f", {words}")
    assert json.loads(json.dumps(found)) == found


def test_no_host_user_or_path() -> None:
    text = json.dumps(environment(torch.device("cpu")))
    for secret in (socket.gethostname(), getpass.getuser(), str(Path.home()), str(Path.cwd())):
        assert f'"{secret}"' not in text
    assert str(Path.cwd()) not in text


def test_a_missing_library_is_left_out() -> None:
    assert "datasets" in library_versions()
    assert "no-such-library" not in library_versions()
