"""Where the time of a step goes on a GPU: its kernels by time, its operations by bytes.

    python benchmarks/gpu/profile_step.py

Call it after ``measure.py``: it takes the stage that is farthest above its bandwidth floor (or
``--stage``), and steps in float32, call by call: a graph would hide what runs in it. Times are
those of torch.profiler. Bytes are counted, not measured: each operation's inputs and outputs once,
for the engine's own kernels as a whole and for torch's operations around them. What has many bytes
and little time is at its limit; what has much time and few bytes is not.

Writes ``benchmarks/results/gpu/profile.json`` and says "done".
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from job import Results, parser_for, say, wait
from step_engines import Setting
from steps import Ours
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from wsdarts_sdk.devices import dtype_of
from wsdarts_sdk.supernet.kernels.base import Kernels

_STEPS = 2
_ROWS = 40
_COMPUTING = [
    name
    for name in Kernels.__abstractmethods__
    if name.endswith(("_forward", "_backward")) or name == "scalars"
]


def main() -> None:
    """Profile one stage."""
    parser = parser_for(__doc__)
    parser.add_argument("--stage", type=int, choices=[1, 2, 3])
    parser.add_argument("--size", type=int, default=84)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--dtype", default="float32", choices=["bfloat16", "float32"])
    arguments = parser.parse_args()
    asked = {"size": arguments.size, "batch": arguments.batch, "dtype": arguments.dtype}
    results = Results(arguments.results / "profile.json", arguments.device, asked)
    stage = arguments.stage or slowest(arguments.results)
    if str(stage) not in results.done:
        setting = Setting(stage=stage, size=arguments.size, batch=arguments.batch)
        engine = Ours(setting, arguments.device, dtype_of(arguments.dtype), graphs=False)
        engine.step()
        found = {"by_time": by_time(engine, arguments.device), **by_bytes(engine)}
        results.keep(str(stage), found)
        show(found)
    say(0, "stages")


def slowest(results: Path) -> int:
    """The stage that is farthest above its floor, or takes the longest where none is known."""
    path = results / "steps.json"
    if not path.exists():
        raise SystemExit(f"there is no {path}; run measure.py first, or name a --stage")
    data = json.loads(path.read_bytes())
    rows = {int(k): row for k, row in data["done"].items() if "engines" in row}
    return max(rows, key=lambda stage: _distance(rows[stage]))


def _distance(row: dict[str, Any]) -> float:
    times = [e["milliseconds"] for e in row["engines"].values() if "milliseconds" in e]
    return float(row.get("times_the_floor", min(times)))


def by_time(engine: Ours, device: torch.device) -> list[dict[str, Any]]:
    """Kernels of a step, the longest first: name, calls and milliseconds a step."""
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as seen:
        for _ in range(_STEPS):
            engine.step()
        wait(device)
    rows = []
    for event in seen.key_averages():
        spent = event.self_device_time_total if cuda else event.self_cpu_time_total
        if spent:
            rows.append(
                {
                    "name": event.key,
                    "calls": event.count / _STEPS,
                    "milliseconds": round(spent / 1000 / _STEPS, 4),
                }
            )
    return sorted(rows, key=lambda row: -row["milliseconds"])[:_ROWS]


def by_bytes(engine: Ours) -> dict[str, Any]:
    """Bytes that the operations of one step read and write, the most first."""
    with Traffic() as seen, seen.watching(engine.state.net.kernels):
        engine.step()
    rows = [
        {"name": name, "calls": seen.calls[name], "megabytes": round(count / 1e6, 3)}
        for name, count in seen.octets.most_common(_ROWS)
    ]
    return {"by_bytes": rows, "gigabytes": round(seen.octets.total() / 1e9, 3)}


class Traffic(TorchDispatchMode):
    """Counts the bytes of inputs and outputs of each operation, kernels of our own as one."""

    def __init__(self) -> None:
        super().__init__()
        self.octets: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._inside = False

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        found = function(*args, **(kwargs or {}))
        if not self._inside and not function.is_view:
            self._count(str(function), (args, kwargs, found))
        return found

    @contextmanager
    def watching(self, kernels: Kernels) -> Iterator[None]:
        """Count what an engine's kernels are called with."""
        before = dict(vars(kernels))
        for name in _COMPUTING:
            setattr(kernels, name, self._counted(name, getattr(kernels, name)))
        try:
            yield
        finally:
            for name in _COMPUTING:
                delattr(kernels, name)
            vars(kernels).update(before)

    def _counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            outer, self._inside = self._inside, True
            try:
                found = function(*args, **kwargs)
            finally:
                self._inside = outer
            self._count(f"kernels.{name}", (args, kwargs, found))
            return found

        return called

    def _count(self, name: str, value: Any) -> None:
        self.calls[name] += 1
        # A tensor that is read and written has two passes over it, but is named once.
        places = {(t.data_ptr(), t.shape): t for t in tensors_in(value)}
        self.octets[name] += sum(t.numel() * t.element_size() for t in places.values())


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors of nested containers and dataclasses."""
    for leaf in tree_leaves(value):
        if isinstance(leaf, Tensor):
            yield leaf
        elif is_dataclass(leaf) and not isinstance(leaf, type):
            for field in fields(leaf):
                yield from tensors_in(getattr(leaf, field.name))


def show(found: dict[str, Any]) -> None:
    """Both tables, as text."""
    for title, unit in (("by_time", "milliseconds"), ("by_bytes", "megabytes")):
        print(f"\n{title.replace('_', ' ')}, of one step")
        for row in found[title]:
            print(f"{row[unit]:>12.3f} {unit}  {row['calls']:>7g} calls  {row['name'][:90]}")
    print(f"\n{found['gigabytes']:.1f} GB a step, counted")


if __name__ == "__main__":
    main()
