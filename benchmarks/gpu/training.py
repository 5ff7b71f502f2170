"""Training steps of a derived network on a GPU, in float32 and bfloat16, beside the public code.

The network is P-DARTS' own: 20 cells, 16 channels, its genotype. At 32 pixels it has the auxiliary
tower, at 84 none, as the public one fits 32 only. One step is ``TrainingLoop``'s: loss, gradients,
clipping, SGD. float32 is without TF32 on both sides. ``compiled`` is this project's network
under ``torch.compile``, which nothing offers yet: it tells whether that would pay.

    sh benchmarks/gpu/run.sh training --reference carry/pdarts
"""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from job import Results, Time, milliseconds, parser_for, say
from torch import Tensor
from training_step import DROP_PATH, Setting, Step, public_network, searched_network

from wsdarts_sdk.search.state import exact_float32

PUBLIC, PUBLIC_LAST = "public, float32", "public, float32, channels last"
FLOAT, MIXED, COMPILED = "float32", "bfloat16", "bfloat16, compiled"
ENGINES = (FLOAT, PUBLIC, MIXED, PUBLIC_LAST, COMPILED)
SIZES = (32, 84)


def make_step(
    name: str, setting: Setting, device: torch.device, reference: Path | None
) -> Callable[[], None]:
    """Return a step of one engine."""
    images, labels = (each.to(device) for each in setting.images())
    public, mixed = name in (PUBLIC, PUBLIC_LAST), name in (MIXED, COMPILED)
    if name != PUBLIC:
        images = images.contiguous(memory_format=torch.channels_last)
    if public:
        net, forward = public_network(reference, setting, device)
    else:
        net, draws = searched_network(setting).to(device), torch.Generator()
        forward = lambda x: net.forward_training(x, rate=DROP_PATH, draws=draws)
        if name == COMPILED:
            forward = torch.compile(forward)
    if name != PUBLIC:
        net = net.to(memory_format=torch.channels_last)

    def computed(x: Tensor) -> tuple[Tensor, Tensor | None]:
        with torch.autocast(device.type, torch.bfloat16) if mixed else nullcontext():
            logits, auxiliary = forward(x)
        return logits.float(), None if auxiliary is None else auxiliary.float()

    return Step(net, computed, images, labels, fused=not public)


def measured(step: Callable[[], None], device: torch.device, rounds: int) -> dict[str, Any]:
    """Return times of a step, and the peak of its memory."""
    told: dict[str, Any] = milliseconds(step, device, rounds)
    if device.type == "cuda":
        told["peak_memory"] = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
    return told


def main() -> None:
    """Measure what is not measured yet."""
    parser = parser_for(__doc__)
    parser.add_argument("--reference", type=Path, help="directory of the public P-DARTS code")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--cells", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--engines", nargs="+", default=ENGINES)
    arguments = parser.parse_args()
    left, device = Time(arguments.seconds), arguments.device
    asked = {
        "baseline": "public P-DARTS" if arguments.reference else "this project's modules",
        "batch": arguments.batch,
        "cells": arguments.cells,
    }
    results = Results(arguments.results / "training.json", device, asked)
    rows = [(size, engine) for engine in arguments.engines for size in arguments.sizes]
    todo = [(s, e) for s, e in rows if f"{s} pixels, {e}" not in results.done]
    for number, (size, engine) in enumerate(todo):
        if number and left.left() < 0:
            say(len(todo) - number, "rows")
            return
        setting = Setting(size=size, batch=arguments.batch, threads=1, cells=arguments.cells)
        try:
            with exact_float32():
                step = make_step(engine, setting, device, arguments.reference)
                found = measured(step, device, arguments.rounds)
        except (RuntimeError, torch.OutOfMemoryError) as error:
            found = {"error": f"{type(error).__name__}: {error}".partition("\n")[0]}
        results.keep(f"{size} pixels, {engine}", found)
        print(f"{size} pixels, {engine}: {found}", flush=True)
    say(0, "rows")


if __name__ == "__main__":
    main()
