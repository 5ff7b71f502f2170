"""Free memory of a device, and the record of the environment that names no host or user."""

import ctypes
import getpass
import json
import os
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from wsdarts_sdk.devices import (
    _left_in_container,
    environment,
    free_memory,
    hardware,
    library_versions,
)


def test_some_memory_is_free_and_it_is_counted_in_bytes() -> None:
    free = free_memory(torch.device("cpu"))
    assert 10_000_000 < free < 2**50


@pytest.mark.parametrize(
    ("most", "used", "left"),
    [
        ("1000", "700", 350),  # 50 are files that would be given up
        ("1000", "1100", 0),
        ("max", "700", sys.maxsize),
    ],
)
def test_a_container_has_less(tmp_path: Path, most: str, used: str, left: int) -> None:
    (tmp_path / "memory.max").write_text(f"{most}\n")
    (tmp_path / "memory.current").write_text(f"{used}\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 50\nactive_file 9\n")
    assert _left_in_container(tmp_path) == left


def test_no_container(tmp_path: Path) -> None:
    assert _left_in_container(tmp_path) == sys.maxsize


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc")
def test_a_limit_of_the_process() -> None:
    # In a process of its own, whose limit cannot be lifted by mistake for the others.
    script = (
        "import resource, torch\n"
        "from wsdarts_sdk.devices import free_memory\n"
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        "most = pages * resource.getpagesize() + 2**28\n"
        "resource.setrlimit(resource.RLIMIT_AS, (most, most))\n"
        "print(free_memory(torch.device('cpu')))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert 2**27 < int(done.stdout) < 2**29  # with what was freed while torch was imported


_FREED = """
import resource, torch
from wsdarts_sdk.devices import _kept_by_allocator, free_memory
blocks = [torch.empty(2**20, dtype=torch.uint8) for _ in range(100)]
above = torch.empty(2**20, dtype=torch.uint8)  # so that they are not given back to the system
pages = int(open("/proc/self/statm").read().split()[0])
most = pages * resource.getpagesize() + 2**26
resource.setrlimit(resource.RLIMIT_AS, (most, most))
before, kept = free_memory(torch.device("cpu")), _kept_by_allocator()
del blocks
print(free_memory(torch.device("cpu")) - before, _kept_by_allocator() - kept)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="asks glibc's allocator")
def test_memory_that_malloc_keeps_is_free() -> None:
    thresholds = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**40)}
    done = subprocess.run(
        [sys.executable, "-c", _FREED],
        env=os.environ | thresholds,
        check=True,
        capture_output=True,
        text=True,
    )
    free, kept = map(int, done.stdout.split())
    assert min(free, kept) > 95 * 2**20


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
