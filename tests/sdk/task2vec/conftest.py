"""A small probe with random weights, and small tasks that it can tell apart."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray

from wsdarts_registry._tensors import write_tensors
from wsdarts_sdk.task2vec.loading import load_probe
from wsdarts_sdk.task2vec.probe import Probe

CARD = {
    "format": 1,
    "name": "tiny-resnet",
    "architecture": "resnet10t",
    "options": {"channels": [4, 6, 8, 10], "stem_width": 4},
    "size": 32,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
}


def tiny_weights(seed: int = 0, classes: int = 0) -> dict[str, NDArray[np.float32]]:
    """Weights of the network of ``CARD``, with batch norms that have seen something."""
    torch.manual_seed(seed)
    options = {"channels": (4, 6, 8, 10), "stem_width": 4, "zero_init_last": False}
    network = timm.create_model("resnet10t", num_classes=classes, **options)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.2)
    return {
        name: tensor.numpy()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


@pytest.fixture
def probe_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(write_tensors(tiny_weights(), CARD))
    return path


@pytest.fixture
def tiny_probe(probe_file: Path) -> Probe:
    return load_probe(probe_file)


def gratings(
    classes: int, per_class: int, seed: int = 0, size: int = 16
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Noisy stripes, one direction and colour a class: images ``(N, size, size, 3)``, labels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    images, labels = [], []
    for label in range(classes):
        angle = np.pi * label / classes
        for _ in range(per_class):
            phase = rng.uniform(0, 2 * np.pi)
            wave = np.sin(0.8 * (x * np.cos(angle) + y * np.sin(angle)) + phase)
            colour = np.array([1.0, label / classes, 0.5])
            image = 128 + 60 * wave[:, :, None] * colour + rng.normal(0, 20, (size, size, 3))
            images.append(image.clip(0, 255).astype(np.uint8))
            labels.append(label)
    return np.stack(images), np.array(labels)
