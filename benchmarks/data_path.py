"""Times the way from a dataset to a batch: loading, decoding, augmenting, and what a search waits.

    python benchmarks/data_path.py [--data PATH] [--threads 2]

The baseline of the batches is what public search code does: torchvision's transforms image by
image, in a DataLoader with two worker processes. It starts from decoded images in memory, as
ours does, and its workers are there when the clock starts. Writes ``results/data_path.json``; with
``--quick`` fewer rounds of scikit-learn's digits, to stdout only.
"""

import argparse
import io
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from measure import interleaved, save, spread
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from wsdarts_sdk.data import loader as images_module
from wsdarts_sdk.data.decoding import decode, in_threads
from wsdarts_sdk.data.loader import BatchPosition, TrainPart, batches
from wsdarts_sdk.data.options import DataOptions
from wsdarts_sdk.data.sources.source_kinds import open_source
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.presets import PAPER, TINY
from wsdarts_sdk.search.loop import search
from wsdarts_sdk.search.settings import SearchSettings, StageSettings

FLOWERS = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "flowers102.parquet"
SIZE = 84
ROUNDS, QUICK_ROUNDS = 5, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a dataset; by default flowers102, or digits")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        known = options.data or (FLOWERS if FLOWERS.exists() and not options.quick else None)
        data = known or write_digits(scratch / "digits")
        caches = (scratch / f"cache-{number}" for number in itertools.count())
        loading = time_loading(data, caches, rounds)
        task = ImageTask.load(data, cache_dir=next(caches))
        results = {
            "data": {"name": task.name, "images": len(task), "classes": task.classes},
            "loading_seconds": loading,
            "decoding_images_per_second": time_decoding(data, scratch, rounds),
            "batch_seconds": {str(size): time_batches(task, size, rounds) for size in (96, 8)},
            "data_of_a_search_step": time_steps(task, quick=options.quick),
        }
    print(json.dumps(results, indent=1))
    if not options.quick:
        print(save("data_path", results, threads=options.threads))


def write_digits(folder: Path) -> Path:
    """Write scikit-learn's digits as an image folder, and let the files rest until they count."""
    from sklearn.datasets import load_digits  # noqa: PLC0415

    images, labels = load_digits(return_X_y=True)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        grey = (image.reshape(8, 8) * 15).astype(np.uint8)
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey).save(folder / str(label) / f"{number}.png")
    time.sleep(3)
    return folder


def time_loading(data: Path, caches: Iterator[Path], rounds: int) -> dict[str, Any]:
    """Load and map the pixels: with an empty cache, and again."""
    used: list[Path] = []

    def load(cache: Path) -> None:
        used.append(cache)
        ImageTask.load(data, cache_dir=cache).pixels(SIZE)

    works = {"first": lambda: load(next(caches)), "second": lambda: load(used[-1])}
    for work in works.values():  # the first round would begin with a second load
        work()
    return {name: spread(found) for name, found in interleaved(works, repeats=rounds).items()}


def time_decoding(data: Path, scratch: Path, rounds: int) -> dict[str, Any]:
    """Decode to 84 pixels, one by one and in threads: images as they are, and photographs."""
    source = open_source(data, DataOptions(), cache=scratch)
    rows = np.arange(min(2000, len(source.labels)), dtype=np.int64)
    contents = [content for _, read in source.images(rows) if isinstance(content := read(), bytes)]
    photographs = [enlarged(content, 500) for content in contents[:300]]
    sets = {"as they are": contents, "enlarged to 500 × 500, JPEG": photographs}
    return {name: decoding_rates(found, rounds) for name, found in sets.items()}


def decoding_rates(contents: list[bytes], rounds: int) -> dict[str, int]:
    def in_turn() -> None:
        for content in contents:
            decode(content, SIZE)

    def parallel() -> None:
        items = ((row, lambda c=content: c) for row, content in enumerate(contents))
        work = lambda _, read: decode(read(), SIZE)
        for _ in in_threads(work, items, what="", total=len(contents), progress=None):
            pass

    found = interleaved({"one by one": in_turn, "in threads": parallel}, repeats=rounds)
    return {name: round(len(contents) / spread(each)["median"]) for name, each in found.items()}


def enlarged(content: bytes, size: int) -> bytes:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(content)) as image:
        image.convert("RGB").resize((size, size)).save(buffer, "jpeg", quality=90)
    return buffer.getvalue()


class Decoded(Dataset[tuple[torch.Tensor, int]]):
    """The baseline: every image of a half by itself, through torchvision's transforms."""

    def __init__(self, pixels: NDArray[np.uint8], labels: NDArray[np.int64], part: TrainPart):
        self.pixels, self.labels = pixels, labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(SIZE, padding=SIZE // 8),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(part.augmentation.mean, part.augmentation.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def time_batches(task: ImageTask, batch_size: int, rounds: int) -> dict[str, Any]:
    """Seconds a batch: held, streamed on a thread, and by the baseline."""
    held = train_part(task, batch_size)
    with patch.object(images_module, "free_memory", return_value=0):
        streamed = train_part(task, batch_size)
    indices = task.indices(Part.WEIGHTS)
    count = min(held.steps(None), 20)
    indices = indices[: count * held.batch_size]  # so no worker is busy beyond its turn
    half = Decoded(task.pixels(SIZE)[indices], task.labels[indices], held)

    def ours(part: TrainPart) -> Callable[[], None]:
        epochs = itertools.count()

        def run() -> None:
            epoch = next(epochs)
            places = [
                BatchPosition(task=part, part=Part.WEIGHTS, stage=0, epoch=epoch, step=step)
                for step in range(count)
            ]
            with closing(batches(places)) as found:
                for _ in found:
                    pass

        return run

    loader = DataLoader(half, held.batch_size, shuffle=True, num_workers=2, persistent_workers=True)

    def theirs() -> None:
        for _ in loader:
            pass

    works = {"held": ours(held), "streamed": ours(streamed), "torchvision": theirs}
    found = interleaved(works, repeats=rounds)
    return {name: spread([each / count for each in times]) for name, times in found.items()}


def train_part(task: ImageTask, batch_size: int) -> TrainPart:
    return TrainPart.of(
        task,
        image_size=SIZE,
        batch_size=batch_size,
        padding=SIZE // 8,
        flip=True,
        memory_format=torch.channels_last,
    )


def time_steps(task: ImageTask, *, quick: bool) -> dict[str, Any]:
    """What the two batches of a step with α take of it, in the first stage of two presets.

    ``paper`` at batch 8: 96 needs more memory than a small machine has, and a step grows with the
    batch at least as its data does. Quickly, ``tiny`` alone.
    """
    if quick:
        return {"tiny": time_step(task, replace(TINY.search, steps_per_epoch=20), 1)}
    works = {
        "tiny": (replace(TINY.search, steps_per_epoch=20), 5),
        "paper, batch 8": (replace(PAPER.search, steps_per_epoch=2, batch_size=8), 2),
    }
    return {name: time_step(task, *work) for name, work in works.items()}


def time_step(task: ImageTask, settings: SearchSettings, repeats: int) -> dict[str, Any]:
    first = settings.stages[0]
    only = StageSettings(
        cells=first.cells, operations=first.operations, epochs=1, weights_only_epochs=0
    )
    settings = replace(settings, stages=(only,))
    part = TrainPart.of(
        task,
        image_size=settings.image_size,
        batch_size=settings.batch_size,
        padding=settings.padding,
        flip=settings.flip,
    )
    steps = part.steps(settings.steps_per_epoch)

    def data() -> None:
        for step in range(steps):
            part.batch(Part.ALPHA, 0, 0, step)
            part.batch(Part.WEIGHTS, 0, 0, step)

    found = interleaved({"data": data, "search": lambda: search([part], settings)}, repeats=repeats)
    medians = {name: spread(times)["median"] / steps for name, times in found.items()}
    return {
        "step_seconds": round(medians["search"], 4),
        "data_seconds": round(medians["data"], 6),
        "share": round(medians["data"] / medians["search"], 4),
    }


if __name__ == "__main__":
    main()
