"""A full search step and Task2Vec on a GPU, beside the public code.

    python benchmarks/gpu/measure.py --reference DIRECTORY --task2vec DIRECTORY

Call it again until it says "done". One call takes at most six minutes, the start of the machine
included; each figure is kept in ``benchmarks/results/gpu/steps.json`` as soon as it is there,
stages in the order 1, 3, 2, and in each preset ``paper``'s engine and the public code first.

``--reference`` is a directory with the public P-DARTS code (github chenxin061/pdarts),
``--task2vec`` one with the public Task2Vec code (github awslabs/aws-cv-task2vec). Neither is part
of this project; without them plain ones of ``tests/reference`` stand in, and the results say so.

Engines run one after another, since not all fit into memory at once: the public step in float32 as
its script does it; the same in bfloat16 (autocast) with channels last and only the gradients that
are needed; this project's in float32, which is preset ``paper``'s, and in bfloat16, call by call
and with CUDA graphs. Ours round nothing to TF32; the public code does what torch does by default.
All have the same masks, images, batch and optimisers, and no dropout. Memory is what a step had
allocated at most; that of a recorded graph is what its pool has reserved.

The floor is arithmetic, not a measurement: the bytes that a step has to move if every wave of
operations were one kernel in bfloat16, at the bandwidth of the card.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from job import BENCHMARKS, Results, Time, parser_for, say
from step_engines import Setting
from steps import Engine, Ours, Public, measured, release

PUBLIC, LEAN = "public, float32", "public, bfloat16, channels last, lean"
FLOAT, MIXED = "wsdarts-hub, float32", "wsdarts-hub, bfloat16"
GRAPHS = "wsdarts-hub, bfloat16, CUDA graphs"
FLOAT_GRAPHS = "wsdarts-hub, float32, CUDA graphs"
FLOORS = {"H200": {1: 14, 2: 24, 3: 28}, "H100": {1: 18, 2: 31, 3: 36}}  # ms, 84×84, batch 96
TASK2VEC = BENCHMARKS / "task2vec.py"
_ROW_SECONDS = 90.0  # a row is begun if so much is left
_TASK2VEC_SECONDS = 240.0


def main() -> None:
    """Measure what is missing, as far as the time goes."""
    parser = parser_for(__doc__)
    parser.add_argument("--reference", type=Path, help="directory of the public P-DARTS code")
    parser.add_argument("--task2vec", type=Path, help="directory of the public Task2Vec code")
    parser.add_argument("--data", type=Path, help="image set for Task2Vec; else its own default")
    parser.add_argument("--stages", type=int, nargs="+", default=[1, 3, 2], choices=[1, 2, 3])
    parser.add_argument("--size", type=int, default=84)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    left = Time(arguments.seconds)
    asked = {
        "baseline": "public P-DARTS" if arguments.reference else "the plain engine of this project",
        "size": arguments.size,
        "batch": arguments.batch,
    }
    results = Results(arguments.results / "steps.json", arguments.device, asked)
    todo = [name for name in map(str, arguments.stages) if not _whole(results.done.get(name))]
    for stage in list(todo):
        if not _row(results, int(stage), arguments, left):
            break
        todo.remove(stage)
    embedded = _embedded(results.done)
    enough = left.left() > _TASK2VEC_SECONDS or arguments.device.type != "cuda"
    if not todo and not embedded and enough:
        found = task2vec(arguments, left)
        if found is not None:
            results.keep("task2vec", found)
            print(f"task2vec: {json.dumps(found)}", flush=True)
        embedded = found is not None
    say(len(todo) + (not embedded), "figures")


def _embedded(done: dict[str, Any]) -> bool:
    """Whether Task2Vec has been measured; a script that was missing may be there now."""
    return "task2vec" in done and not ("missing" in done["task2vec"] and TASK2VEC.exists())


def _whole(row: dict[str, Any] | None) -> bool:
    return row is not None and "times_faster" in row


def _row(results: Results, stage: int, arguments: argparse.Namespace, left: Time) -> bool:
    """Measure the engines that a stage still lacks; whether all of them are there."""
    name, row = str(stage), dict(results.done.get(str(stage), {}).get("engines", {}))
    makers = engines(stage, arguments)
    for engine, make in makers.items():
        if engine in row:
            continue
        if left.left() < _ROW_SECONDS and arguments.device.type == "cuda":
            return False
        setting = Setting(stage=stage, size=arguments.size, batch=arguments.batch)
        row[engine] = measured(make, setting, arguments.device, rounds=arguments.rounds)
        release(arguments.device)
        print(f"stage {name}, {engine}: {json.dumps(row[engine])}", flush=True)
        results.keep(name, {"engines": row})
    found = ratios(row, floor(results.data["machine"], stage))
    print(f"stage {name}: {json.dumps(found)}", flush=True)
    results.keep(name, {"engines": row, **found})
    return True


def engines(stage: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """What makes each engine for a batch of so many images; the most telling first."""

    def setting(batch: int) -> Setting:
        return Setting(stage=stage, size=arguments.size, batch=batch)

    def public(batch: int, *, lean: bool) -> Engine:
        return Public(setting(batch), arguments.reference, arguments.device, lean=lean)

    def ours(batch: int, *, dtype: torch.dtype, graphs: bool) -> Engine:
        return Ours(setting(batch), arguments.device, dtype, graphs=graphs)

    return {
        FLOAT_GRAPHS: partial(ours, dtype=torch.float32, graphs=True),
        PUBLIC: partial(public, lean=False),
        GRAPHS: partial(ours, dtype=torch.bfloat16, graphs=True),
        LEAN: partial(public, lean=True),
        MIXED: partial(ours, dtype=torch.bfloat16, graphs=False),
        FLOAT: partial(ours, dtype=torch.float32, graphs=False),
    }


def floor(machine: dict[str, Any], stage: int) -> int | None:
    """The bandwidth floor of a card at full size, in milliseconds; None where it is not known."""
    return next((f[stage] for card, f in FLOORS.items() if card in machine["device"]), None)


def ratios(row: dict[str, Any], floor_milliseconds: int | None) -> dict[str, Any]:
    """Our times and memory beside the others'."""
    mine = row[GRAPHS].get("milliseconds")
    found: dict[str, Any] = {
        "times_faster": {
            name: round(row[name]["milliseconds"] / mine, 2)
            for name in (PUBLIC, LEAN, FLOAT_GRAPHS, MIXED, FLOAT)
            if mine and "milliseconds" in row.get(name, {})
        }
    }
    if mine and floor_milliseconds:
        found["floor_milliseconds"] = floor_milliseconds
        found["times_the_floor"] = round(mine / floor_milliseconds, 2)
    whole = row[PUBLIC]
    if "peak_memory" in whole and whole["batch_in_parts"] == 1:
        found["share_of_memory"] = {
            name: round(row[name]["peak_memory"] / whole["peak_memory"], 3)
            for name in (FLOAT, MIXED)
            if "peak_memory" in row[name]
        }
    return found


def task2vec(arguments: argparse.Namespace, left: Time) -> dict[str, Any] | None:
    """What ``task2vec.py`` finds on this device, or why it finds nothing; None: not yet.

    It keeps its place itself.
    """
    if not TASK2VEC.exists():
        return {"missing": f"there is no {TASK2VEC.name} in benchmarks"}
    command = [sys.executable, str(TASK2VEC), "--device", str(arguments.device)]
    command += ["--reference", str(arguments.task2vec)] if arguments.task2vec else []
    command += ["--data", str(arguments.data)] if arguments.data else []
    try:
        subprocess.run(command, check=True, timeout=max(left.left(), 1), text=True)
    except subprocess.TimeoutExpired:
        return None
    except subprocess.CalledProcessError as error:
        return {"failed": f"exit code {error.returncode}; run it alone to see why"}
    found = json.loads((BENCHMARKS / "results" / f"task2vec_{arguments.device}.json").read_bytes())
    return {key: found[key] for key in ("times_faster", "baseline", "images") if key in found}


if __name__ == "__main__":
    if importlib.util.find_spec("pydantic") is None:
        raise SystemExit("pydantic is missing; benchmarks/gpu/QUEUE.md says what to carry")
    main()
