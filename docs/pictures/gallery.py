"""List of all pictures, by their places below ``docs/images``."""

from collections.abc import Callable, Mapping
from pathlib import Path

from docs.pictures.method import method
from docs.pictures.scale import large_registries
from docs.pictures.search_space import search_space
from docs.pictures.stages import split, stages
from docs.pictures.task2vec import task2vec
from docs.pictures.transfer import transfer_matrix
from docs.pictures.warm_starts import warm_starts

FOLDER = Path(__file__).resolve().parents[1] / "images"
PICTURES: Mapping[str, Callable[[], str]] = {
    "concepts/method": method,
    "concepts/search-space": search_space,
    "concepts/stages": stages,
    "concepts/split": split,
    "concepts/task2vec": task2vec,
    "large-registries": large_registries,
    "transfer-matrix": transfer_matrix,
    "warm-starts": warm_starts,
}
