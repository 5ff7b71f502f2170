"""A hub as a process of its own, and hubs that go on where another one was stopped."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

from tests.hub_server import ALICE, BOB, Fault, HubServer
from tests.hub_server.fixture import StartHub, StartProcess
from tests.registry.hub_server.conftest import client

pytestmark = pytest.mark.processes

_NAME = "acme/cells"

_UPLOAD = """
import sys
from huggingface_hub import HfApi

HfApi(token=sys.argv[1]).upload_file(
    path_or_fileobj=b"w" * 20_000_000, path_in_repo="a.safetensors", repo_id="acme/cells"
)
"""


def _commit(api: HfApi, path: str, content: bytes) -> str:
    operation = CommitOperationAdd(path_in_repo=path, path_or_fileobj=content)
    return api.create_commit(_NAME, [operation], commit_message=path).oid


def test_a_hub_goes_on_where_another_was_stopped(start_hub: StartHub, tmp_path: Path) -> None:
    directory = tmp_path / "kept"
    first = start_hub(directory=directory)
    api = client(first)
    api.create_repo(_NAME, private=True)
    api.create_repo("acme/gone")
    made = _commit(api, "a.safetensors", b"w" * 1000)
    api.create_tag(_NAME, tag="v1")
    api.delete_repo("acme/gone")
    first.close()

    second = start_hub(directory=directory)
    assert second.state() >= 4
    api = client(second)
    assert api.repo_info(_NAME, revision="v1").sha == made
    assert Path(api.hf_hub_download(_NAME, "a.safetensors")).read_bytes() == b"w" * 1000
    assert not client(second, BOB).repo_exists(_NAME)
    assert [model.id for model in api.list_models()] == [_NAME]
    assert _commit(api, "b", b"2") == api.repo_info(_NAME).sha != made


def test_a_process_takes_orders_and_tells_what_was_asked(hub_process: StartProcess) -> None:
    hub = hub_process("--page-size", "1")
    api = client(hub)
    api.create_repo(_NAME)
    api.create_repo("acme/other")
    hub.clear_exchanges()
    assert len(list(api.list_models())) == 2
    assert [item.status for item in hub.exchanges("GET", "^/api/models")] == [200, 200]
    hub.add_fault(Fault(kind="refuse", path="/refs$", status=403, times=None))
    with pytest.raises(HfHubHTTPError):
        api.list_repo_refs(_NAME)
    assert hub.exchanges(path="/refs$")[0].fault == "refuse"
    hub.clear_faults()
    api.list_repo_refs(_NAME)
    state = hub.state()
    api.create_tag(_NAME, tag="v1")
    assert hub.state() == state + 1


def test_a_hub_survives_the_kill_of_its_client(hub_process: StartProcess) -> None:
    hub = hub_process()
    api = client(hub)
    api.create_repo(_NAME)
    hub.add_fault(Fault(kind="hang", method="PUT", seconds=60))
    environment = {**os.environ, "HF_ENDPOINT": hub.url}
    command = [sys.executable, "-c", _UPLOAD, ALICE.token]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        while not hub.exchanges("PUT"):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    hub.clear_faults()
    assert api.list_repo_files(_NAME) == [".gitattributes"]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert done.returncode == 0
    assert api.get_paths_info(_NAME, "a.safetensors")[0].size == 20_000_000  # type: ignore[union-attr]


def test_a_killed_hub_keeps_what_it_has_answered(hub_process: StartProcess) -> None:
    hub = hub_process()
    api = client(hub)
    api.create_repo(_NAME)
    answered = []

    def publish() -> None:
        for number in range(1000):
            answered.append((f"v{number}", _commit(api, "a.safetensors", b"w" * (number + 1))))
            api.create_tag(_NAME, tag=f"v{number}", revision=answered[-1][1])

    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(publish)
        while len(answered) < 5:
            assert not publishing.done()
            time.sleep(0.001)
        hub.kill()
        assert publishing.exception() is not None
    port = hub.url.rpartition(":")[2]
    api = client(hub_process("--port", port))
    tags = {tag.name: tag.target_commit for tag in api.list_repo_refs(_NAME).tags}
    assert answered[:-1] == [(tag, tags[tag]) for tag, _ in answered[:-1]]
    history = [commit.commit_id for commit in api.list_repo_commits(_NAME)]
    assert {oid for _, oid in answered} <= set(history)
    for number, (_, oid) in enumerate(answered):
        [weights] = api.get_paths_info(_NAME, "a.safetensors", revision=oid)
        assert weights.size == number + 1  # type: ignore[union-attr]


def test_two_processes_do_not_mix_commits(hub_process: StartProcess) -> None:
    hub = hub_process()
    client(hub).create_repo(_NAME)
    script = """
import sys
from huggingface_hub import HfApi

for number in range(5):
    HfApi(token=sys.argv[1]).upload_file(
        path_or_fileobj=b"x", path_in_repo=f"{sys.argv[2]}{number}", repo_id="acme/cells"
    )
"""
    environment = {**os.environ, "HF_ENDPOINT": hub.url}
    running = [
        subprocess.Popen([sys.executable, "-c", script, ALICE.token, name], env=environment)
        for name in "ab"
    ]
    assert [process.wait(600) for process in running] == [0, 0]
    expected = sorted([".gitattributes", *(f"{name}{n}" for name in "ab" for n in range(5))])
    assert client(hub).list_repo_files(_NAME) == expected


def test_a_test_cannot_leave_this_machine(hub_server: HubServer) -> None:
    with pytest.raises(AssertionError, match=r"huggingface\.co over"):
        socket.create_connection(("huggingface.co", 443), timeout=1)
    # A client that was given no endpoint asks neither the official host nor this hub.
    with pytest.raises(Exception, match="refused"):
        HfApi(token=False).model_info(_NAME)
    assert hub_server.exchanges() == []


def test_an_unspoken_call_says_so(hub_server: HubServer, api: HfApi) -> None:
    with pytest.raises(HfHubHTTPError, match="POST /api/repos/move"):
        api.move_repo(_NAME, "acme/other")
