"""How far α's gradient is from float64's, in each dtype that a search offers.

    python benchmarks/alpha_gradient.py [--quick]

The first stage of preset ``paper``, five cells of all eight operations with 16 channels, on made
images of 24×24 (gratings of ten directions under noise), one batch of 16 for α. It is measured at
random weights and after 60 steps that trained them, which is where α begins to move; for three
seeds. Adam divides a gradient by its own size, so the share of signs that agree says more than the
error.

For comparison the same in float64 on images that were rounded to bfloat16: what no precision of the
network could bring back. A rounding moves some inputs of ReLUs and of max pooling across the place
where their gradient jumps, and the gradient moves by far more than it: by about its square root.

``--quick`` takes some seconds, prints and leaves the committed results alone.
"""

import argparse
import json
import math
import statistics
from typing import Any

import torch
from measure import save
from torch import Tensor

from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import DARTS
from wsdarts_sdk.data.loader import Batch
from wsdarts_sdk.devices import dtype_of
from wsdarts_sdk.search.settings import WeightOptimiser
from wsdarts_sdk.search.state import exact_float32, sgd_for
from wsdarts_sdk.setting_fields import COMPUTE_DTYPES
from wsdarts_sdk.supernet.kernels.portable import PortableKernels
from wsdarts_sdk.supernet.network import Supernet

CLASSES = 10
ROUNDED = "float64, images rounded to bfloat16"


def gratings(count: int, size: int, generator: torch.Generator) -> Batch:
    """Stripes of one direction for each class, of any phase and colour, under noise."""
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    line = torch.linspace(-1, 1, size, dtype=torch.float64)
    rows, columns = torch.meshgrid(line, line, indexing="ij")
    normal = torch.randn(count, 1, 1, generator=generator, dtype=torch.float64)
    angle = labels.double()[:, None, None] * math.pi / CLASSES + 0.1 * normal
    phase = 2 * math.pi * torch.rand(count, 3, 1, 1, generator=generator, dtype=torch.float64)
    waves = 8 * (angle.cos() * columns + angle.sin() * rows)
    noise = torch.randn(count, 3, size, size, generator=generator, dtype=torch.float64)
    return Batch(images=(waves[:, None] + phase).sin() + 0.5 * noise, labels=labels)


def train(net: Supernet, steps: int, size: int, generator: torch.Generator) -> None:
    """Train the weights as a search does."""
    settings = WeightOptimiser()
    sgd = sgd_for(net.weight_parameters(), settings)
    for _ in range(steps):
        batch = gratings(16, size, generator)
        found = net.gradients(in_dtype(batch, torch.float32), "weights")
        for parameter, gradient in zip(net.weight_parameters(), found.weights, strict=True):
            parameter.grad = gradient
        torch.nn.utils.clip_grad_norm_(net.weight_parameters(), settings.gradient_clip)
        sgd.step()


def in_dtype(batch: Batch, dtype: torch.dtype) -> Batch:
    return Batch(images=batch.images.to(dtype), labels=batch.labels)


def gradient(state: dict[str, Any], net: Supernet, batch: Batch) -> Tensor:
    """α's gradient of a network with these weights, on plain kernels."""
    net.use(PortableKernels())
    net.train().load_state_dict(state)
    found = net.gradients(in_dtype(batch, net.cell_weights.dtype), "alpha")
    return torch.cat([each.double().flatten() for each in found.alpha])


def measured(seed: int, steps: int, *, size: int, channels: int, images: int) -> dict[str, Any]:
    """Error and share of agreeing signs of each dtype, at one state of the weights."""
    generator = torch.Generator().manual_seed(seed)

    def network(dtype: torch.dtype = torch.float32) -> Supernet:
        masks = OperationMasks.full(DARTS)
        net = Supernet(masks, cells=5, channels=channels, classes=[CLASSES], seed=seed)
        return net.to(dtype).train()

    trained = network()
    train(trained, steps, size, generator)
    state, batch = trained.state_dict(), gratings(images, size, generator)
    right = gradient(state, network(torch.float64), batch)
    found = {}
    for name in COMPUTE_DTYPES:
        net = network()
        net.compute_dtype = None if name == "float32" else dtype_of(name)
        found[name] = compared(gradient(state, net, batch), right)
    rounded = Batch(images=batch.images.bfloat16().double(), labels=batch.labels)
    found[ROUNDED] = compared(gradient(state, network(torch.float64), rounded), right)
    return {"seed": seed, "weight_steps": steps, **found}


def compared(found: Tensor, right: Tensor) -> dict[str, float]:
    return {
        "relative_error": float((found - right).norm() / right.norm()),
        "signs_that_agree": float((found.sign() == right.sign()).double().mean()),
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """For each state of the weights and each dtype: median and worst over the seeds."""
    found: dict[str, Any] = {}
    for steps in dict.fromkeys(row["weight_steps"] for row in rows):
        own = [row for row in rows if row["weight_steps"] == steps]
        found[f"after {steps} weight steps"] = {
            name: {
                "relative_error": statistics.median(row[name]["relative_error"] for row in own),
                "worst_relative_error": max(row[name]["relative_error"] for row in own),
                "signs_that_agree": statistics.median(r[name]["signs_that_agree"] for r in own),
                "least_signs_that_agree": min(row[name]["signs_that_agree"] for row in own),
            }
            for name in (*COMPUTE_DTYPES, ROUNDED)
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small state; writes nothing")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    seeds, states = ((0,), (3,)) if arguments.quick else ((0, 1, 2), (0, 60))
    size = 16 if arguments.quick else 24
    setting = {"size": size, "channels": 4 if arguments.quick else 16, "images": 16}
    rows = []
    with exact_float32():
        for seed in seeds:
            for steps in states:
                rows.append(measured(seed, steps, **setting))
                print(json.dumps(rows[-1]), flush=True)
    found = {"cells": 5, "operations": 8, **setting, "summary": summary(rows), "rows": rows}
    print(json.dumps(found["summary"], indent=1))
    if not arguments.quick:
        print(save("alpha_gradient", found, threads=arguments.threads))


if __name__ == "__main__":
    main()
