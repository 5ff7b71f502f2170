"""Many processes that use a directory registry and a Hub at the same time, and what they say."""

import json
import os
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hub_server import ALICE
from tests.registry.factories import make_artifact
from wsdarts_registry.stores.opening import open_registry

ROOT = Path(__file__).resolve().parents[2]
HUB = "hf://acme"
_SOURCES = 12
_SLACK = 8 * 2**20  # bytes of memory that allocators may keep or give back
_CONNECTIONS = 3  # that a client of the Hub may keep or not
_SLOW = 600.0


@dataclass(kw_only=True)
class Soak:
    """What a soak has found.

    Attributes:
        actions: How often each was done, by registry.
        processes: Of each its memory in bytes and its open files: at the beginning, in the middle
            and at the end.
        versions: How many versions each registry has.
        failures: What went wrong, as sentences.
    """

    actions: dict[str, Counter[str]] = field(default_factory=dict)
    processes: list[dict[str, list[int]]] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def soak(scratch: Path, *, processes: int, seconds: float, seed: int) -> Soak:
    """Let processes use two new registries for some seconds, and verify what is there then.

    Args:
        scratch: An empty directory.
        processes: How many.
        seconds: For how long each begins new actions.
        seed: Chooses the actions; what happens depends on the scheduler, too.
    """
    found, sources, ledgers = Soak(), scratch / "sources", scratch / "ledgers"
    for folder in (sources, ledgers):
        folder.mkdir()
    for number in range(_SOURCES):
        make_artifact(sources / f"{number:02}", description=f"artifact {number}")
    registries = {"directory": str(scratch / "registry"), "Hub": HUB}
    for number in range(len(registries)):
        (ledgers / str(number)).touch()
    with hub(scratch / "hub") as endpoint:
        environment = {
            "WSDARTS_HUB_CACHE": str(scratch / "cache"),
            "HF_HOME": str(scratch / "huggingface"),
            "HF_ENDPOINT": endpoint,
            "HF_TOKEN": ALICE.token,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_VERBOSITY": "error",  # as commands set it
            "NO_PROXY": "127.0.0.1",
        }
        started = [
            _started(
                environment,
                sources,
                seed + number,
                seconds,
                ledgers,
                registries.values(),
                scratch / f"process-{number}",
            )
            for number in range(processes)
        ]
        for number, process in enumerate(started):
            process.wait(timeout=seconds + _SLOW)
            output, errors = (_said(scratch, number, stream) for stream in ("out", "err"))
            if process.returncode != 0 or errors.strip():
                found.failures.append(f"process {number}: {' '.join(errors.split())[-600:]}")
            _count(found, number, [json.loads(line) for line in output.splitlines()], registries)
        _verify(found, environment, registries)
    return found


def _started(
    environment: dict[str, str],
    sources: Path,
    seed: int,
    seconds: float,
    ledgers: Path,
    registries: Any,
    said: Path,
) -> "subprocess.Popen[bytes]":
    """Start a process, which writes to files: a pipe that nobody reads would stop it."""
    given = (str(sources), str(seed), str(seconds), str(ledgers), *registries)
    with said.with_suffix(".out").open("wb") as out, said.with_suffix(".err").open("wb") as err:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.soak.worker", *given],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )


def _said(scratch: Path, number: int, stream: str) -> str:
    return (scratch / f"process-{number}.{stream}").read_text(encoding="utf-8", errors="replace")


def _count(
    found: Soak, number: int, lines: Sequence[dict[str, Any]], registries: dict[str, str]
) -> None:
    """Add what a process has said; memory and files must not grow in its second half."""
    if not lines:
        found.failures.append(f"process {number} did nothing")
        return
    for name, counts in zip(registries, lines[-1]["actions"], strict=True):
        found.actions.setdefault(name, Counter()).update(counts)
    at: Callable[[str, slice], int] = lambda key, part: int(
        statistics.median(line[key] for line in lines[part])
    )
    quarter = max(1, len(lines) // 4)
    parts = (slice(0, quarter), slice(-2 * quarter, -quarter), slice(-quarter, None))
    if len(lines) < len(parts):
        parts = (slice(0, None),) * 3
    figures = {key: [at(key, part) for part in parts] for key in ("memory", "files")}
    found.processes.append(figures)
    _, middle, end = figures["memory"]
    if end > middle * 1.05 + _SLACK:
        found.failures.append(f"process {number}: memory grew from {middle} to {end} bytes")
    if figures["files"][2] > max(figures["files"][:2]) + _CONNECTIONS:
        found.failures.append(f"process {number}: open files grew: {figures['files']}")


def _verify(found: Soak, environment: dict[str, str], registries: dict[str, str]) -> None:
    """Verify each version of each registry, as somebody with an empty cache."""
    before = dict(os.environ)
    os.environ.update(environment | {"WSDARTS_HUB_CACHE": f"{environment['HF_HOME']}-verified"})
    try:
        for name, location in registries.items():
            store = open_registry(location, endpoint=environment["HF_ENDPOINT"])
            entries = store.entries(include_yanked=True)
            found.versions[name] = len(entries)
            for entry in entries:
                if store.pull(entry.reference).digest != entry.digest:
                    found.failures.append(f"{name}: {entry.reference} has another digest")
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def hub(directory: Path) -> Iterator[str]:
    """Run a Hub in a process of its own, and yield its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.hub_server", str(directory), "--while-stdin-is-open"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.communicate(timeout=60)
    assert process.returncode == 0, "a handler of the Hub failed"
