"""Warm start: embed a dataset, find the nearest artifact, warm-start a search from it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

import torch

from wsdarts_registry._files import exists
from wsdarts_registry._format import duration
from wsdarts_registry._text import sanitize, sanitize_spaced
from wsdarts_registry._views import Viewable
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.embedding.ranking import Neighbour
from wsdarts_registry.errors import SettingsError
from wsdarts_registry.stores.opening import open_for, open_registry
from wsdarts_registry.stores.signature_policy import Required
from wsdarts_registry.stores.store import Store
from wsdarts_sdk.data.options import DataOptions
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.distributed import Ranks, joined_ranks
from wsdarts_sdk.pipelines._sweep import (
    Trial,
    choose_together,
    search_once,
    search_with_sweep,
)
from wsdarts_sdk.pipelines.baselines import LINEAR
from wsdarts_sdk.pipelines.genotype_choice import check_limits, choice_may_change
from wsdarts_sdk.pipelines.run_context import (
    Data,
    RunContext,
    check_context,
    checks_keywords,
    load_task,
    open_context,
    probe_for,
    train_parts,
)
from wsdarts_sdk.pipelines.search import (
    FinishedSearch,
    SearchRun,
    write_results,
    write_search_report,
)
from wsdarts_sdk.pipelines.starting_point_rules import Choice, Decision, Mode
from wsdarts_sdk.pipelines.starting_points import (
    Plan,
    Start,
    decide_start,
    embed_task,
    plan_start,
    prepare_start,
    read_decision,
)
from wsdarts_sdk.pipelines.train import TrainingRun, train
from wsdarts_sdk.presets import Preset, find_preset
from wsdarts_sdk.progress import Progress, session_began, shown
from wsdarts_sdk.reports.facts import ColdCost
from wsdarts_sdk.reports.rows import phase_costs
from wsdarts_sdk.runs.callbacks import Callback, Callbacks
from wsdarts_sdk.runs.result_records import GenotypeChoice
from wsdarts_sdk.runs.shared_work import Storage, storage_address
from wsdarts_sdk.search.loop import SearchResult
from wsdarts_sdk.search.settings import settings_json
from wsdarts_sdk.supernet.kernel_choice import check_kernels
from wsdarts_sdk.task2vec.probe import Probe


@dataclass(frozen=True, kw_only=True)
class WarmStart(Viewable):
    """Result of a warm start.

    Attributes:
        source: Exact reference of the artifact that it started from, or ``"cold"``.
        mode: ``topology``, ``trained``, ``meta``, ``union`` or ``cold``.
        why: The rule that chose source and mode, in words.
        genotype: The architecture that it found.
        neighbours: The registry's nearest artifacts, nearest first.
        task: The dataset.
        result: Everything that the search found.
        trials: The sweep's trials, best first; empty without a sweep.
        path: The run directory.
        artifact: Directory of the artifact that ``push`` publishes.
        report: The report, one HTML file.
        seconds: Wall time by phase, with the rest as ``other``: together the clock's total.
        cached: What computing had cost what came from a cache, by phase; no part of ``seconds``.
        found: What the report is made of.
        choice: How the genotype was chosen; None where α alone decided.
        devices: How many processes searched together, each on a device of its own.
    """

    source: str
    mode: str
    why: str
    genotype: Genotype
    neighbours: tuple[Neighbour, ...]
    task: ImageTask
    result: SearchResult
    trials: tuple[Trial, ...]
    path: Path
    artifact: Path
    report: Path
    seconds: dict[str, float]
    found: FinishedSearch
    cached: dict[str, float] = field(default_factory=dict)
    choice: GenotypeChoice | None = None
    devices: int = 1

    def __repr__(self) -> str:
        took = duration(sum(self.seconds.values()))
        return (
            f"<WarmStart on {sanitize(self.task.name, 80)} from {sanitize(self.source, 200)} "
            f"(mode {self.mode}), {took}, in {sanitize_spaced(str(self.path))}>"
        )

    @checks_keywords("train", settings=("training",))
    def train(
        self,
        *,
        preset: str | Preset = "small",
        seed: int | None = None,
        out: str | Path | None = None,
        resume: bool = False,
        baseline: str | None = LINEAR,
        progress: Progress | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> TrainingRun:
        """Train the genotype's network, as ``train`` does of this run, and evaluate it.

        Args:
            preset: Whose training settings to use.
            seed: Seed of everything random; the preset's by default.
            out: Run directory of the training; by default the first free ``training-PRESET-N``
                in this run, or the last one with ``resume``.
            resume: Go on with the training in ``out``, or begin if there is none.
            baseline: As for ``train``.
            progress: Told what is done and how much is left; lines on stderr by default.
            callbacks: As for ``train``.
        """
        chosen = find_preset(preset)
        return train(
            self.path,
            self.task,
            out=out or self._training_directory(chosen.name, resume=resume),
            preset=chosen,
            seed=seed,
            resume=resume,
            baseline=baseline,
            device=self.found.context.device.type,
            progress=progress,
            callbacks=callbacks,
        )

    def _training_directory(self, preset: str, *, resume: bool) -> Path:
        number = 1
        while exists(self.path / f"training-{preset}-{number}"):
            number += 1
        return self.path / f"training-{preset}-{max(1, number - 1) if resume else number}"

    def compare(self, cold: SearchRun, where: str) -> Path:
        """Write the report again with what a cold search cost beside this one's.

        Args:
            cold: A cold search of the same preset on the same task.
            where: Where its figures are from, as a sentence.

        Raises:
            SettingsError: It is a search of another task, preset or seed.
        """
        ours = self.found.context.preset.search
        if cold.tasks[0].digest != self.task.digest or cold.settings != ours:
            raise SettingsError(
                (
                    f"the cold search in {cold.path} has another task or other settings than the "
                    f"warm start in {self.path}"
                ),
                hint="compare searches of one task and one preset",
            )
        measured = ColdCost(phases=phase_costs(cold.seconds, cold.cached), origin=where)
        return write_search_report(self.found, measured)


@checks_keywords("warm_start", settings=("search", "choice", "selection"))
def warm_start(
    data: Data,
    *,
    out: str | Path | None = None,
    registry: str | Path | Store | None = None,
    source: str | None = None,
    mode: Mode = "auto",
    preset: str | Preset = "small",
    seed: int | None = None,
    probe: str | Path | Probe | None = None,
    k: int = 5,
    sweep_skip_dropout: bool = False,
    storage: str | None = None,
    resume: bool = False,
    require_signature: Required = None,
    device: str | None = None,
    progress: Progress | None = None,
    callbacks: Sequence[Callback] = (),
    **reading: Unpack[DataOptions],
) -> WarmStart:
    """Embed a dataset, find the nearest artifact and warm-start a search from it.

    Args:
        data: Folder of class folders, parquet file, ``"hf:NAME"``, ``"torchvision:NAME"``,
            ``(images, labels)`` or an ``ImageTask``.
        out: The run directory; the first free ``runs/warm-start-NAME-N`` by default.
        registry: Directory of a registry; the shipped zoo by default.
        source: Reference of the artifact to start from, perhaps with its registry on the Hub
            (``hf://OWNER/NAME@3``); by default the nearest decides.
        mode: What to take over; ``auto`` decides by stated rules, and says why.
        preset: ``"paper"``, ``"small"``, ``"tiny"`` or a ``Preset`` of your own; a warm
            start is its last stage, a cold search all of it.
        seed: Seed of everything random; the preset's by default.
        probe: The probe that embeds the task; the shipped one by default. Where the registry
            names another one, it has to be named here.
        k: How many of the nearest to report, and to join in mode ``union``.
        sweep_skip_dropout: Search with a skip-connect dropout of 0 to 0.9 and keep the
            genotype that is best after a short training on the train part.
        storage: URL of a database through which any number of workers with the same data and
            settings share the trials of a sweep: ``sqlite:///FILE`` on one machine,
            ``postgresql://USER@HOST/DATABASE`` on several. By default the one that the
            environment variable WSDARTS_HUB_STORAGE names, else one worker runs all.
        resume: Go on with the run in ``out``, or begin if there is none.
        require_signature: Files of public keys, one of which has to have signed what the search
            starts from, or a ``SignaturePolicy``; by default the user's own policy decides.
        device: ``"cpu"`` or ``"cuda"``; CUDA by default where there is one. Of several processes
            that ``torchrun`` started, each takes the GPU of its number.
        progress: Told what is done and how much is left; lines on stderr by default.
        callbacks: Told when it begins, what each epoch measured, and the result; see ``Callback``.
        reading: Options of reading the dataset, see ``DataOptions``.

    Raises:
        WsdartsError: Data, settings, registry or run directory do not fit.
    """
    told = Callbacks.of(callbacks)
    began = session_began()
    with joined_ranks(device) as (ranks, where):
        _check_sweep(ranks, storage, sweeping=sweep_skip_dropout)
        chosen = find_preset(preset, seed=seed)
        check_kernels(where)
        address = storage_address(storage) if sweep_skip_dropout else None
        database = None if address is None else Storage.of(address)
        plan, network, config = (
            _prepare(
                data,
                chosen,
                out=out,
                registry=registry,
                source=source,
                mode=mode,
                probe=probe,
                k=k,
                sweeping=sweep_skip_dropout,
                resume=resume,
                require_signature=require_signature,
                device=where,
            )
            if ranks.is_first
            else (None, None, {})
        )
        progress = ranks.shown_by_first(shown(progress))
        task = ranks.in_turn(lambda: load_task(data, reading, progress=progress))
        with open_context(
            "warm-start",
            [task],
            chosen,
            out=out,
            resume=resume,
            device=where,
            progress=progress,
            began=began,
            callbacks=told,
            may_change=choice_may_change,
            ranks=ranks,
            **config,
        ) as context:
            found = _run(context, plan, network, sweeping=sweep_skip_dropout, database=database)
        if ranks.is_first:
            told.end(found)
    return found


def _check_sweep(ranks: Ranks, storage: str | None, *, sweeping: bool) -> None:
    """Check that a sweep runs in one process, and that a storage is for a sweep.

    Raises:
        SettingsError: It is not so.
    """
    if ranks.several and sweeping:
        raise SettingsError(
            f"a sweep does not run under torchrun, and there are {ranks.size} processes",
            hint="start workers that share it, without torchrun: --storage URL",
        )
    if storage is not None and not sweeping:
        raise SettingsError(
            "a storage was given for a search that is not a sweep",
            hint="add --sweep, or leave out --storage",
        )


def _prepare(
    data: Data,
    preset: Preset,
    *,
    out: str | Path | None,
    registry: str | Path | Store | None,
    source: str | None,
    mode: Mode,
    probe: str | Path | Probe | None,
    k: int,
    sweeping: bool,
    resume: bool,
    require_signature: Required,
    device: torch.device,
) -> tuple[Plan, Probe, dict[str, Any]]:
    """Plan the start and check everything that can be checked before an image is read.

    Returns:
        The plan, the probe, and what the run's configuration says of this warm start.
    """
    store, reference = open_registry(registry, require_signature=require_signature), source
    if source is not None:
        store, reference = open_for(source, registry, require_signature=require_signature)
    recorded = read_decision(out, resume=resume)
    catalogue = None if recorded else store.catalogue()
    network = probe_for(probe, catalogue or store, device)
    config = {
        "search": settings_json(preset.search),
        "mode": mode,
        "source": reference,
        "k": k,
        "probe": network.digest,
        "sweep": settings_json(preset.selection) if sweeping else None,
        **preset.choice_json(),
    }
    check_context(
        "warm-start",
        [data],
        preset,
        out=out,
        resume=resume,
        may_change=choice_may_change,
        **config,
    )
    plan = plan_start(
        store,
        catalogue,
        Choice(source=reference, mode=mode, k=k),
        preset.search,
        probe=network,
        recorded=recorded,
    )
    return plan, network, config


def _begin(
    context: RunContext, plan: Plan | None, probe: Probe | None
) -> tuple[TaskEmbedding, Decision, Start]:
    """Embed the task, decide where to start, and pull that; rank 0 does so for all."""
    assert plan is not None and probe is not None  # of rank 0  # noqa: S101, PT018
    embedding = embed_task(context, probe, plan.catalogue)
    decision = decide_start(context, plan, embedding)
    start = prepare_start(plan, decision, context.progress)
    check_limits(context.tasks, context.preset, start.point.masks)
    return embedding, decision, start


def _run(
    context: RunContext,
    plan: Plan | None,
    probe: Probe | None,
    *,
    sweeping: bool,
    database: Storage | None,
) -> WarmStart:
    ranks = context.ranks
    embedding, decision, start = ranks.alone(lambda: _begin(context, plan, probe))
    with context.costs.phase("loading"):
        (part,) = ranks.in_turn(
            lambda: train_parts(context.tasks, start.settings, context.device, context.progress)
        )
    if sweeping:
        outcome = search_with_sweep(context, part, start, database)
    else:
        outcome = search_once(context, part, start)
    result, choice = choose_together(context, outcome)
    found = FinishedSearch(
        context=context,
        settings=outcome.settings,
        result=result,
        embeddings=(embedding,),
        decision=decision,
        trials=outcome.trials,
        origin=start.origin,
        choice=choice,
    )
    artifact, report = ranks.alone(lambda: write_results(found))
    seconds, cached = ranks.from_first((context.costs.seconds, context.costs.cached))
    return WarmStart(
        source=str(decision),
        mode=decision.mode,
        why=decision.why,
        genotype=result.genotype,
        neighbours=decision.ranking.neighbours if decision.ranking else (),
        task=context.tasks[0],
        result=result,
        trials=outcome.trials,
        path=context.run.path,
        artifact=artifact,
        report=report,
        seconds=seconds,
        cached=cached,
        found=found,
        choice=choice,
        devices=ranks.size,
    )
