"""What one warm start starts from: the registry ranked, a decision kept, artifacts pulled."""

from dataclasses import dataclass

import torch

from wsdarts_registry.embedding import TaskEmbedding
from wsdarts_registry.errors import NoCommonSpaceError
from wsdarts_registry.nearest import Ranking
from wsdarts_registry.store import Entry, Store
from wsdarts_sdk.artifacts.building import Origin
from wsdarts_sdk.artifacts.starting_point import check_space, starting_point
from wsdarts_sdk.jobs.decision import Choice, Decision, Option, decide
from wsdarts_sdk.jobs.job import Job
from wsdarts_sdk.search.settings import SearchSettings
from wsdarts_sdk.search.state import StartingPoint
from wsdarts_sdk.supernet.kernels.choice import compile_ahead
from wsdarts_sdk.task2vec import Probe, embed, embedding_seconds

_DECISION = "decision.json"


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where a search starts, with the settings that it has there.

    Attributes:
        point: Masks, and perhaps weights and α.
        settings: The last stage of the preset, wide enough for the masks; all of it from cold.
        origin: For the lineage of the artifact.
    """

    point: StartingPoint
    settings: SearchSettings
    origin: Origin


def rank_registry(
    job: Job, store: Store, probe: Probe, *, needed: bool
) -> tuple[TaskEmbedding, Ranking | None]:
    """Embed the job's task and rank the registry by it.

    Returns:
        The embedding, and all neighbours; None where the registry has no embedding by this
        probe.

    Raises:
        NoCommonSpaceError: There is no ranking, and one is needed.
    """
    (task,) = job.tasks
    with job.costs.phase("embedding", known=lambda: embedding_seconds(task, probe)):
        embedding = embed(task, probe, progress=job.progress)
    embedding.save(job.run.path / "embedding.safetensors")
    with job.costs.phase("nearest"):
        ranking = None
        known = len(store.entries())
        if known:
            try:
                ranking = store.nearest(embedding, known)
            except NoCommonSpaceError:
                if needed:
                    raise
    return embedding, ranking


def kept_decision(job: Job, store: Store, ranking: Ranking | None, choice: Choice) -> Decision:
    """Decide once: a resumed run starts from what it started from.

    Raises:
        WsdartsError: As for ``decide``, or the chosen artifact does not exist or is of
            another search space.
    """
    kept = job.run.read_json(_DECISION)
    if kept is not None:
        return Decision.from_json(kept)
    settings = job.preset.search
    damaged = {version.reference for version in ranking.damaged} if ranking else set()
    entries = {
        str(entry.reference): entry
        for entry in store.entries()
        if entry.manifest.search_space == settings.space and entry.reference not in damaged
    }
    source = None
    if choice.source is not None:
        entry = store.resolve(choice.source)
        source = str(entry.reference)
        check_space(source, entry.manifest.search_space, settings)
        entries[source] = entry
    decision = decide(
        choice.mode,
        settings,
        ranking=ranking,
        options=_options(entries, ranking),
        source=source,
        k=choice.k,
    )
    job.run.write_json(_DECISION, decision.to_json())
    return decision


def prepare_start(job: Job, store: Store, decision: Decision) -> Start:
    """Pull what was decided on.

    Raises:
        WsdartsError: An artifact is gone, damaged, or does not fit the settings.
    """
    sources = [(name, store.pull(name)) for name in decision.sources]
    settings = settings_of_mode(job.preset.search, decision.mode)
    if decision.mode == "trained":  # its weights are run before they are used
        compile_ahead(torch.device("cpu"), torch.float32, job.progress)
    point = starting_point(decision.mode, sources, settings)
    return Start(
        point=point,
        settings=settings if decision.mode == "cold" else settings.widened_to(point.masks.widest),
        origin=Origin(
            mode=decision.mode,
            parents=tuple((reference, artifact.digest) for reference, artifact in sources),
        ),
    )


def settings_of_mode(search: SearchSettings, mode: str) -> SearchSettings:
    """All stages from cold, else the last, which is shorter from trained weights and α.

    A warm start has a limit on skip-connects of its own, ``warm_skip_connects``.
    """
    if mode == "cold":
        return search
    return search.from_trained() if mode == "trained" else search.last_stage_only()


def _options(entries: dict[str, Entry], ranking: Ranking | None) -> list[Option]:
    """All usable artifacts, ranked ones by distance, then those without a rank."""
    neighbours = ranking.neighbours if ranking else ()
    order = {neighbour.reference: place for place, neighbour in enumerate(neighbours)}
    names = sorted(entries, key=lambda name: (order.get(name, len(order)), name))
    return [Option(reference=name, manifest=entries[name].manifest) for name in names]
