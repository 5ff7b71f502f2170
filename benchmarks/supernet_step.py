"""A search step by this project's engine beside the public P-DARTS step.

    python benchmarks/supernet_step.py --reference DIRECTORY

DIRECTORY holds the public P-DARTS code (github chenxin061/pdarts, which is not part of this
project); its own ``model_search.Network`` is measured, once stepped as its training script does
and once with channels last and without the gradients that a step throws away. Without
``--reference`` this project's plain engine, a network of modules in ``tests/reference``, stands
in, and the results say so.

Steps of each engine run in turn in one process, on random images, with the same masks.
Calls are aten calls without views, and kernels of our own, of one full step. Memory is the
greatest resident memory of a process of its own while it steps twice, less what it held before.
Each row is kept under ``--runs``, so a stopped measurement goes on where it was. Writes
``results/supernet_step.json``; with ``--quick`` one stage at a small size, to stdout only.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from measure import interleaved, save, spread
from step_engines import Calls, Setting, Step, engines

from wsdarts_registry._files import write_atomically

OURS = "wsdarts-hub"
# Pages that the allocator gives back are the reference's largest cost on some systems: it keeps
# them here, which is to the reference's advantage.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}
SETTINGS = [Setting(stage=s, size=84, batch=8) for s in (1, 2, 3)] + [
    Setting(stage=s, size=32, batch=16) for s in (1, 2, 3)
]
# What the public code needs to run with today's torch on a CPU. None at present.
PATCHES: list[str] = []


def main() -> None:
    """Measure what is asked for."""
    if not all(os.environ.get(name) == value for name, value in ALLOCATOR.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ALLOCATOR})  # noqa: S606
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path, help="directory of the public P-DARTS code")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--runs", type=Path, default=Path("runs/supernet_step"))
    parser.add_argument("--rows", type=int, help="measure at most so many rows now")
    parser.add_argument("--memory-of", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.memory_of:
        name, *numbers = arguments.memory_of
        stage, size, batch = map(int, numbers)
        setting = Setting(stage=stage, size=size, batch=batch)
        print(peak_memory(engines(arguments.reference, setting)[name]()))
        return
    if arguments.quick:
        print(json.dumps(measured(Setting(stage=1, size=32, batch=8), arguments), indent=1))
        return
    rows = resumed(arguments)
    if len(rows) < len(SETTINGS):
        print(f"{len(rows)} of {len(SETTINGS)} rows are measured; run it again for the others")
        return
    results = {
        "baseline": "public P-DARTS" if arguments.reference else "the plain engine of this project",
        "patches": PATCHES,
        "allocator": ALLOCATOR,
        "rows": rows,
    }
    print(save("supernet_step", results, threads=arguments.threads))


def resumed(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows that an earlier call measured, and as many more as are asked for."""
    arguments.runs.mkdir(parents=True, exist_ok=True)
    rows, left = [], arguments.rows if arguments.rows is not None else len(SETTINGS)
    for setting in SETTINGS:
        place = arguments.runs / f"{setting.stage}-{setting.size}-{setting.batch}.json"
        if not place.exists():
            if left == 0:
                continue
            left -= 1
            row = measured(setting, arguments)
            write_atomically(place, json.dumps(row, indent=1).encode())
            print(json.dumps(row, indent=1), flush=True)
        rows.append(json.loads(place.read_bytes()))
    return rows


def measured(setting: Setting, arguments: argparse.Namespace) -> dict[str, Any]:
    """Times, calls and memory of every engine at one setting, and our ratios to the others."""
    steps = {name: make() for name, make in engines(arguments.reference, setting).items()}
    found: dict[str, Any] = {}
    for kind in ("full", "weights_only"):
        works = {name: getattr(step, kind) for name, step in steps.items()}
        times = interleaved(works, repeats=arguments.rounds)
        seconds = {name: spread(of_engine) for name, of_engine in times.items()}
        mine = seconds[OURS]["median"]
        found[kind] = {
            "seconds": seconds,
            "times_faster": {
                name: round(of_engine["median"] / mine, 2)
                for name, of_engine in seconds.items()
                if name != OURS
            },
        }
    counts = {name: calls(step) for name, step in steps.items()}
    memory = {name: memory_of(name, setting, arguments) for name in steps if "lean" not in name}
    return {
        "stage": setting.stage,
        "size": setting.size,
        "batch": setting.batch,
        **found,
        "calls": counts,
        "share_of_calls": round(counts[OURS] / counts["public"], 3),
        "memory": memory,
        "share_of_memory": round(memory[OURS] / memory["public"], 3),
    }


def calls(step: Step) -> int:
    """Calls of one full step."""
    with Calls() as counted:
        counted.watch(step)
        step.full()
    return counted.count


def memory_of(name: str, setting: Setting, arguments: argparse.Namespace) -> int:
    """Bytes that two full steps need above what the network holds, in a process of its own."""
    command = [sys.executable, __file__, "--threads", str(arguments.threads)]
    if arguments.reference:
        command += ["--reference", str(arguments.reference)]
    command += ["--memory-of", name, *map(str, (setting.stage, setting.size, setting.batch))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout)


def peak_memory(step: Step) -> int:
    """Greatest resident memory while stepping, less what was resident before."""
    before = resident("VmRSS")
    step.full()
    step.full()
    return resident("VmHWM") - before


def resident(field: str) -> int:
    """A field of this process's memory, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status has no {field}: memory can be measured on Linux only")


if __name__ == "__main__":
    main()
