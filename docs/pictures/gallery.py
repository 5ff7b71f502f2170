"""List of all pictures."""

from collections.abc import Callable, Mapping
from pathlib import Path

from docs.pictures.method import method
from docs.pictures.search_space import search_space
from docs.pictures.stages import split, stages
from docs.pictures.task2vec import task2vec

FOLDER = Path(__file__).resolve().parents[1] / "images" / "concepts"
PICTURES: Mapping[str, Callable[[], str]] = {
    "method": method,
    "search-space": search_space,
    "stages": stages,
    "split": split,
    "task2vec": task2vec,
}
