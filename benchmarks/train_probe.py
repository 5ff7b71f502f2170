"""Train the shipped probe: a small ResNet on the train parts of the six collections.

    nice -n 5 python benchmarks/train_probe.py [--data ../shared/data] [--steps 1800]

One softmax over the classes of all six sets. Every step draws its batch and its augmentation
from its own seed, and a checkpoint is written every hundred steps, so a run that was killed
goes on where it was when the same command is given again. Writes ``probe.safetensors`` into
the package and the figures into ``benchmarks/results/probe_training.json``; the card,
``PROBE.md``, repeats them by hand.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from measure import machine
from numpy.typing import NDArray
from six_sets import SHARED, load_sets
from torch import Tensor, nn
from torch.nn import functional as F

from wsdarts_registry._files import cache_directory, write_atomically
from wsdarts_registry._tensors import read_tensors, write_tensors
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask

NAME = "wsdarts-resnet10t"
ARCHITECTURE = "resnet10t"
OPTIONS: dict[str, Any] = {"channels": [32, 64, 128, 208]}
SIZE = 64
SOURCE_SIZE = 84
BATCH = 128
PEAK_RATE = 0.15
WARM_UP = 0.1
DESTINATION = Path(__file__).resolve().parents[1] / "sdk/wsdarts_sdk/task2vec/shipped"
RESULTS = Path(__file__).resolve().parent / "results" / "probe_training.json"


@dataclass(frozen=True, kw_only=True)
class Collection:
    """One set as part of the joint task; its classes are numbered from ``offset``."""

    task: ImageTask
    offset: int

    def batch(self, chosen: NDArray[np.int64], size: int) -> tuple[Tensor, Tensor]:
        """Pixels 0 … 1, shape ``(images, 3, size, size)``, and labels of the joint task."""
        pixels = torch.from_numpy(np.ascontiguousarray(self.task.pixels(size)[chosen]))
        labels = torch.from_numpy(self.task.labels[chosen] + self.offset)
        return pixels.permute(0, 3, 1, 2).float() / 255, labels


def joint(tasks: dict[str, ImageTask]) -> dict[str, Collection]:
    offsets = np.cumsum([0, *(task.classes for task in tasks.values())])
    return {
        name: Collection(task=task, offset=int(offset))
        for (name, task), offset in zip(tasks.items(), offsets[:-1], strict=True)
    }


def draw(
    collections: list[Collection], step: int, seed: int, sizes: tuple[int, ...] = (SIZE,)
) -> tuple[list[Tensor], Tensor]:
    """A batch of train images, in each of the sizes, and their labels.

    A set's share goes with the square root of its size.
    """
    rng = np.random.default_rng([seed, step])
    roots = np.sqrt([len(c.task.train_indices) for c in collections])
    counts = rng.multinomial(BATCH, roots / roots.sum())
    images, labels = [], []
    for collection, count in zip(collections, counts, strict=True):
        chosen = np.sort(rng.choice(collection.task.train_indices, count))
        x, y = collection.batch(chosen, SOURCE_SIZE)
        images.append(x)
        labels.append(y)
    return augment(torch.cat(images), rng, sizes), torch.cat(labels)


def augment(x_BCHW: Tensor, rng: np.random.Generator, sizes: tuple[int, ...]) -> list[Tensor]:
    """Crop a square of 60 to 100 % of the side, flip half of them, vary light and contrast."""
    count = len(x_BCHW)
    scale = rng.uniform(0.6, 1.0, count)
    shift = rng.uniform(-1, 1, (count, 2)) * (1 - scale)[:, None]
    flip = rng.choice([-1.0, 1.0], count)
    transform = np.zeros((count, 2, 3), dtype=np.float32)
    transform[:, 0, 0], transform[:, 1, 1], transform[:, :, 2] = scale * flip, scale, shift
    contrast = torch.from_numpy(rng.uniform(0.7, 1.3, (count, 1, 1, 1))).float()
    light = torch.from_numpy(rng.uniform(-0.2, 0.2, (count, 1, 1, 1))).float()
    found = []
    for size in sizes:
        shape = [count, 3, size, size]
        grid = F.affine_grid(torch.from_numpy(transform), shape, align_corners=False)
        x = F.grid_sample(x_BCHW, grid, mode="bilinear", align_corners=False)
        found.append((x - 0.5) * contrast + 0.5 + light)
    return found


def normalised(x: Tensor) -> Tensor:
    return ((x - 0.5) / 0.5).to(memory_format=torch.channels_last)


def rate(step: int, steps: int) -> float:
    warm = WARM_UP * steps
    if step < warm:
        return PEAK_RATE * (step + 1) / warm
    return PEAK_RATE * (1 + math.cos(math.pi * (step - warm) / (steps - warm))) / 2


def train(
    model: nn.Module, loss_of: Callable[[int], Tensor], *, steps: int, checkpoint: Path
) -> float:
    """Train to the last step and return the seconds it took, those before a restart included.

    Args:
        model: What is trained; ``loss_of`` runs it.
        loss_of: Loss of the batch of a step.
        steps: How many there are.
        checkpoint: File to go on from.
    """
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.SGD(
        [{"params": decayed, "weight_decay": 5e-4}, {"params": others, "weight_decay": 0.0}],
        lr=PEAK_RATE,
        momentum=0.9,
        nesterov=True,
    )
    start, seconds = restore(checkpoint, model, optimizer)
    begun, running = time.perf_counter(), 0.0
    model.train()
    for step in range(start, steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps)
        loss = loss_of(step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running += float(loss.detach())
        if (step + 1) % 100 == 0 or step + 1 == steps:
            spent = seconds + time.perf_counter() - begun
            left = spent / (step + 1) * (steps - step - 1)
            print(
                f"step {step + 1}/{steps}, loss {running / 100:.3f}, "
                f"{spent:.0f} s, about {left:.0f} s left",
                flush=True,
            )
            running = 0.0
            store(checkpoint, model, optimizer, step + 1, spent)
    return seconds + time.perf_counter() - begun


def store(
    path: Path, model: nn.Module, optimizer: torch.optim.SGD, step: int, seconds: float
) -> None:
    arrays = {f"model.{name}": tensor.numpy() for name, tensor in model.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        arrays[f"momentum.{number}"] = state["momentum_buffer"].numpy()
    write_atomically(path, write_tensors(arrays, {"step": step, "seconds": seconds}))


def restore(path: Path, model: nn.Module, optimizer: torch.optim.SGD) -> tuple[int, float]:
    if not path.exists():
        return 0, 0.0
    arrays, metadata = read_tensors(path.read_bytes(), what=str(path))
    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    weights = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
    model.load_state_dict(weights)
    momenta = {
        int(n.removeprefix("momentum.")): {"momentum_buffer": t}
        for n, t in tensors.items()
        if n.startswith("momentum.")
    }
    optimizer.load_state_dict({**optimizer.state_dict(), "state": momenta})
    print(f"going on at step {metadata['step']} of {path}", flush=True)
    return int(metadata["step"]), float(metadata["seconds"])


@torch.no_grad()
def accuracies(model: nn.Module, collection: Collection) -> dict[str, float]:
    """Accuracy on the validation part, among the classes of all sets and of its own."""
    model.eval()
    own = slice(collection.offset, collection.offset + collection.task.classes)
    indices = collection.task.indices(Part.VALIDATION)
    hits = np.zeros(2)
    for chunk in np.array_split(indices, max(1, len(indices) // 256)):
        x, labels = collection.batch(chunk, SIZE)
        logits = model(normalised(x))
        hits[0] += int((logits.argmax(1) == labels).sum())
        hits[1] += int((logits[:, own].argmax(1) + own.start == labels).sum())
    among_all, among_own = (hits / len(indices)).round(4).tolist()
    return {"images": len(indices), "among_all_classes": among_all, "among_own_classes": among_own}


def halve(model: nn.Module) -> dict[str, NDArray[np.generic]]:
    """Round the weights to float16, in the model too, and return those without the classifier."""
    arrays = {}
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half())
        if not name.startswith("fc."):
            array = tensor.numpy()
            arrays[name] = array.astype(np.float16) if tensor.is_floating_point() else array
    return arrays


def card(name: str) -> dict[str, Any]:
    """The metadata that tell how to load a probe's file."""
    return {
        "format": 1,
        "name": name,
        "architecture": ARCHITECTURE,
        "options": OPTIONS,
        "size": SIZE,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)

    collections = joint(load_sets(arguments.data))
    classes = sum(collection.task.classes for collection in collections.values())
    model = timm.create_model(ARCHITECTURE, num_classes=classes, **OPTIONS)
    model = model.to(memory_format=torch.channels_last)

    def loss_of(step: int) -> Tensor:
        (x,), labels = draw(list(collections.values()), step, arguments.seed)
        return F.cross_entropy(model(normalised(x)), labels, label_smoothing=0.1)

    checkpoint = cache_directory() / "train_probe" / f"{arguments.steps}-{arguments.seed}.ckpt"
    seconds = train(model, loss_of, steps=arguments.steps, checkpoint=checkpoint)

    weights = halve(model)
    validation = {name: accuracies(model, c) for name, c in collections.items()}
    for name, found in validation.items():
        print(f"{name}: {found}", flush=True)
    write_atomically(DESTINATION / "probe.safetensors", write_tensors(weights, card(NAME)))
    report = {
        "steps": arguments.steps,
        "batch": BATCH,
        "seed": arguments.seed,
        "classes": classes,
        "train_images": sum(len(c.task.train_indices) for c in collections.values()),
        "seconds": round(seconds),
        "validation": validation,
        "machine": machine(threads=torch.get_num_threads()),
    }
    write_atomically(RESULTS, (json.dumps(report, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
