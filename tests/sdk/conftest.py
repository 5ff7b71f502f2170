"""Small real tasks: handwritten digits that come with scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from wsdarts_sdk.data.task import ImageTask

Digits = tuple[NDArray[np.uint8], NDArray[np.int64]]


@pytest.fixture(autouse=True)
def _one_thread_and_seed() -> None:
    """Tiny tensors gain nothing from threads; a test that draws noise draws the same each time."""
    torch.set_num_threads(1)
    torch.manual_seed(0)


def _digits(classes: int, each: int) -> Digits:
    images, labels = load_digits(return_X_y=True)
    chosen = np.concatenate([np.flatnonzero(labels == c)[:each] for c in range(classes)])
    grey = (images[chosen].reshape(-1, 8, 8) * 15).astype(np.uint8)
    return grey, labels[chosen].astype(np.int64)


@pytest.fixture(scope="session")
def digits() -> Digits:
    """Sixty 8×8 grey images of three classes, shape ``(60, 8, 8)``, and their labels."""
    return _digits(classes=3, each=20)


@pytest.fixture(scope="session")
def digits_task(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> ImageTask:
    """Three classes of 20 images each: 39 or so in the train part."""
    return ImageTask.load(digits, name="digits", cache_dir=tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def fewer_digits_task(tmp_path_factory: pytest.TempPathFactory) -> ImageTask:
    """Two classes of 14 images each: a smaller task than ``digits_task``."""
    cache: Path = tmp_path_factory.mktemp("fewer")
    images, labels = _digits(classes=5, each=14)
    of_two = labels >= 3
    return ImageTask.load((images[of_two], labels[of_two]), name="fewer digits", cache_dir=cache)
