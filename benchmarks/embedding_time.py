"""The time of an embedding before and after a change, the values that both give, and the limit.

    python benchmarks/embedding_time.py --before DIRECTORY --commit COMMIT

DIRECTORY holds an older commit of this project (``git worktree add DIRECTORY COMMIT``, or a ``git
archive`` of it). A process of either tree holds the images and the probe ready and embeds them in
turn with the other, each time with an empty cache (that of compiled code is kept): decoding, the
probe's features, the head, and the Fisher information. The default settings: 500 photographs at
64×64, the shipped probe. Both of 10 classes (the exact expectation) and of 100 (sketches); on one
thread and on two.

**Limit.** What has to be multiplied is counted on some of the images: the probe twice (features,
and again for the gradients), and for each pass every entry of a gradient that is not zero with the
weights of its filter (for the gradient at the input) and with the patch that it saw (for the
squares; by the Gram matrix of the patches where that is less). ``share_of_limit`` is the time that
these take at the greater rate of a product of matrices and of oneDNN's convolution on one core,
measured in turn, over the time of the whole embedding.

Writes ``results/embedding_time.json``; with ``--quick`` few images of the digits, with the portable
kernels in place of an older commit, to stdout only.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import RESULTS, interleaved, save, spread
from six_sets import SHARED
from torch import Tensor, nn
from torch.nn import functional as F

from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.task2vec.embedding import Sample, embed
from wsdarts_sdk.task2vec.fisher import FisherSettings
from wsdarts_sdk.task2vec.loading import load_probe
from wsdarts_sdk.task2vec.probe import convolutions

HERE = Path(__file__).resolve().parents[1]
PACKAGES = ("", "registry", "sdk", "cards")
SETS = {"10": "dtd_10", "100": "tiny_imagenet_100.parquet"}
COUNTED = 32
GRAM_POSITIONS = 64


def main() -> None:
    """Measure what is asked for, or be one of the processes that are measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--before", type=Path, help="directory of an older commit")
    parser.add_argument("--commit", help="which commit that is, for the results")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        serve(json.loads(arguments.serve))
        return
    if arguments.quick:
        work = {"data": "digits", "images": 64, "threads": 1}
        print(json.dumps(compared(HERE, work, rounds=1, portable=True), indent=1))
        return
    if arguments.before is None or not (arguments.before / "sdk").is_dir():
        raise SystemExit("name a checkout of an older commit with --before, or use --quick")
    place = RESULTS / "embedding_time.json"
    kept = json.loads(place.read_bytes()) if place.exists() else {}
    same = kept.get("commit_before") == arguments.commit
    found = dict(kept["done"]) if same else {}  # of other numbers of threads
    for classes, name in SETS.items():
        for threads in arguments.threads:
            work = {"data": str(SHARED / "data" / name), "images": 500, "threads": threads}
            row = compared(arguments.before.resolve(), work, rounds=arguments.rounds)
            found[f"{classes} classes, {threads} thread{'s' if threads > 1 else ''}"] = row
            print(classes, threads, json.dumps(row), flush=True)
    results = {
        "commit_before": arguments.commit,
        "rounds": arguments.rounds,
        "probe": load_probe().name,
        "rates_in_gflops": rates(),
        "done": found,
    }
    for row in found.values():
        limit = 2 * row["gigamultiplications"] / max(results["rates_in_gflops"].values())
        # On two threads the limit is that of two cores.
        row["share_of_limit"] = round(limit / row["threads"] / row["seconds"]["after"]["median"], 3)
    print(save("embedding_time", results, threads=2))


def serve(work: dict[str, Any]) -> None:
    """Embed once for each line of stdin; answer with the file of the embedding."""
    torch.set_num_threads(work["threads"])
    task, probe = load(work["data"]), load_probe()
    settings = FisherSettings(images=work["images"])
    for line in sys.stdin:
        with tempfile.TemporaryDirectory() as cache:
            found = embed(task, probe, settings, cache_dir=cache)
        np.save(line.strip(), found.values)
        print("done", flush=True)


def load(data: str) -> ImageTask:
    """The dataset of a path, or the digits."""
    if data == "digits":
        from wsdarts_hub.cli.demo import digits  # noqa: PLC0415

        return digits()
    return ImageTask.load(data)


@contextmanager
def embedding(tree: Path, work: dict[str, Any], *, portable: bool = False) -> Iterator[Any]:
    """A process of a tree that embeds the images whenever it is called."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(work["threads"]),
        "PYTHONPATH": os.pathsep.join(str(tree / package) for package in PACKAGES),
        **({"WSDARTS_HUB_KERNELS": "portable"} if portable else {}),
    }
    command = [sys.executable, __file__, "--serve", json.dumps(work)]
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    to, answers = process.stdin, process.stdout

    def call(file: Path) -> None:
        print(file, file=to, flush=True)
        if answers.readline() != "done\n":
            raise SystemExit(f"the embedding in {tree} failed")

    try:
        yield call
    finally:
        to.close()
        process.wait()


def compared(
    before: Path, work: dict[str, Any], *, rounds: int, portable: bool = False
) -> dict[str, Any]:
    """Times and values of both trees."""
    with (
        tempfile.TemporaryDirectory() as directory,
        embedding(before, work, portable=portable) as old,
        embedding(HERE, work) as new,
    ):
        files = {name: Path(directory) / f"{name}.npy" for name in ("before", "after")}
        works: dict[str, Callable[[], object]] = {
            "before": lambda: old(files["before"]),
            "after": lambda: new(files["after"]),
        }
        seconds = {n: spread(s) for n, s in interleaved(works, repeats=rounds).items()}
        values = {name: np.load(file) for name, file in files.items()}
    away = np.abs(values["after"] - values["before"])
    seen = values["before"] > 0
    relative = away[seen] / values["before"][seen]
    return {
        **work,
        "data": Path(work["data"]).name,
        "seconds": seconds,
        "times_faster": round(seconds["before"]["median"] / seconds["after"]["median"], 2),
        "gigamultiplications": round(multiplications(work), 2),
        "relative_difference_of_values": {
            "median": float(np.median(relative)),
            "99 %": float(np.quantile(relative, 0.99)),
            "greatest": float(relative.max()),
        },
    }


def multiplications(work: dict[str, Any]) -> float:
    """Count the multiplications that the embedding of these images has to do, in 10⁹."""
    probe, task = load_probe(), load(work["data"])
    settings = FisherSettings(images=work["images"])
    sample = Sample.of(task, work["images"])
    classes = len(np.unique(sample.labels))
    passes = classes - 1 if classes <= settings.exact_classes else settings.sketches
    pixels = sample.pixels(task, probe.preprocessing.size, None)
    some = pixels[torch.linspace(0, len(pixels) - 1, min(COUNTED, len(pixels))).long()].float()
    counts = [_Count(conv, passes) for conv in convolutions(probe.model).values()]
    hooks = [count.conv.register_forward_hook(count.see) for count in counts]
    probe.features(some.requires_grad_()).sum().backward()  # type: ignore[no-untyped-call]
    for hook in hooks:
        hook.remove()
    return sum(count.found for count in counts) / len(some) * len(pixels) / 1e9


class _Count:
    """Counts multiplications around one convolution."""

    def __init__(self, conv: nn.Conv2d, passes: int) -> None:
        self.conv, self.passes, self.found = conv, passes, 0.0

    def see(self, conv: nn.Conv2d, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Count the forward passes, and the backward ones when the gradient is there."""
        weights, positions = conv.weight[0].numel(), output[0, 0].numel()
        self.found += 2 * output.numel() * weights
        first = not inputs[0].grad_fn or inputs[0].shape[1] == 3

        def at_gradient(gradient: Tensor) -> None:
            entries = int(gradient.count_nonzero())
            by_gram = len(output) * positions**2 * (weights / 2 + self.passes * conv.out_channels)
            squares = self.passes * entries * weights
            if positions <= GRAM_POSITIONS:
                squares = min(squares, by_gram)
            self.found += squares + (0 if first else self.passes * entries * weights)

        output.register_hook(at_gradient)  # type: ignore[no-untyped-call]


def rates() -> dict[str, float]:
    """The greatest rates of one core that torch reaches here, in 10⁹ operations a second."""
    torch.set_num_threads(1)
    a, b = torch.randn(2, 1024, 1024)
    x = torch.randn(64, 64, 32, 32).contiguous(memory_format=torch.channels_last)
    w = torch.randn(64, 64, 3, 3).contiguous(memory_format=torch.channels_last)
    works = {
        "product of matrices": (lambda: a @ b, 2 * 1024**3),
        "convolution": (lambda: F.conv2d(x, w, padding=1), 2 * x.numel() * w[0].numel()),
    }
    found = {}
    for name, (work, operations) in works.items():
        least = float("inf")
        for _ in range(12):
            begun = time.perf_counter()
            work()
            least = min(least, time.perf_counter() - begun)
        found[name] = round(operations / least / 1e9, 1)
    return found


if __name__ == "__main__":
    main()
