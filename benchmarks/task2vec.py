r"""Task2Vec at equal error: this project's estimate beside the public Monte-Carlo code.

    python benchmarks/task2vec.py --reference DIRECTORY

DIRECTORY holds the public code (github awslabs/aws-cv-task2vec, which is not part of this project),
whose own ``montecarlo_fisher`` is measured. Without ``--reference`` a plain one in
``tests/reference`` stands in, and the results say so.

**Equal error.** Both estimate one quantity: the Fisher information F of the shipped probe, batch
norm in eval mode, with one regularised head, over 1,000 images of a real set, as many of each class
(so that drawing every class alike, as the public code does, has the same expectation). The truth is
the exact expectation over labels on these very images, so the error is that of the label draws and,
for the public code, of drawing images; that of having these images and no others is common to both.
The public code's expectation is F/64, so its values are taken 64 times. The error is the symmetric
distance to the truth, which is what an embedding is used for, and its mean over seeds. (The
relative error is told, too: the standard deviation over filters of estimate over truth, relative
to the mean of that.) Ours is that of the default settings: ``FisherSettings().sketches`` sketches
for every image, also where ten classes or fewer would be done exactly by default.

The error of independent draws falls as 1/draws in this distance. Disjoint groups of short runs of
the public code are averaged, which is what one long run computes, so one measurement gives the
error at many numbers of draws; the slope in logarithms is in the results, to be held against -1.
The draws that reach our error follow by this law from a measured number of draws (the nearest to
them with two estimates or more), and the results say from which, and how many times beyond it. Time
grows in proportion to draws: one run and one of twice as many draws are timed in turn with ours.
Features and head take the same time for both and are in both ratios of ``times_faster``, "alone"
is without them.

The truth takes the longest, and is kept under ``--runs``. Writes ``results/task2vec.json``, for
another device ``results/task2vec_DEVICE.json``; with ``--quick`` few images, to stdout only.
"""

import argparse
import hashlib
import itertools
import json
import os
import sys
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from error_law import distance_at, draws_for, errors, grouped, slope
from measure import Lines, interleaved, save, spread
from monte_carlo import BATCH, CHANGES, DRAWS, Classifier, Estimate, baseline
from numpy.typing import NDArray
from six_sets import SHARED
from torch import Tensor

from wsdarts_registry._files import write_atomically
from wsdarts_registry._tensors import read_tensors, write_tensors
from wsdarts_registry.errors import EmbeddingError
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.task2vec.embedding import Sample
from wsdarts_sdk.task2vec.estimation import ProbeWithHead, batch_size
from wsdarts_sdk.task2vec.fisher import FisherSettings, filter_fisher, rademacher_signs
from wsdarts_sdk.task2vec.loading import load_probe
from wsdarts_sdk.task2vec.probe import Head, Probe, fit_head

# Pages that the allocator gives back cost either side more than some of its arithmetic. The public
# code shows progress bars.
ENVIRONMENT = {
    "TQDM_DISABLE": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
}
FLOWERS = SHARED / "data" / "flowers102.parquet"
SETTINGS = FisherSettings()
PREPARATION, OURS = "preparation", "wsdarts-hub"
PUBLIC, TWICE, LEAN = "public", "public, twice the draws", "public, channels last"
BASELINES = {
    True: "public Monte-Carlo code",
    False: "the public Monte-Carlo code's arithmetic, written again in this project",
}


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured.

    Attributes:
        images: Of all classes together.
        classes: At most so many; a truth has a backward pass for each but one.
        draws: In one run of the public code; a round has three times as many.
        rounds: Rounds in which all are timed in turn.
    """

    images: int = 1000
    classes: int = 40
    draws: int = 960
    rounds: int = 8


QUICK = Size(images=100, classes=10, draws=128, rounds=2)


def main() -> None:
    """Measure what is asked for."""
    if not all(os.environ.get(name) == value for name, value in ENVIRONMENT.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ENVIRONMENT})  # noqa: S606
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--reference", type=Path, help="directory of the public code")
    parser.add_argument("--data", type=Path, default=FLOWERS, help="a dataset; else flowers102")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=Size().rounds)
    parser.add_argument("--runs", type=Path, default=Path("runs/task2vec"))
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.quick:
        from wsdarts_hub.cli.demo import digits  # noqa: PLC0415

        results = measured(digits(), QUICK, arguments)
        print(json.dumps(results, indent=1))
        return
    if not arguments.data.exists():
        raise SystemExit(
            f"there is no {arguments.data}; name a dataset with --data, or use --quick"
        )
    size = Size(rounds=arguments.rounds)
    results = measured(ImageTask.load(arguments.data), size, arguments)
    name = "task2vec" if arguments.device == "cpu" else f"task2vec_{arguments.device}"
    print(json.dumps(results, indent=1))
    print(save(name, results, threads=arguments.threads))


class Bench:
    """One probe, one set of images, one head, and both ways to estimate.

    Args:
        task: Where the images come from.
        size: How many, and of how many classes.
        arguments: Of the command line.
    """

    def __init__(self, task: ImageTask, size: Size, arguments: argparse.Namespace) -> None:
        self.probe: Probe = load_probe(device=arguments.device)
        self.pixels, self.labels = chosen(task, size, self.probe.preprocessing.size)
        self.classes = int(self.labels.max()) + 1
        self.batch = batch_size(self.pixels.shape[-1], self.probe.device.type)
        self.head = self.prepare()
        self.network = ProbeWithHead(self.probe, self.head)
        self._reference = arguments.reference
        self._runs: Path = arguments.runs

    def prepare(self) -> Head:
        """Features and head, which either way needs."""
        with torch.no_grad():
            rows = [
                self.probe.features(some.to(self.probe.device).float()).cpu()
                for some in torch.split(self.pixels, self.batch)
            ]
        return fit_head(
            torch.cat(rows), self.labels, SETTINGS.head_l2, std_floor=SETTINGS.std_floor
        )

    def ours(self, seed: int) -> NDArray[np.float64]:
        """Our default estimate."""
        signs = rademacher_signs(len(self.pixels), SETTINGS.sketches, self.classes, seed)
        return filter_fisher(self.network, self.pixels, signs=signs, batch=self.batch)

    def truth(self) -> NDArray[np.float64]:
        """The exact expectation over labels; from ``--runs`` if it is known there."""
        place = self._runs / f"truth-{len(self.pixels)}-{self.classes}.safetensors"
        about = {"probe": self.probe.digest, "pixels": checksum(self.pixels)}
        try:
            arrays, known = read_tensors(place.read_bytes(), what=str(place), error=EmbeddingError)
            if known == about:
                return arrays["truth"]
        except FileNotFoundError:
            pass
        told = Lines(file=sys.stderr)
        found = filter_fisher(
            self.network,
            self.pixels,
            batch=self.batch,
            progress=lambda done, images: told(f"truth, {100 * done // images} %", done, images),
        )
        write_atomically(place, write_tensors({"truth": found}, about))
        return found

    def public(self, *, lean: bool = False) -> Estimate:
        """The public estimate; with channels last, where it is faster by that."""
        network = Classifier(self.probe, self.head)
        if lean:
            network.to(memory_format=torch.channels_last)
        return baseline(self._reference, network, self.pixels, self.labels)


def chosen(task: ImageTask, size: Size, pixels: int) -> tuple[Tensor, Tensor]:
    """Images of the train part, as many of each class, and their classes 0 … C-1."""
    each = ceil(size.images / min(task.classes, size.classes))
    sample = Sample.of(task, each * task.classes)
    labels = torch.from_numpy(sample.labels)
    full = torch.nonzero(torch.bincount(labels) == each).squeeze(1)[: size.images // each]
    if len(full) * each < size.images:
        raise SystemExit(f"{task.name} has too few classes with {each} images in the train part")
    kept = torch.isin(labels, full)
    return sample.pixels(task, pixels, None)[kept], torch.searchsorted(full, labels[kept])


def checksum(pixels: Tensor) -> str:
    """Tells one choice of images from another."""
    return hashlib.sha256(pixels.numpy().tobytes()).hexdigest()


def measured(task: ImageTask, size: Size, arguments: argparse.Namespace) -> dict[str, Any]:
    """Times and errors of both, and what follows from them."""
    bench = Bench(task, size, arguments)
    truth = bench.truth()
    seeds = {name: itertools.count() for name in (OURS, PUBLIC)}
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in (OURS, PUBLIC, TWICE)}
    public, lean = bench.public(), bench.public(lean=True)
    works = {
        PREPARATION: bench.prepare,
        OURS: lambda: found[OURS].append(bench.ours(next(seeds[OURS]))),
        PUBLIC: lambda: found[PUBLIC].append(public(size.draws, next(seeds[PUBLIC]))),
        TWICE: lambda: found[TWICE].append(public(2 * size.draws, next(seeds[PUBLIC]))),
        LEAN: lambda: lean(size.draws, 0),
    }
    seconds = {n: spread(s) for n, s in interleaved(works, repeats=size.rounds).items()}
    own = [found[name][-size.rounds :] for name in (OURS, PUBLIC, TWICE)]  # without the warm round
    error = errors(own[0], truth)
    rows = grouped({size.draws: own[1], 2 * size.draws: own[2]}, truth)
    return {
        "baseline": BASELINES[arguments.reference is not None],
        "changes": CHANGES if arguments.reference else [],
        "environment": ENVIRONMENT,
        "device": arguments.device,
        "data": {"name": task.name, "images": len(bench.labels), "classes": bench.classes},
        "probe": bench.probe.name,
        "sketches": SETTINGS.sketches,
        "rounds": size.rounds,
        "draws_of_one_run": size.draws,
        "seconds": seconds,
        "our_error": error,
        "public_errors": rows,
        "slope_of_public_errors": round(slope(rows), 3),
        **compared({n: s["median"] for n, s in seconds.items()}, error, rows, size.draws),
    }


def compared(
    seconds: dict[str, float],
    error: dict[str, float],
    rows: list[dict[str, float]],
    draws: int,
) -> dict[str, Any]:
    """Times at equal error, and both at the draws that the public code makes by default."""
    needed = draws_for(error["distance"], rows)
    usual = DRAWS // BATCH * BATCH
    usual_error = distance_at(usual, rows)
    ours, preparation = seconds[OURS], seconds[PREPARATION]
    a_draw, a_lean_draw = seconds[TWICE] / (2 * draws), seconds[LEAN] / draws

    def faster(count: float, each: float) -> dict[str, float]:
        return {
            "with_preparation": round((preparation + count * each) / (preparation + ours), 2),
            "alone": round(count * each / ours, 2),
        }

    equal = faster(needed["draws"], a_draw)
    return {
        "twice_the_draws_take": round(seconds[TWICE] / seconds[PUBLIC], 3),
        "equal_error": {
            **needed,
            "public_seconds": round(needed["draws"] * a_draw, 3),
            "our_seconds": ours,
            "times_faster": {
                PUBLIC: equal,
                LEAN: faster(needed["draws"], a_lean_draw),
            },
        },
        "at_the_default_draws": {
            "draws": usual,
            "public_seconds": round(usual * a_draw, 3),
            "public_distance": usual_error,
            "times_our_distance": round(usual_error / error["distance"], 2),
            "times_faster": {PUBLIC: faster(usual, a_draw), LEAN: faster(usual, a_lean_draw)},
        },
        "times_faster": equal["with_preparation"],
    }


if __name__ == "__main__":
    main()
