"""A training step of a derived network by this project's engine beside the public P-DARTS step.

    python benchmarks/training_step.py --reference DIRECTORY

DIRECTORY holds the public P-DARTS code (github chenxin061/pdarts, which is not part of this
project). Its ``NetworkCIFAR`` of 20 cells and 16 channels, with P-DARTS' own genotype, is stepped
as ``train_cifar.py`` does: auxiliary tower, drop path, clipped gradients, SGD; as it is and with
channels last. Without ``--reference`` this project's network of modules stands in, and the results
say so. The public tower fits images of 32×32 only, so larger ones are measured without it.

Steps of each engine run in turn in one process, on random images. Memory is the greatest resident
memory of a process of its own while it steps twice, less what it held before. Each row is kept
under ``--runs``, so a stopped measurement goes on where it was. Writes
``results/training_step.json``; with ``--quick`` one small row, to stdout only.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from measure import interleaved, save, spread
from supernet_step import ALLOCATOR, resident
from torch import Tensor, nn
from torch.nn import functional as F

from wsdarts_registry._files import write_atomically
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_sdk.models.engine.training_engine import TrainingEngine
from wsdarts_sdk.models.network import DerivedNetwork

PUBLIC, CHANNELS_LAST, OURS = "public", "public, channels last", "wsdarts-hub"
CELLS, CHANNELS, CLASSES = 20, 16, 10
DROP_PATH, AUXILIARY, CLIP = 0.2, 0.4, 5.0
# P-DARTS' cells, as its genotypes.py has them.
PDARTS = Genotype.from_darts(
    "Genotype(normal=[('skip_connect', 0), ('dil_conv_3x3', 1), ('skip_connect', 0), "
    "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('sep_conv_3x3', 3), ('sep_conv_3x3', 0), "
    "('dil_conv_5x5', 4)], normal_concat=range(2, 6), reduce=[('avg_pool_3x3', 0), "
    "('sep_conv_5x5', 1), ('sep_conv_3x3', 0), ('dil_conv_5x5', 2), ('max_pool_3x3', 0), "
    "('dil_conv_3x3', 1), ('dil_conv_3x3', 1), ('dil_conv_5x5', 3)], reduce_concat=range(2, 6))"
)
# What the public code needs to run with today's torch on a CPU.
PATCHES = ["utils.drop_path draws its mask from torch.FloatTensor, not torch.cuda.FloatTensor"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What a step is measured at.

    Attributes:
        size: Rows and columns of an image.
        batch: Images.
        threads: How many compute.
        cells: Of the network.
    """

    size: int
    batch: int
    threads: int
    cells: int = CELLS

    @property
    def auxiliary(self) -> bool:
        """Whether the tower is trained, too: the public one fits 32×32 only."""
        return self.size == 32

    def images(self) -> tuple[Tensor, Tensor]:
        """Random images, float32, and labels."""
        draws = torch.Generator().manual_seed(0)
        images = torch.randn(self.batch, 3, self.size, self.size, generator=draws)
        return images, torch.randint(0, CLASSES, (self.batch,), generator=draws)


SETTINGS = [
    Setting(size=32, batch=64, threads=1),
    Setting(size=32, batch=64, threads=2),
    Setting(size=84, batch=16, threads=1),
    Setting(size=84, batch=16, threads=2),
]
Forward = Callable[[Tensor], tuple[Tensor, Tensor | None]]


class Step:
    """Loss, gradients, clipping and SGD of a network.

    Args:
        net: The network.
        forward: Its logits and the tower's.
        images: The batch.
        labels: Of the images.
        fused: Whether SGD moves all parameters in one call.
    """

    def __init__(
        self, net: nn.Module, forward: Forward, images: Tensor, labels: Tensor, *, fused: bool
    ) -> None:
        self.net, self.forward, self.images, self.labels = net.train(), forward, images, labels
        self.sgd = torch.optim.SGD(
            net.parameters(), 0.025, momentum=0.9, weight_decay=3e-4, fused=fused
        )

    def __call__(self) -> None:
        """Step once, and read the loss, as a training does."""
        self.sgd.zero_grad()
        logits, auxiliary = self.forward(self.images)
        loss = F.cross_entropy(logits, self.labels)
        if auxiliary is not None:
            loss = loss + AUXILIARY * F.cross_entropy(auxiliary, self.labels)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), CLIP)
        self.sgd.step()
        loss.item()


def engines(directory: Path | None, setting: Setting) -> dict[str, Callable[[], Step]]:
    """What makes each engine's step."""
    images, labels = setting.images()
    last = images.contiguous(memory_format=torch.channels_last)

    def public(*, channels_last: bool) -> Step:
        net, forward = public_network(directory, setting)
        if channels_last:
            net = net.to(memory_format=torch.channels_last)
        return Step(net, forward, last if channels_last else images, labels, fused=False)

    def ours() -> Step:
        net = searched_network(setting).to(memory_format=torch.channels_last)
        engine, draws = TrainingEngine(net), torch.Generator()
        forward: Forward = lambda x: engine(x, rate=DROP_PATH, draws=draws)
        step = Step(net, forward, last, labels, fused=True)
        step()
        if engine.why_not is not None:
            raise SystemExit(f"the kernels do not run: {engine.why_not}")
        return step

    return {
        PUBLIC: lambda: public(channels_last=False),
        CHANNELS_LAST: lambda: public(channels_last=True),
        OURS: ours,
    }


def searched_network(setting: Setting) -> DerivedNetwork:
    """Return this project's network of modules."""
    return DerivedNetwork(
        PDARTS,
        classes=CLASSES,
        cells=setting.cells,
        channels=CHANNELS,
        auxiliary=setting.auxiliary,
    )


def public_network(
    directory: Path | None, setting: Setting, device: torch.device | None = None
) -> tuple[nn.Module, Forward]:
    """Return the public network, or without a directory this project's network of modules."""
    torch.manual_seed(0)
    if directory is None:
        net, draws = searched_network(setting).to(device), torch.Generator()
        return net, lambda x: net.forward_training(x, rate=DROP_PATH, draws=draws)
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
    if device is None or device.type == "cpu":
        torch.cuda.FloatTensor = torch.FloatTensor  # type: ignore[misc]
    genotype = import_module("genotypes").PDARTS
    found = import_module("model").NetworkCIFAR(
        CHANNELS, CLASSES, setting.cells, setting.auxiliary, genotype
    )
    found.drop_path_prob = DROP_PATH
    found = found.to(device)
    return found, found


def main() -> None:
    """Measure what is asked for."""
    if not all(os.environ.get(name) == value for name, value in ALLOCATOR.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ALLOCATOR})  # noqa: S606
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--reference", type=Path, help="directory of the public P-DARTS code")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--runs", type=Path, default=Path("runs/training_step"))
    parser.add_argument("--rows", type=int, help="measure at most so many rows now")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        name, fields = arguments.memory_of
        setting = Setting(**json.loads(fields))
        torch.set_num_threads(setting.threads)
        print(_peak_memory(engines(arguments.reference, setting)[name]))
        return
    if arguments.quick:
        small = Setting(size=32, batch=4, threads=1, cells=3)
        print(json.dumps(measured(small, arguments), indent=1))
        return
    rows = resumed(arguments)
    if len(rows) < len(SETTINGS):
        print(f"{len(rows)} of {len(SETTINGS)} rows are measured; run it again for the others")
        return
    results = {
        "baseline": "public P-DARTS" if arguments.reference else "this project's modules",
        "patches": PATCHES if arguments.reference else [],
        "allocator": ALLOCATOR,
        "rows": rows,
    }
    print(save("training_step", results, threads=max(s.threads for s in SETTINGS)))


def resumed(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows that an earlier call measured, and as many more as are asked for."""
    arguments.runs.mkdir(parents=True, exist_ok=True)
    rows, left = [], arguments.rows if arguments.rows is not None else len(SETTINGS)
    for setting in SETTINGS:
        place = arguments.runs / f"{setting.size}-{setting.batch}-{setting.threads}.json"
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
    """Times and memory of every engine at one setting, and our ratios to the others."""
    torch.set_num_threads(setting.threads)
    steps = {name: make() for name, make in engines(arguments.reference, setting).items()}
    times = interleaved(steps, repeats=arguments.rounds)
    seconds = {name: spread(of_engine) for name, of_engine in times.items()}
    mine = seconds[OURS]["median"]
    memory = {name: memory_of(name, setting, arguments) for name in (PUBLIC, OURS)}
    return {
        **asdict(setting),
        "auxiliary": setting.auxiliary,
        "seconds": seconds,
        "times_faster": {
            name: round(found["median"] / mine, 2)
            for name, found in seconds.items()
            if name != OURS
        },
        "memory": memory,
        "share_of_memory": round(memory[OURS] / memory[PUBLIC], 3),
    }


def memory_of(name: str, setting: Setting, arguments: argparse.Namespace) -> int:
    """Bytes that two steps need, in a process of its own."""
    command = [sys.executable, __file__]
    if arguments.reference:
        command += ["--reference", str(arguments.reference)]
    command += ["--memory-of", name, json.dumps(asdict(setting))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout)


def _peak_memory(make: Callable[[], Step]) -> int:
    """Greatest resident memory while stepping, less what was resident before."""
    before = resident("VmRSS")
    step = make()
    step()
    step()
    return resident("VmHWM") - before


if __name__ == "__main__":
    main()
