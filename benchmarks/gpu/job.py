"""What the jobs for a GPU share: their arguments, their time, and results that are kept at once."""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

BENCHMARKS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(BENCHMARKS))

from measure import machine  # noqa: E402 (benchmarks/measure.py, not this folder's)

from wsdarts_registry._files import write_atomically  # noqa: E402

_UNTIMED = 3
SECONDS = 270.0  # of one call: with what is begun before it is over and the start, six minutes


class Time:
    """What is left of one call.

    Args:
        seconds: Of the call.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left, perhaps less than none."""
        return self._end - time.monotonic()


class Results:
    """One JSON file that grows; a result that is there is not measured again.

    Args:
        path: Of the file.
        device: Where it is measured.
        asked: What is measured, as JSON data.

    Raises:
        SystemExit: The file holds results of another device, or of something else.
    """

    def __init__(self, path: Path, device: torch.device, asked: dict[str, Any]) -> None:
        self.path = path
        found = json.loads(path.read_bytes()) if path.exists() else {}
        self.data: dict[str, Any] = {
            "command": " ".join(["python", f"benchmarks/gpu/{Path(sys.argv[0]).name}"]),
            "machine": about(device),
            **asked,
            "done": {},
        } | found
        here = {"device": about(device)["device"], **asked}
        there = {"device": self.data["machine"]["device"], **{k: self.data.get(k) for k in asked}}
        if there != here:
            raise SystemExit(
                f"{path} has results of {there}, asked is for {here}; name another place with "
                "--results, or move that file away"
            )

    @property
    def done(self) -> dict[str, Any]:
        """Results so far, by name."""
        found: dict[str, Any] = self.data["done"]
        return found

    def keep(self, name: str, result: Any) -> None:
        """Add a result and write the file."""
        self.done[name] = result
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, (json.dumps(self.data, indent=1) + "\n").encode())


def about(device: torch.device) -> dict[str, Any]:
    """The machine, with its GPU."""
    found = machine(threads=torch.get_num_threads()) | {"device": str(device)}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "device": properties.name,
            "device_memory": properties.total_memory,
            "cuda": torch.version.cuda,
        }
    return found


def parser_for(description: str | None) -> argparse.ArgumentParser:
    """The arguments that every job has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of this call")
    parser.add_argument("--results", type=Path, default=BENCHMARKS / "results" / "gpu")
    return parser


def say(left: int, what: str) -> None:
    """Say whether the job has to be called again."""
    print(f"not done: {left} {what} left; call it again" if left else "done", flush=True)


def milliseconds(step: Callable[[], object], device: torch.device, rounds: int) -> dict[str, float]:
    """Time a call, after three that are not timed."""
    found = []
    for number in range(rounds + _UNTIMED):
        wait(device)
        begun = time.perf_counter()
        step()
        wait(device)
        if number >= _UNTIMED:
            found.append(1000 * (time.perf_counter() - begun))
    return {"milliseconds": round(statistics.median(found), 3), "least": round(min(found), 3)}


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
