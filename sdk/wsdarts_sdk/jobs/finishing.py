"""What a search leaves behind in its run directory: genotype, drawing, artifact, report."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from wsdarts_registry.artifact import read_manifest
from wsdarts_registry.drawing import genotype_svg
from wsdarts_registry.embedding import TaskEmbedding
from wsdarts_registry.nearest import Ranking
from wsdarts_sdk.artifacts.building import Origin, build_artifact
from wsdarts_sdk.jobs.costs import Costs
from wsdarts_sdk.jobs.decision import Decision
from wsdarts_sdk.jobs.search_report import write_search_report
from wsdarts_sdk.jobs.sweep import Trial
from wsdarts_sdk.runs.directory import RunDirectory
from wsdarts_sdk.search.loop import SearchResult
from wsdarts_sdk.search.settings import SearchSettings
from wsdarts_sdk.tasks import ImageTask


@dataclass(frozen=True, kw_only=True)
class Found:
    """A finished search with everything that its artifact and its report say.

    Attributes:
        tasks: What was searched on.
        preset: Name of the preset.
        settings: Settings of the search.
        result: What it found.
        embeddings: One for each task and probe.
        costs: Wall time by phase.
        device: Where it ran.
        decision: What a warm start started from, and why; None for a plain search.
        ranking: The nearest artifacts, where they were ranked.
        trials: The sweep's trials, best first.
        origin: For the artifact's lineage.
        cold_settings: The cold search of the same preset, to compare the work with.
    """

    tasks: tuple[ImageTask, ...]
    preset: str
    settings: SearchSettings
    result: SearchResult
    embeddings: tuple[TaskEmbedding, ...]
    costs: Costs
    device: torch.device
    decision: Decision | None = None
    ranking: Ranking | None = None
    trials: tuple[Trial, ...] = ()
    origin: Origin | None = None
    cold_settings: SearchSettings | None = None


def finish_search(run: RunDirectory, found: Found) -> tuple[Path, Path]:
    """Write what a search found into its run directory; again does no harm.

    Returns:
        The artifact's directory and the report's path.
    """
    result = found.result
    result.genotype.save(run.path / "genotype.json")
    run.write_text("cells.svg", genotype_svg(result.genotype))
    artifact = run.path / "artifact"
    if not _is_current(artifact, found):
        shutil.rmtree(artifact, ignore_errors=True)
        build_artifact(
            artifact,
            tasks=found.tasks,
            settings=found.settings,
            preset=found.preset,
            result=result,
            embeddings=found.embeddings,
            seconds=found.costs.seconds["search"],
            device=found.device,
            origin=found.origin,
        )
    run.write_json(
        "result.json",
        {
            "genotype": result.genotype.to_darts(),
            "source": result.source,
            "decision": found.decision.to_json() if found.decision else None,
            "neighbours": [
                {"reference": n.reference, "distance": n.distance, "kind": n.kind}
                for n in (found.ranking.neighbours if found.ranking else ())
            ],
            "nearness": found.ranking.why if found.ranking else None,
            "trials": [
                {"skip_dropout": t.rate, "accuracy": t.accuracy, "seconds": t.seconds}
                for t in found.trials
            ],
            "artifact": read_manifest(artifact)[1],
            "seconds": found.costs.seconds,
        },
    )
    return artifact, write_search_report(run, found)


def _is_current(artifact: Path, found: Found) -> bool:
    """Whether the artifact is there already, with embeddings by the same probes."""
    if not artifact.exists():
        return False
    manifest, _ = read_manifest(artifact)
    there = {record.space.embedding_space for record in manifest.embeddings}
    return there == {embedding.space for embedding in found.embeddings}
