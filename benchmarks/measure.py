"""What the benchmarks share: times that compare, what machine gave them, and lines of progress."""

import datetime as dt
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

from wsdarts_registry._files import write_atomically

RESULTS = Path(__file__).resolve().parent / "results"


def interleaved(
    works: Mapping[str, Callable[[], object]], *, repeats: int, warm: int = 1
) -> dict[str, list[float]]:
    """Time several works in turn, so that a disturbance meets them all alike.

    Args:
        works: What is timed, by name. Each round runs each of them once; each round begins
            with another one.
        repeats: How many rounds are timed.
        warm: How many rounds come before those.

    Returns:
        Seconds of each round, by name.
    """
    names = list(works)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(warm + repeats):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            begun = time.perf_counter()
            works[name]()
            seconds[name].append(time.perf_counter() - begun)
    return {name: found[warm:] for name, found in seconds.items()}


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest of several times, in seconds."""
    found = (statistics.median(seconds), min(seconds), max(seconds))
    return dict(zip(("median", "least", "greatest"), found, strict=True))


def machine(*, threads: int) -> dict[str, Any]:
    """What a reader has to know to judge a time.

    Args:
        threads: How many threads computed.
    """
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": threads,
        "torch": version("torch"),
        "numpy": version("numpy"),
        "python": platform.python_version(),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
    }


def save(name: str, results: Mapping[str, Any], *, threads: int) -> Path:
    """Write ``results/NAME.json``: the results, the command that gave them, and the machine."""
    # A path of this machine tells nobody anything: its last part stands for it.
    given = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *given])
    content = {"command": command, "machine": machine(threads=threads), **results}
    return write_atomically(
        RESULTS / f"{name}.json", (json.dumps(content, indent=1) + "\n").encode()
    )


class Lines:
    """Progress as lines: one for each change of what is done.

    Args:
        name: What each line begins with, such as the name of a run; nothing by default.
        file: Where they are written to; stdout by default.
    """

    def __init__(self, name: str = "", file: TextIO | None = None) -> None:
        self._start = f"{name}: " if name else ""
        self._file, self._what = file, ""

    def __call__(self, what: str, done: int, total: int, /) -> None:
        """Write when the work changes."""
        if what != self._what:
            self._what = what
            print(f"{self._start}{what} ({done}/{total})", file=self._file, flush=True)
