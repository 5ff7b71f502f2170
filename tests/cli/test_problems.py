"""A full disk, no memory, an output that is closed: one line and exit code 1, no traceback."""

import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cli.conftest import Run, without_signs_of_life
from wsdarts_hub.cli import explained
from wsdarts_registry.errors import RunError

pytestmark = pytest.mark.processes

READING = (
    ("--help",),
    ("--version",),
    ("list",),
    ("list", "--json"),
    ("show", "flowers102"),
    ("lineage", "flowers102"),
    ("diff", "flowers102", "dtd-10"),
    ("verify", "flowers102"),
    ("alias", "list", "flowers102"),
    ("gc",),
)


def shell(
    command: tuple[str, ...], redirection: str, *, before: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command with its output as a shell redirects it; the exit code is the command's."""
    words = " ".join(command)
    return subprocess.run(
        ["bash", "-c", f'{before}"{sys.executable}" -m wsdarts_hub {words} {redirection}'],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", READING, ids=" ".join)
@pytest.mark.parametrize("redirection", [">&-", "> /dev/full"])
def test_an_output_that_cannot_be_written(command: tuple[str, ...], redirection: str) -> None:
    found = shell(command, redirection)
    assert found.returncode == 1
    said = without_signs_of_life(found.stderr)
    assert re.fullmatch(r"error: [^\n]*\n", said), said


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_a_reader_who_has_seen_enough(command: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    found = subprocess.run(
        [sys.executable, "-m", "wsdarts_hub", *command],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert (found.returncode, without_signs_of_life(found.stderr.decode())) == (1, "")


def test_nobody_has_to_listen_to_stderr() -> None:
    assert shell(("list",), "2>&-").stdout.startswith("reference")
    refused = shell(("show", "nothing"), "2>&-")
    assert (refused.returncode, refused.stdout) == (1, "")


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let no file of this process grow larger; Python ignores the signal, so writing fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


WRITING = {
    "embed": ("embed", "images", "--out", "out/new.safetensors"),
    "search": ("search", "images", "--preset", "tiny", "--out", "out/run"),
    "warm-start": ("warm-start", "images", "--preset", "tiny", "--out", "out/run"),
    "train": ("train", "flowers102", "images", "--preset", "tiny", "--out", "out/run"),
    "push": ("push", "drafts/flowers", "another", "--registry", "zoo"),
    "copy": ("copy", "flowers102", "--to", "out/zoo"),
    "pull": ("pull", "flowers102", "--out", "out/pulled"),
    "gallery build": ("gallery", "build", "--out", "out/gallery"),
    "keygen": ("keygen", "out-key"),
}


@pytest.mark.parametrize("command", WRITING.values(), ids=WRITING.keys())
def test_a_disk_that_is_full(
    command: tuple[str, ...],
    zoo: Path,
    images: Path,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with files_of_at_most(64):
        shown = run(*command, "-q")
    assert shown.code == 1, shown
    assert re.fullmatch(r"error: [^\n]*File too large[^\n]*\n", shown.err), shown.err
    assert not list(tmp_path.rglob("*.safetensors.tmp"))


def torch_without_memory() -> object:
    return torch.empty(2**60)


def numpy_without_memory() -> object:
    return np.empty(2**50)


def python_without_memory() -> object:
    return bytearray(2**62)


def reader_without_memory() -> object:
    try:
        return bytearray(2**62)
    except MemoryError as error:
        raise RunError("the checkpoint cannot be read", hint="delete it") from error


LACKING = [
    torch_without_memory,
    numpy_without_memory,
    python_without_memory,
    reader_without_memory,
]


@pytest.mark.parametrize("allocate", LACKING)
def test_memory_that_is_not_there(allocate: Callable[[], object]) -> None:
    with pytest.raises((MemoryError, RuntimeError, RunError)) as caught:
        allocate()
    text = explained(caught.value)
    assert text is not None
    assert text.startswith("out of memory")
    assert "\n" not in text


def test_too_little_memory_to_start_with() -> None:
    found = shell(("predict", "nothing", "nothing"), "", before="ulimit -v 1500000; ")
    assert found.returncode == 1
    assert re.fullmatch(r"error: [^\n]*ulimit -v[^\n]*\n", found.stderr), found.stderr


FAULTS = [
    FileNotFoundError(2, "No such file or directory", "templates/report.css"),
    RuntimeError("size mismatch"),
    ValueError("x"),
    KeyError("x"),
    OSError("without a number"),
    ImportError("No module named 'x'"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_faults_of_the_program_keep_their_traceback(fault: Exception) -> None:
    assert explained(fault) is None
