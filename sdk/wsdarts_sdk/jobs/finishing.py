"""What a search leaves behind in its run directory: genotype, drawing, artifact, report."""

import shutil
from pathlib import Path
from typing import Any

from wsdarts_registry.drawing import genotype_svg
from wsdarts_registry.files import exists
from wsdarts_registry.manifest_file import read_manifest
from wsdarts_sdk.artifacts.building import build_artifact
from wsdarts_sdk.jobs.found import Found
from wsdarts_sdk.jobs.search_report import write_search_report


def finish_search(found: Found) -> tuple[Path, Path]:
    """Write what a search found into its run directory; again does no harm.

    Returns:
        The artifact's directory and the report's path.
    """
    job, result = found.job, found.result
    result.genotype.save(job.run.path / "genotype.json")
    job.run.write_text("cells.svg", genotype_svg(result.genotype))
    artifact = job.run.path / "artifact"
    if not _is_current(artifact, found):
        shutil.rmtree(artifact, ignore_errors=True)
        build_artifact(
            artifact,
            tasks=job.tasks,
            settings=found.settings,
            preset=job.preset.name,
            result=result,
            embeddings=found.embeddings,
            seconds=job.costs.search_seconds,
            device=job.device,
            origin=found.origin,
        )
    job.costs.finish()
    digest = read_manifest(artifact)[1]
    job.run.write_json("result.json", {**_summary(found), "artifact": digest})
    return artifact, write_search_report(found)


def _summary(found: Found) -> dict[str, Any]:
    return {
        "genotype": found.result.genotype.to_darts(),
        "source": found.result.source,
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
        "seconds": found.job.costs.seconds,
        "cached": found.job.costs.cached,
    }


def _is_current(artifact: Path, found: Found) -> bool:
    """Whether the artifact is there already, with embeddings by the same probes."""
    if not exists(artifact):
        return False
    manifest, _ = read_manifest(artifact)
    there = {record.space.embedding_space for record in manifest.embeddings}
    return there == {embedding.space for embedding in found.embeddings}
