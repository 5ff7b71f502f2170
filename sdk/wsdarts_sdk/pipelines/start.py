"""What one warm start starts from: one snapshot of the registry, ranked; a decision, kept; a pull.

What can be refused without an image is refused by ``plan_start``, before any is read. A run that
goes on reads its decision, and the ranking that it was made by, before anything else.

What a warm start starts from: stated rules, decided once and kept with the run.
"""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from wsdarts_registry._files import as_path
from wsdarts_registry.artifact.manifest import Manifest
from wsdarts_registry.artifact.reader import Artifact
from wsdarts_registry.artifact.reference import Reference
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.embedding.ranking import Neighbour, Ranking
from wsdarts_registry.embedding.space import EmbeddingSpace
from wsdarts_registry.errors import (
    EmbeddingError,
    NoCommonSpaceError,
    RegistryError,
    RegistryWarning,
    SettingsError,
    WsdartsError,
)
from wsdarts_registry.stores.catalogue import DAMAGE, Catalogue
from wsdarts_registry.stores.ranking import check_rankable, neighbours_of_kind, rank_registry
from wsdarts_registry.stores.records import Entry
from wsdarts_registry.stores.store import Store
from wsdarts_sdk.artifacts.building import Origin
from wsdarts_sdk.artifacts.starting import check_space, starting_point
from wsdarts_sdk.pipelines.job import Job
from wsdarts_sdk.runs.start_record import read_start, write_start
from wsdarts_sdk.search.settings import SearchSettings
from wsdarts_sdk.search.state import StartingPoint
from wsdarts_sdk.supernet.kernels.choice import compile_ahead
from wsdarts_sdk.task2vec import Probe, embed, embedding_seconds, embedding_space

Mode = Literal["auto", "topology", "trained", "meta", "union", "cold"]
MODES: tuple[str, ...] = get_args(Mode)
META = "meta-transfer"
_WITHOUT_SOURCE = ("union", "cold")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the user asked to start from.

    Attributes:
        source: Reference of the artifact; None lets the mode choose.
        mode: What to take over.
        k: How many of the nearest to report, and to join in mode ``union``.

    Raises:
        SettingsError: There is no such mode, it takes no source, or ``k`` is below 1.
    """

    source: str | None
    mode: Mode
    k: int

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise SettingsError(
                "mode", found=repr(self.mode), expected=f"one of {', '.join(MODES)}"
            )
        if self.source is not None and self.mode in _WITHOUT_SOURCE:
            raise SettingsError(
                f"mode {self.mode!r} does not start from {self.source}: leave --from out, or take "
                "--mode auto, topology or trained"
            )
        if self.k < 1:
            raise SettingsError(f"{self.k} neighbours were asked for", expected="at least 1")

    @property
    def ranking_decides(self) -> bool:
        """Whether the ranking has a say; else it is only reported."""
        return self.source is None and self.mode != "cold"

    @property
    def needs_ranking(self) -> bool:
        """Whether there is nothing to start from without a ranking."""
        return self.ranking_decides and self.mode != "auto"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to start from.

    Attributes:
        mode: ``topology`` (λ), ``trained`` (λ̂), ``meta`` (λ_meta), ``union`` or ``cold``.
        sources: Exact references of the artifacts, none for ``cold``.
        why: The rule that decided, in words.
        digests: Digest of each source; none where an earlier version kept the decision.
    """

    mode: str
    sources: tuple[str, ...]
    why: str
    digests: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what a run's result says of it."""
        return {"mode": self.mode, "sources": list(self.sources), "why": self.why}

    def __str__(self) -> str:
        return " + ".join(self.sources) or "cold"


@dataclass(frozen=True, kw_only=True)
class Option:
    """An artifact that a warm start may use."""

    entry: Entry

    @property
    def reference(self) -> str:
        """Its exact reference."""
        return str(self.entry.reference)

    @property
    def manifest(self) -> Manifest:
        """What it is."""
        return self.entry.manifest

    @property
    def trained(self) -> bool:
        """Whether it has weights."""
        return "weights.safetensors" in self.manifest.files

    def misfit(self, settings: SearchSettings) -> str | None:
        """Why its weights do not fit the last stage of the settings; None if they do."""
        if not self.trained:
            return f"{self.reference} has no weights"
        there, here = self.manifest.network, settings.stages[-1]
        if (there.cells, there.channels) == (here.cells, settings.channels):
            return None
        return (
            f"{self.reference} has weights for {there.cells} cells with {there.channels} channels, "
            f"this search has {here.cells} cells with {settings.channels} channels"
        )


def decide(
    mode: Mode,
    settings: SearchSettings,
    *,
    ranking: Ranking | None,
    singles: Iterable[Option],
    metas: Iterable[Option],
    chosen: Option | None = None,
    k: int = 3,
) -> Decision:
    """Decide what to start from.

    ``auto`` takes the given source, else the nearest single-task artifact when it is near by
    a measured threshold (or when no threshold was measured), with its weights if
    they fit and as masks alone if they do not. When nothing is near it takes the nearest
    λ_meta, and a cold search where the registry has none.

    Args:
        mode: What the user asked for.
        settings: The search that is to be warm-started.
        ranking: Says whether the nearest is near; None where nothing can be ranked.
        singles: The ranked single-task artifacts of the settings' search space, nearest first.
            No more of them are taken than the mode needs.
        metas: The meta-transfer artifacts of that space, the ranked ones first, nearest first.
            At most one is taken.
        chosen: The artifact that the user chose.
        k: How many of the nearest ``union`` joins.

    Raises:
        SettingsError: The chosen artifact's weights do not fit the settings.
        RegistryError: The registry has no artifact of the kind that the mode needs.
    """
    if mode == "cold":
        return Decision(mode="cold", sources=(), why="a cold search was asked for")
    match mode:
        case "auto" if chosen:
            return _best(chosen, settings, "the artifact was asked for")
        case "auto":
            return _auto(settings, ranking, singles, metas)
        case "union":
            return _union(singles, k)
        case "meta":
            return _meta(chosen or next(iter(metas), None))
    option = chosen or _first(singles, mode)
    return _single(mode, option, settings, "the mode was asked for")


def _auto(
    settings: SearchSettings,
    ranking: Ranking | None,
    singles: Iterable[Option],
    metas: Iterable[Option],
) -> Decision:
    nearest = next(iter(singles), None)
    if ranking is None or nearest is None:
        why = (
            "the registry has no single-task artifact of this search space with an embedding by "
            "this probe"
        )
    elif ranking.near is not False:
        return _best(nearest, settings, ranking.why)
    else:
        why = ranking.why
    meta = next(iter(metas), None)
    if meta is None:
        return Decision(mode="cold", sources=(), why=f"{why}, so the search is cold")
    why = f"{why}, so the search starts from the λ_meta {meta.reference}"
    return _from("meta", why, meta)


def _from(mode: str, why: str, *options: Option) -> Decision:
    return Decision(
        mode=mode,
        sources=tuple(option.reference for option in options),
        why=why,
        digests=tuple(option.entry.digest for option in options),
    )


def _first(singles: Iterable[Option], mode: str) -> Option:
    found = next(iter(singles), None)
    if found is None:
        raise nothing_to_rank(mode)
    return found


def nothing_to_rank(mode: str) -> RegistryError:
    """Return the error of a mode that needs an artifact where none can be ranked."""
    return RegistryError(
        f"mode {mode!r} needs an artifact but the registry has none to rank",
        hint="name one with --from, or use --mode cold",
    )


def _union(singles: Iterable[Option], k: int) -> Decision:
    """The union of many masks is nearly the whole space, so few are joined by default."""
    nearest = tuple(islice(singles, k))
    _first(nearest, "union")
    why = f"the union of the masks of the {len(nearest)} nearest was asked for (k sets how many)"
    return _from("union", why, *nearest)


def _meta(option: Option | None) -> Decision:
    if option is None or option.manifest.kind != META:
        raise RegistryError(
            "mode 'meta' needs a meta-transfer artifact and there is none",
            hint=(
                "list what there is with `wsdarts-hub list`, or make one with `wsdarts-hub "
                "search DATA DATA… --out RUN`"
            ),
        )
    return _from("meta", "λ_meta was asked for", option)


def _single(mode: str, option: Option, settings: SearchSettings, why: str) -> Decision:
    misfit = option.misfit(settings)
    if mode == "trained" and misfit:
        raise SettingsError(
            f"{misfit}",
            hint=(
                "use the settings that it was searched with, or --mode topology, which takes its "
                "masks alone"
            ),
        )
    return _from(mode, why, option)


def _best(option: Option, settings: SearchSettings, why: str) -> Decision:
    misfit = option.misfit(settings)
    if misfit is None:
        return _single("trained", option, settings, f"{why}; its weights fit")
    return _single("topology", option, settings, f"{why}; masks alone, since {misfit}")


_EMBEDDING = "embedding.safetensors"
Sources = tuple[tuple[str, Artifact], ...]


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


@dataclass(frozen=True, kw_only=True)
class Decided:
    """A decision, and the ranking that it was made by; None where there was none."""

    decision: Decision
    ranking: Ranking | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a warm start knows before it reads an image.

    Attributes:
        store: Where artifacts are pulled from.
        catalogue: What that held when the warm start began; None where a kept decision says all.
        choice: What the user asked for.
        settings: The search that is to be warm-started.
        kept: What a run that goes on had decided.
        chosen: The artifact that the user chose.
        pulled: Artifacts that are known to be needed, verified.
    """

    store: Store
    catalogue: Catalogue | None
    choice: Choice
    settings: SearchSettings
    kept: Decided | None = None
    chosen: Option | None = None
    pulled: Sources = ()


def read_kept(out: str | Path | None, *, resume: bool) -> Decided | None:
    """Read what the run that is to go on has decided; None where nothing was decided yet.

    Raises:
        RunError: The file of the decision is damaged.
    """
    record = read_start(as_path(out, "out")) if resume and out is not None else None
    if record is None:
        return None
    decision = Decision(
        mode=record.mode, sources=record.sources, why=record.why, digests=record.digests
    )
    return Decided(decision=decision, ranking=record.neighbours)


def plan_start(
    store: Store,
    catalogue: Catalogue | None,
    choice: Choice,
    settings: SearchSettings,
    *,
    probe: Probe,
    kept: Decided | None,
) -> Plan:
    """Find out what can be known without the task, and refuse what cannot become anything.

    Raises:
        WsdartsError: The chosen artifact does not exist, is damaged, or is not of the search's
            space or the mode's kind; or the registry has nothing that the mode could start from.
    """
    plan = Plan(store=store, catalogue=catalogue, choice=choice, settings=settings, kept=kept)
    if kept is not None:
        return replace(plan, pulled=_pull(store, kept.decision))
    assert catalogue is not None  # noqa: S101 - only a kept decision does without
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
        if not any(catalogue.listed()):
            raise nothing_to_rank(choice.mode)
        check_rankable(catalogue, space)


def embed_task(job: Job, probe: Probe) -> TaskEmbedding:
    """Embed the job's task, or read the embedding that an earlier session kept in the run."""
    (task,) = job.tasks
    file = job.run.path / _EMBEDDING
    with job.costs.phase("embedding", known=lambda: embedding_seconds(task, probe)):
        kept = _kept_embedding(file)
        if kept and (kept.space, kept.task_digest) == (embedding_space(probe), task.digest):
            return kept
        embedding = embed(task, probe, progress=job.progress)
    embedding.save(file)
    return embedding


def decide_start(job: Job, plan: Plan, embedding: TaskEmbedding) -> Decided:
    """Rank the registry and decide, once: a run that goes on starts from what it started from.

    Raises:
        WsdartsError: As for ``decide``, or an artifact that had to be read is damaged.
    """
    if plan.kept is not None:
        return plan.kept
    assert plan.catalogue is not None  # noqa: S101 - plan_start has seen to that
    with job.costs.phase("nearest"):
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
    write_start(
        job.run,
        mode=decision.mode,
        sources=decision.sources,
        why=decision.why,
        digests=decision.digests,
        ranking=ranking,
    )
    return Decided(decision=decision, ranking=ranking)


def prepare_start(job: Job, plan: Plan, decision: Decision) -> Start:
    """Pull what was decided on.

    Raises:
        WsdartsError: An artifact is gone, damaged, or does not fit the settings.
    """
    sources = plan.pulled or _pull(plan.store, decision)
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
    """All stages from cold, else the last, which is shorter from trained weights and α.

    A warm start has a limit on skip-connects of its own, ``warm_skip_connects``.
    """
    if mode == "cold":
        return search
    return search.from_trained() if mode == "trained" else search.last_stage_only()


def _kept_embedding(file: Path) -> TaskEmbedding | None:
    try:
        return TaskEmbedding.load(file)
    except EmbeddingError:
        return None  # not there yet, or damaged: computed anew


def _rank(catalogue: Catalogue, embedding: TaskEmbedding, choice: Choice) -> Ranking | None:
    """The nearest artifacts; None where none can be ranked and the mode can do without."""
    if not any(catalogue.listed()):
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
    """Single-task artifacts of the search's space, nearest first."""
    for neighbour in _of_kind(catalogue, embedding, ranking, "transfer"):
        yield from _option(catalogue, settings, Reference.parse(neighbour.reference))


def _metas(
    catalogue: Catalogue,
    settings: SearchSettings,
    embedding: TaskEmbedding | None = None,
    ranking: Ranking | None = None,
) -> Iterator[Option]:
    """Meta-transfer artifacts of the search's space: ranked ones by distance, then all others."""
    if embedding is not None:
        for neighbour in _of_kind(catalogue, embedding, ranking, META):
            yield from _option(catalogue, settings, Reference.parse(neighbour.reference))
    for name, info in catalogue.listed():
        reference = Reference(name=name, version=info.version)
        yield from _option(catalogue, settings, reference, kind=META)


def _of_kind(
    catalogue: Catalogue, embedding: TaskEmbedding, ranking: Ranking | None, kind: str
) -> Iterator[Neighbour]:
    """Artifacts of a kind, nearest first: those of the ranking, then further ones."""
    if ranking is None:
        return
    known = [neighbour for neighbour in ranking.neighbours if neighbour.kind == kind]
    yield from known
    further = neighbours_of_kind(catalogue, embedding, kind, at_once=2 * len(known) or 1)
    yield from islice(further, len(known), None)


def _option(
    catalogue: Catalogue, settings: SearchSettings, reference: Reference, kind: str | None = None
) -> Iterator[Option]:
    """A version as an option, if it is of the search's space and the kind."""
    assert reference.version is not None  # noqa: S101 - rankings and lists name exact versions
    try:
        entry = catalogue.entry(reference.name, reference.version)
    except DAMAGE:  # it cannot be started from; whoever lists or ranks is told of it
        return
    if entry.manifest.search_space == settings.space and kind in (None, entry.manifest.kind):
        yield Option(entry=entry)
