"""The six image collections that benchmarks run on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wsdarts_sdk.data.task import ImageTask

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
SETS = {
    "flowers102": "flowers102.parquet",
    "tiny_imagenet_100": "tiny_imagenet_100.parquet",
    "dtd_10": "dtd_10",
    "aircraft_edges": "aircraft_edges.parquet",
    "bird_groups": "bird_groups.parquet",
    "cifar10_1000": "cifar10_1000.parquet",
}
META = ("flowers102", "bird_groups", "dtd_10")
"""Sets that the zoo's λ_meta was searched on."""
IMAGENET_PROBE = "mobilenetv2_100.safetensors?pad_type=same&size=128&mean=0.5&std=0.5"


def load_sets(data: Path) -> dict[str, ImageTask]:
    """Load the six tasks from the directory that holds them."""
    tasks = {}
    for name, file in SETS.items():
        tasks[name] = ImageTask.load(data / file, name=name)
        print(f"{name}: {tasks[name].classes} classes, {len(tasks[name])} images", flush=True)
    return tasks


def near_threshold(
    names: Sequence[str], matrix: Sequence[Sequence[float]], *, left_out: str
) -> float:
    """Return the largest distance of a task to its nearest other one, a task left out.

    Args:
        names: The tasks.
        matrix: Their distances, symmetric, in the same order.
        left_out: The task that takes no part, neither by its own distance nor as another's nearest.
    """
    kept = [place for place, name in enumerate(names) if name != left_out]
    distances = np.array(matrix, dtype=np.float64)[np.ix_(kept, kept)]
    np.fill_diagonal(distances, np.inf)
    return float(distances.min(axis=1).max())
