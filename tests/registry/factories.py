"""Small valid artifacts and embeddings that tests start from."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry.architecture.genotype import Connection, Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS, SearchSpace
from wsdarts_registry.artifact.manifest import NetworkRecord, Provenance, TaskRecord
from wsdarts_registry.artifact.writer import ArtifactDraft, write_artifact
from wsdarts_registry.embedding.embedding import EmbeddingSpace, TaskEmbedding
from wsdarts_registry.stores.store import Entry

Push = Callable[..., Entry]
SPACE = SearchSpace(nodes=2, candidates=("none", "skip_connect", "sep_conv_3x3"))
FILTERS = 7
# By its metadata the Hub finds what it belongs to.
CARD = b"---\nlibrary_name: wsdarts-hub\n---\n# A test\n"


def digest_of(text: str) -> str:
    """A digest that depends on a text."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def make_space(probe: str = "tiny", **settings: str | float) -> EmbeddingSpace:
    """An embedding space of a probe that does not exist."""
    return EmbeddingSpace(
        probe=probe,
        probe_digest=digest_of(probe),
        estimator="fisher",
        version=1,
        settings=tuple(settings.items()),
    )


def make_embedding(
    task: str = "flowers",
    *,
    space: EmbeddingSpace | None = None,
    values: NDArray[np.float64] | None = None,
) -> TaskEmbedding:
    """An embedding whose values depend on the task's name."""
    if values is None:
        seed = int(digest_of(task)[7:15], 16)
        values = np.random.default_rng(seed).gamma(1.0, size=FILTERS)
    return TaskEmbedding(
        space=space or make_space(),
        values=values,
        task_digest=digest_of(task),
        task_name=task,
        images=120,
        classes=10,
    )


def make_masks(space: SearchSpace = SPACE, *, keep: int = 2) -> OperationMasks:
    """Masks that keep the last candidates on each edge."""
    edges, candidates = space.shape
    rows = (tuple(column >= candidates - keep for column in range(candidates)),) * edges
    return OperationMasks(space=space, normal=rows, reduction=rows)


def make_genotype(space: SearchSpace = SPACE) -> Genotype:
    """Cells that use the last candidate on the first two edges of each node."""
    node = tuple(Connection(source=s, operation=space.candidates[-1]) for s in (0, 1))
    return Genotype(space=space, normal=(node,) * space.nodes, reduction=(node,) * space.nodes)


def make_ranked(masks: OperationMasks) -> dict[str, list[list[tuple[str, float]]]]:
    """Every surviving candidate with an equal probability."""
    edges = range(len(masks.space.edges))
    return {
        kind: [
            [(name, 1 / len(masks.operations(kind, e))) for name in masks.operations(kind, e)]
            for e in edges
        ]
        for kind in CELL_KINDS
    }


def make_draft(
    *tasks: str, weights: bool | dict[str, NDArray[Any]] = True, **changes: Any
) -> ArtifactDraft:
    """A draft of a small valid artifact: λ̂ of one task, λ_meta of several.

    Args:
        tasks: Names of the tasks; "flowers" by default.
        weights: Whether there are weights, or which.
        changes: Fields of the draft to replace.
    """
    names = tasks or ("flowers",)
    masks = make_masks()
    draft = ArtifactDraft(
        kind="transfer" if len(names) == 1 else "meta-transfer",
        tasks=[
            TaskRecord(name=n, digest=digest_of(n), images=120, classes=10, image_size=32)
            for n in names
        ],
        network=NetworkRecord(cells=3, channels=4, image_size=32),
        genotype=make_genotype(),
        ranked=make_ranked(masks),
        stage_masks=[OperationMasks.full(SPACE), masks],
        embeddings=[make_embedding(n) for n in names],
        provenance=Provenance(
            code_version="0.1.0",
            libraries={"numpy": "2.4.6"},
            hardware="2 cores",
            seed=7,
            seconds=12.5,
            created="2026-01-02T03:04:05Z",
        ),
        config={"preset": "tiny", "stages": [[3, 3], [3, 2]]},
        metrics={"weights_accuracy": 0.5},
        license="cc-by-nc-4.0",
        description="A test.",
        files={"README.md": CARD},
    )
    if weights:
        chosen = make_weights() if weights is True else weights
        draft = replace(draft, weights=chosen, check=make_check())
    return replace(draft, **changes)


def make_weights() -> dict[str, NDArray[Any]]:
    """Supernet weights that no network has, and α."""
    random = np.random.default_rng(3)
    alpha = {f"alpha.{kind}": random.normal(size=SPACE.shape) for kind in CELL_KINDS}
    return {
        **{name: value.astype(np.float32) for name, value in alpha.items()},
        "stem.0.weight": random.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "stem.1.num_batches_tracked": np.array(5, dtype=np.int64),
    }


def make_check() -> dict[str, NDArray[Any]]:
    """An input and an output."""
    return {
        "input": np.ones((2, 3, 4, 4), dtype=np.float32),
        "output": np.ones((2, 5), dtype=np.float32),
    }


def make_artifact(directory: Path, *tasks: str, **changes: Any) -> str:
    """Write a small valid artifact and return its digest."""
    return write_artifact(directory, make_draft(*tasks, **changes))


def reseal(directory: Path, change: Callable[[dict[str, Any]], object] = lambda data: None) -> None:
    """Make manifest and checksums fit the files again, as a forger would."""
    data = json.loads((directory / "artifact.json").read_bytes())
    for path in data["files"]:
        content = (directory / path).read_bytes()
        data["files"][path] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    change(data)
    content = json.dumps(data).encode()
    (directory / "artifact.json").write_bytes(content)
    line = f"{hashlib.sha256(content).hexdigest()}  artifact.json\n"
    (directory / "artifact.sha256").write_text(line)
