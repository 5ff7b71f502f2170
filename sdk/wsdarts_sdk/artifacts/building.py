"""Artifact of a finished search, which ``push`` publishes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from wsdarts_registry._json import now
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.artifact.contents import alpha_name
from wsdarts_registry.artifact.manifest import (
    Lineage,
    NetworkRecord,
    Parent,
    Provenance,
    SplitRecord,
    TaskRecord,
)
from wsdarts_registry.artifact.writer import ArtifactDraft, write_artifact
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_sdk.artifacts.check import make_check
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.devices import code_version, hardware, library_versions
from wsdarts_sdk.models.network import final_sizes
from wsdarts_sdk.runs.result_records import GenotypeChoice
from wsdarts_sdk.search.derivation import ranked_candidates
from wsdarts_sdk.search.loop import SearchResult
from wsdarts_sdk.search.settings import SearchSettings, settings_json


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Start of a search, for the lineage of its artifact.

    Attributes:
        mode: Mode of the warm start, or ``cold``.
        parents: Exact reference and digest of each artifact that it started from.
    """

    mode: str = "cold"
    parents: tuple[tuple[str, str], ...] = ()


def build_artifact(
    directory: Path,
    *,
    tasks: Sequence[ImageTask],
    settings: SearchSettings,
    preset: str,
    result: SearchResult,
    embeddings: Sequence[TaskEmbedding],
    seconds: float,
    device: torch.device,
    origin: Origin | None = None,
    choice: GenotypeChoice | None = None,
    choice_config: Mapping[str, Any] | None = None,
) -> str:
    """Write the artifact of a search into a new directory and return its digest.

    It has no model card yet: ``push`` writes that, with the name.

    Args:
        directory: New or empty.
        tasks: What was searched on; several make a meta-transfer artifact.
        settings: The search's settings.
        preset: Name of the preset that they came from.
        result: What the search found.
        embeddings: One for each task and probe.
        seconds: Wall time of the search, and of the choice.
        device: Where it ran.
        origin: What it started from; cold by default.
        choice: How the genotype was chosen, and by which settings; by default α decided.
        choice_config: Those settings, as part of the artifact's configuration.
    """
    origin = origin or Origin()
    masks, last = result.stage_masks[-1], settings.stages[-1]
    kind: Literal["transfer", "meta-transfer"] = "transfer" if len(tasks) == 1 else "meta-transfer"
    weights = {name: value.cpu().numpy() for name, value in result.weights.items()}
    alpha = {alpha_name(k): result.alpha[k].astype(np.float32) for k in CELL_KINDS}
    draft = ArtifactDraft(
        kind=kind,
        tasks=[_task_record(task, settings.image_size) for task in tasks],
        network=NetworkRecord(
            cells=last.cells, channels=settings.channels, image_size=settings.image_size
        ),
        genotype=result.genotype,
        ranked=ranked_candidates(masks, result.alpha),
        stage_masks=result.stage_masks,
        embeddings=embeddings,
        weights={**weights, **alpha},
        check=make_check(
            masks,
            cells=last.cells,
            channels=settings.channels,
            image_size=settings.image_size,
            weights={name: value.cpu() for name, value in result.weights.items()},
            alpha=result.alpha,
        ),
        config={"preset": preset, **settings_json(settings), **(choice_config or {})},
        metrics={**_metrics(result), **({} if choice is None else choice.metrics)},
        provenance=Provenance(
            code_version=code_version(),
            libraries=library_versions(),
            hardware=hardware(device),
            seed=settings.seed,
            seconds=round(seconds, 3),
            created=now(),
        ),
        lineage=Lineage(
            mode=origin.mode,
            parents=tuple(Parent(reference=r, digest=d) for r, d in origin.parents),
        ),
    )
    return write_artifact(directory, draft)


def _task_record(task: ImageTask, image_size: int) -> TaskRecord:
    return TaskRecord(
        name=task.name,
        digest=task.digest,
        images=len(task),
        classes=task.classes,
        image_size=image_size,
        dataset=task.dataset,
        split=_given_split(task),
        groups=task.group_count,
    )


def _given_split(task: ImageTask) -> SplitRecord | None:
    if not task.given_split:
        return None
    return SplitRecord(
        train=len(task.train_indices),
        validation=len(task.indices(Part.VALIDATION)),
        test=len(task.indices(Part.TEST)) or None,
    )


def _metrics(result: SearchResult) -> dict[str, int | float]:
    """Return steps of the weights, figures of the last epoch, skip-connects and final size."""
    last: dict[str, Any] = result.rows[-1] if result.rows else {}
    names = ("weights_loss", "weights_accuracy", "alpha_loss", "alpha_accuracy")
    found = {name: last[name] for name in names if last.get(name) is not None}
    steps = sum(row["steps"] for row in result.rows)
    skips = result.genotype.count("skip_connect")
    return {"steps": steps, **found, "skip_connects": skips, **final_sizes(result.genotype)}
