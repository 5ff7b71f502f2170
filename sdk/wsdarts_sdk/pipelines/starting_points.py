"""Starting points of warm starts: a snapshot of the registry, its ranking, a decision, a pull.

``plan_start`` refuses all that can be refused without an image, before any is read. A continued
run reads its decision, and the ranking that it was made by, before anything else.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch

from wsdarts_registry._files import as_path
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_registry.artifact.reader import Artifact
from wsdarts_registry.artifact.reference import Reference
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.embedding.embedding_space import EmbeddingSpace
from wsdarts_registry.embedding.ranking import Neighbour, Ranking
from wsdarts_registry.errors import (
    EmbeddingError,
    NoCommonSpaceError,
    RegistryWarning,
    SettingsError,
    WsdartsError,
)
from wsdarts_registry.stores.catalogue import DAMAGE, Catalogue
from wsdarts_registry.stores.nearest_artifacts import (
    check_rankable,
    nearest_so_far,
    neighbours_of_kind,
    rank_registry,
)
from wsdarts_registry.stores.store import Store
from wsdarts_sdk.artifacts.building import Origin, artifact_alpha, artifact_weights, run_check
from wsdarts_sdk.pipelines.run_context import RunContext
from wsdarts_sdk.pipelines.starting_point_rules import (
    META,
    Choice,
    Decision,
    Option,
    decide,
    nothing_to_rank,
)
from wsdarts_sdk.progress import Progress
from wsdarts_sdk.runs.directory import EMBEDDING_FILE
from wsdarts_sdk.runs.records import read_start, write_start
from wsdarts_sdk.search.settings import SearchSettings
from wsdarts_sdk.search.state import StartingPoint
from wsdarts_sdk.supernet.kernel_choice import compile_ahead
from wsdarts_sdk.task2vec.embedding import embed, embedding_seconds, embedding_space
from wsdarts_sdk.task2vec.probe import Probe

Sources = tuple[tuple[str, Artifact], ...]


@dataclass(frozen=True, kw_only=True)
class Start:
    """Starting point of a search, with the settings that it has there.

    Attributes:
        point: Masks, and perhaps weights and α.
        settings: The last stage of the preset, wide enough for the masks; all of it from cold.
        origin: For the lineage of the artifact.
    """

    point: StartingPoint
    settings: SearchSettings
    origin: Origin


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Facts of a warm start that are known before an image is read.

    Attributes:
        store: Where artifacts are pulled from.
        catalogue: What that held when the warm start began; None where a decision is recorded.
        choice: What the user asked for.
        settings: The search that is to be warm-started.
        recorded: Decision of the run that is continued.
        chosen: The artifact that the user chose.
        pulled: Artifacts that are known to be needed, verified.
    """

    store: Store
    catalogue: Catalogue | None
    choice: Choice
    settings: SearchSettings
    recorded: Decision | None = None
    chosen: Option | None = None
    pulled: Sources = ()


def read_decision(out: str | Path | None, *, resume: bool) -> Decision | None:
    """Read the decision of the run that is to be continued; None where nothing was decided yet.

    Raises:
        RunError: The file of the decision is damaged.
    """
    record = read_start(as_path(out, "out")) if resume and out is not None else None
    if record is None:
        return None
    return Decision(
        mode=record.mode,
        sources=record.sources,
        why=record.why,
        digests=record.digests,
        ranking=record.neighbours,
    )


def plan_start(
    store: Store,
    catalogue: Catalogue | None,
    choice: Choice,
    settings: SearchSettings,
    *,
    probe: Probe,
    recorded: Decision | None,
) -> Plan:
    """Find out what can be known without the task, and refuse what cannot become anything.

    Raises:
        WsdartsError: The chosen artifact does not exist, is damaged, or is not of the search's
            space or the mode's kind; or the registry has nothing that the mode could start from.
    """
    plan = Plan(
        store=store, catalogue=catalogue, choice=choice, settings=settings, recorded=recorded
    )
    if recorded is not None:
        return replace(plan, pulled=_pull(store, recorded))
    assert catalogue is not None  # noqa: S101 - only a recorded decision does without
    if choice.source is None:
        _check_possible(catalogue, choice, settings, embedding_space(probe))
        return plan
    entry = catalogue.resolve(choice.source)
    check_space(str(entry.reference), entry.manifest.search_space, settings)
    chosen = Option(entry=entry)
    decision = decide(choice.mode, settings, ranking=None, singles=(), metas=(), chosen=chosen)
    return replace(plan, chosen=chosen, pulled=_pull(store, decision))


def _check_possible(
    catalogue: Catalogue, choice: Choice, settings: SearchSettings, space: EmbeddingSpace
) -> None:
    """Refuse a mode for which the registry holds nothing, whatever the task is."""
    if choice.mode == "meta":
        decide("meta", settings, ranking=None, singles=(), metas=_metas(catalogue, settings))
    elif choice.needs_ranking:
        if not any(catalogue.iter_versions()):
            raise nothing_to_rank(choice.mode)
        check_rankable(catalogue, space)


def embed_task(context: RunContext, probe: Probe, catalogue: Catalogue | None) -> TaskEmbedding:
    """Embed the task, or read the embedding that an earlier session saved in the run.

    Args:
        context: The run.
        probe: The probe.
        catalogue: The registry whose nearest artifact so far the progress tells.
    """
    (task,) = context.tasks
    file = context.run.path / EMBEDDING_FILE
    with context.costs.phase("embedding", known=lambda: embedding_seconds(task, probe)):
        saved = _saved_embedding(file)
        if saved and (saved.space, saved.task_digest) == (embedding_space(probe), task.digest):
            return saved
        preview = None if catalogue is None else nearest_so_far(catalogue)
        embedding = embed(task, probe, progress=context.progress, preview=preview)
    embedding.save(file)
    return embedding


def decide_start(context: RunContext, plan: Plan, embedding: TaskEmbedding) -> Decision:
    """Rank the registry and decide, once: a run that goes on starts from what it started from.

    Raises:
        WsdartsError: As for ``decide``, or an artifact that had to be read is damaged.
    """
    if plan.recorded is not None:
        return plan.recorded
    with context.costs.phase("nearest"):
        decision = decide_by(plan, embedding)
    write_start(
        context.run,
        mode=decision.mode,
        sources=decision.sources,
        why=decision.why,
        digests=decision.digests,
        ranking=decision.ranking,
    )
    return decision


def decide_by(plan: Plan, embedding: TaskEmbedding) -> Decision:
    """Rank the registry and decide, whatever was decided before.

    Raises:
        WsdartsError: As for ``decide_start``.
    """
    assert plan.catalogue is not None  # noqa: S101 - plan_start has seen to that
    ranking = _rank(plan.catalogue, embedding, plan.choice)
    decision = decide(
        plan.choice.mode,
        plan.settings,
        ranking=ranking,
        singles=_singles(plan.catalogue, plan.settings, embedding, ranking),
        metas=_metas(plan.catalogue, plan.settings, embedding, ranking),
        chosen=plan.chosen,
        k=plan.choice.k,
    )
    return replace(decision, ranking=ranking)


def prepare_start(plan: Plan, decision: Decision, progress: Progress) -> Start:
    """Pull what was decided on.

    Raises:
        WsdartsError: An artifact is gone, damaged, or does not fit the settings.
    """
    sources = plan.pulled or _pull(plan.store, decision)
    settings = settings_of_mode(plan.settings, decision.mode)
    if decision.mode == "trained":  # its weights are run before they are used
        compile_ahead(torch.device("cpu"), torch.float32, progress)
    point = starting_point(decision.mode, sources, settings)
    return Start(
        point=point,
        settings=settings if decision.mode == "cold" else settings.widened_to(point.masks.widest),
        origin=Origin(
            mode=decision.mode,
            parents=tuple((reference, artifact.digest) for reference, artifact in sources),
        ),
    )


def _pull(store: Store, decision: Decision) -> Sources:
    """Pull by digest: what was decided on, whatever was published since."""
    digests = decision.digests or (None,) * len(decision.sources)
    return tuple(
        (name, store.pull(name if digest is None else _exact(name, digest)))
        for name, digest in zip(decision.sources, digests, strict=True)
    )


def _exact(reference: str, digest: str) -> Reference:
    return Reference(name=Reference.parse(reference).name, digest=digest)


def settings_of_mode(search: SearchSettings, mode: str) -> SearchSettings:
    """Return all stages from cold, else the last, which is shorter from trained weights and α.

    A warm start has a limit on skip-connects of its own, ``warm_skip_connects``.
    """
    if mode == "cold":
        return search
    return search.from_trained() if mode == "trained" else search.last_stage_only()


def _saved_embedding(file: Path) -> TaskEmbedding | None:
    try:
        return TaskEmbedding.load(file)
    except EmbeddingError:
        return None  # not there yet, or damaged: computed anew


def _rank(catalogue: Catalogue, embedding: TaskEmbedding, choice: Choice) -> Ranking | None:
    """Return the nearest artifacts; None where none can be ranked and the mode can do without."""
    if not any(catalogue.iter_versions()):
        return None
    try:
        return rank_registry(catalogue, embedding, choice.k)
    except NoCommonSpaceError:
        if choice.needs_ranking:
            raise
    except WsdartsError as problem:
        if choice.ranking_decides:
            raise
        text = f"the report will name no neighbours, for the registry cannot be ranked: {problem}"
        warnings.warn(text, RegistryWarning, stacklevel=2)
    return None


def _singles(
    catalogue: Catalogue,
    settings: SearchSettings,
    embedding: TaskEmbedding,
    ranking: Ranking | None,
) -> Iterator[Option]:
    """Yield single-task artifacts of the search's space, nearest first."""
    for neighbour in _of_kind(catalogue, embedding, ranking, "transfer"):
        yield from _option(catalogue, settings, Reference.parse(neighbour.reference))


def _metas(
    catalogue: Catalogue,
    settings: SearchSettings,
    embedding: TaskEmbedding | None = None,
    ranking: Ranking | None = None,
) -> Iterator[Option]:
    """Yield meta-transfer artifacts of the search's space: ranked ones by distance, then others."""
    if embedding is not None:
        for neighbour in _of_kind(catalogue, embedding, ranking, META):
            yield from _option(catalogue, settings, Reference.parse(neighbour.reference))
    for name, info in catalogue.iter_versions():
        reference = Reference(name=name, version=info.version)
        yield from _option(catalogue, settings, reference, kind=META)


def _of_kind(
    catalogue: Catalogue, embedding: TaskEmbedding, ranking: Ranking | None, kind: str
) -> Iterator[Neighbour]:
    """Yield artifacts of a kind, nearest first: those of the ranking, then further ones."""
    if ranking is None:
        return
    known = [neighbour for neighbour in ranking.neighbours if neighbour.kind == kind]
    yield from known
    further = neighbours_of_kind(catalogue, embedding, kind, at_once=2 * len(known) or 1)
    yield from islice(further, len(known), None)


def _option(
    catalogue: Catalogue, settings: SearchSettings, reference: Reference, kind: str | None = None
) -> Iterator[Option]:
    """Yield a version as an option, if it is of the search's space and the kind."""
    assert reference.version is not None  # noqa: S101 - rankings and lists name exact versions
    try:
        entry = catalogue.entry(reference.name, reference.version)
    except DAMAGE:  # it cannot be started from; whoever lists or ranks is told of it
        return
    if entry.manifest.search_space == settings.space and kind in (None, entry.manifest.kind):
        yield Option(entry=entry)


def starting_point(
    mode: str, sources: Sequence[tuple[str, Artifact]], settings: SearchSettings
) -> StartingPoint:
    """Return the starting point of a search.

    Args:
        mode: ``cold`` (all operations), ``topology`` or ``meta`` (the masks of one artifact),
            ``trained`` (its masks, weights and α) or ``union`` (masks of several).
        sources: Exact reference and verified artifact of each source.
        settings: Settings of the search, whose search space the artifacts must have.

    Raises:
        SettingsError: An artifact has another search space, or no weights where they are
            needed.
        ArtifactError: An artifact's weights fail its own check.
    """
    if mode == "cold":
        return StartingPoint(masks=OperationMasks.full(settings.space))
    for reference, artifact in sources:
        check_space(reference, artifact.masks.space, settings)
    (reference, first), *others = sources
    if mode == "trained":
        weights = first.weights()
        if weights is None:
            raise SettingsError(f"{reference} has no weights", hint="use --mode topology")
        run_check(first)
        return StartingPoint(
            masks=first.masks,
            weights=artifact_weights(weights),
            alpha=artifact_alpha(weights),
            source=reference,
        )
    masks = first.masks
    for _, other in others:
        masks = masks.union(other.masks)
    return StartingPoint(masks=masks, source=" + ".join(name for name, _ in sources))


def check_space(reference: str, space: SearchSpace, settings: SearchSettings) -> None:
    """Refuse an artifact of another search space than the settings have.

    Raises:
        SettingsError: Names both spaces.
    """
    if space != settings.space:
        raise SettingsError(
            f"search space of {reference}",
            found=space,
            expected=settings.space,
            hint="search in the artifact's space, or start from another artifact",
        )
