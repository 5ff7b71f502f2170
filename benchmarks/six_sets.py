"""What the benchmarks share: the six image collections, and what machine this is."""

import datetime as dt
import os
import platform
from pathlib import Path
from typing import Any

import torch

from wsdarts_sdk.tasks import ImageTask

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
SETS = {
    "flowers102": "flowers102.parquet",
    "tiny_imagenet_100": "tiny_imagenet_100.parquet",
    "dtd_10": "dtd_10",
    "aircraft_edges": "aircraft_edges.parquet",
    "bird_groups": "bird_groups.parquet",
    "cifar10_1000": "cifar10_1000.parquet",
}


def load_sets(data: Path) -> dict[str, ImageTask]:
    """Load the six tasks from the directory that holds them."""
    tasks = {}
    for name, file in SETS.items():
        tasks[name] = ImageTask.load(data / file, name=name)
        print(f"{name}: {tasks[name].classes} classes, {len(tasks[name])} images", flush=True)
    return tasks


def machine() -> dict[str, Any]:
    """What a reader has to know to judge a time."""
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
    }
