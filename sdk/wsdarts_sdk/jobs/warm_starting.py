"""The main job: embed a dataset, find the nearest artifact, warm-start a search from it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from wsdarts_registry.artifact import Artifact
from wsdarts_registry.embedding import TaskEmbedding
from wsdarts_registry.errors import EmbeddingError, SettingsError
from wsdarts_registry.genotype import Genotype
from wsdarts_registry.nearest import Neighbour, Ranking
from wsdarts_registry.store import Entry, Store
from wsdarts_registry.zoo import open_registry
from wsdarts_sdk.artifacts.building import Origin
from wsdarts_sdk.artifacts.starting_point import starting_point
from wsdarts_sdk.devices import find_device
from wsdarts_sdk.jobs.costs import Costs
from wsdarts_sdk.jobs.decision import Decision, Mode, Option, decide
from wsdarts_sdk.jobs.finishing import Found, finish_search
from wsdarts_sdk.jobs.inputs import Data, load_task, run_path, train_parts
from wsdarts_sdk.jobs.search_report import phase_costs, write_search_report
from wsdarts_sdk.jobs.searching import SearchRun
from wsdarts_sdk.jobs.sweep import Trial, sweep
from wsdarts_sdk.jobs.training import TrainingRun, train
from wsdarts_sdk.network.training import train_network
from wsdarts_sdk.presets import Preset, find_preset, seeded
from wsdarts_sdk.progress import Progress, shown
from wsdarts_sdk.runs.directory import RunDirectory, open_run
from wsdarts_sdk.runs.environment import environment
from wsdarts_sdk.runs.report_facts import ColdCost
from wsdarts_sdk.search.batches import TrainPart
from wsdarts_sdk.search.loop import SearchResult, search
from wsdarts_sdk.search.settings import SearchSettings, settings_json
from wsdarts_sdk.search.state import StartingPoint
from wsdarts_sdk.task2vec import Probe, embed, embedding_seconds, load_probe
from wsdarts_sdk.tasks import ImageTask


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """What a warm start found.

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
        seconds: Wall time by phase.
        found: What the report is made of.
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
    found: Found = field(repr=False)

    def train(
        self,
        *,
        preset: str | Preset = "small",
        seed: int | None = None,
        out: str | Path | None = None,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> TrainingRun:
        """Train the genotype's network from scratch and evaluate it on the validation third.

        Args:
            preset: Whose training settings to use.
            seed: Seed of everything random; the preset's by default.
            out: Run directory of the training; by default the first free ``training-PRESET-N``
                in this run, or the last one with ``resume``.
            resume: Go on with the training in ``out``, or begin if there is none.
            progress: Told what is done and how much is left; lines on stderr by default.
        """
        chosen = find_preset(preset)
        return train(
            self.genotype,
            self.task,
            out=out or self._training_directory(chosen.name, resume=resume),
            preset=chosen,
            seed=seed,
            resume=resume,
            device=str(self.found.device),
            progress=progress,
        )

    def _training_directory(self, preset: str, *, resume: bool) -> Path:
        number = 1
        while (self.path / f"training-{preset}-{number}").exists():
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
        if cold.tasks[0].digest != self.task.digest or (cold.settings != self.found.cold_settings):
            raise SettingsError(
                f"the cold search in {cold.path} has another task or other settings than the warm "
                f"start in {self.path}; compare searches of one task and one preset"
            )
        measured = ColdCost(phases=phase_costs(cold.seconds), origin=where)
        return write_search_report(RunDirectory(self.path), self.found, measured)


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
    resume: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> WarmStart:
    """Embed a dataset, find the nearest artifact and warm-start a search from it.

    Args:
        data: Folder of class folders, parquet file, ``"hf:NAME"``, ``"torchvision:NAME"``,
            ``(images, labels)`` or an ``ImageTask``.
        out: The run directory; the first free ``runs/warm-start-NAME-N`` by default.
        registry: Directory of a registry; the shipped zoo by default.
        source: Reference of the artifact to start from; by default the nearest decides.
        mode: What to take over; ``auto`` decides by the rules of :func:`decide`.
        preset: ``"paper"``, ``"small"``, ``"tiny"`` or a :class:`Preset` of your own; a warm
            start is its last stage, a cold search all of it.
        seed: Seed of everything random; the preset's by default.
        probe: The probe that embeds the task; the registry's default by default.
        k: How many of the nearest to report, and to join in mode ``union``.
        sweep_skip_dropout: Search with a skip-connect dropout of 0 to 0.9 and keep the
            genotype that is best after a short training on the train part.
        resume: Go on with the run in ``out``, or begin if there is none.
        device: ``"cpu"`` or ``"cuda"``; CUDA by default where there is one.
        progress: Told what is done and how much is left; lines on stderr by default.
        options: For :meth:`ImageTask.load`: ``image_column``, ``skip_corrupt``, …

    Raises:
        WsdartsError: Data, settings, registry or run directory do not fit.
    """
    chosen = find_preset(preset)
    chosen = chosen if seed is None else seeded(chosen, seed)
    store = registry if isinstance(registry, Store) else open_registry(registry)
    progress = shown(progress)
    task = load_task(data, progress=progress, **options)
    where = find_device(device)
    wanted = probe or store.config.default_probe
    loaded = wanted if isinstance(wanted, Probe) else load_probe(wanted, device=str(where))
    config = {
        "command": "warm-start",
        "tasks": [task.digest],
        "preset": chosen.name,
        "search": settings_json(chosen.search),
        "mode": mode,
        "source": source,
        "k": k,
        "probe": loaded.digest,
        "sweep": settings_json(chosen.selection) if sweep_skip_dropout else None,
    }
    with open_run(run_path(out, "warm-start", task.name), config, resume=resume) as run:
        job = _Job(run, task, chosen, where, progress, sweep_skip_dropout)
        return job.run_from(store, source, mode, loaded, k)


class _Job:
    """One warm start in its open run directory."""

    def __init__(
        self,
        run: RunDirectory,
        task: ImageTask,
        preset: Preset,
        device: torch.device,
        progress: Progress,
        sweeping: bool,
    ) -> None:
        self.run, self.task, self.preset = run, task, preset
        self.device, self.progress, self.sweeping = device, progress, sweeping
        self.costs = Costs(run)
        run.write_json("environment.json", environment(device))

    def run_from(
        self,
        store: Store,
        source: str | None,
        mode: Mode,
        probe: Probe,
        k: int,
    ) -> WarmStart:
        needed = source is None and mode not in ("cold", "auto")
        embedding, ranking = self._rank(store, probe, needed=needed)
        decision = self._decide(store, ranking, source, mode, k)
        warm = decision.mode != "cold"
        settings = self.preset.search.last_stage_only() if warm else self.preset.search
        sources = [(name, store.pull(name)) for name in decision.sources]
        start = starting_point(decision.mode, sources, settings)
        settings = settings.widened_to(start.masks.widest) if warm else settings
        with self.costs.phase("loading"):
            parts = train_parts([self.task], settings, self.device, self.progress)
        settings, result, trials = self._search(parts[0], settings, start)
        found = Found(
            tasks=(self.task,),
            preset=self.preset.name,
            settings=settings,
            result=result,
            embeddings=(embedding,),
            costs=self.costs,
            device=self.device,
            decision=decision,
            ranking=ranking.first(k) if ranking else None,
            trials=trials,
            origin=_origin(decision, sources),
            cold_settings=self.preset.search,
        )
        artifact, report = finish_search(self.run, found)
        return WarmStart(
            source=str(decision),
            mode=decision.mode,
            why=decision.why,
            genotype=result.genotype,
            neighbours=ranking.neighbours[:k] if ranking else (),
            task=self.task,
            result=result,
            trials=trials,
            path=self.run.path,
            artifact=artifact,
            report=report,
            seconds=self.costs.seconds,
            found=found,
        )

    def _rank(
        self, store: Store, probe: Probe, *, needed: bool
    ) -> tuple[TaskEmbedding, Ranking | None]:
        """Embed and rank; a registry without embeddings by this probe only matters if needed."""
        with self.costs.phase("embedding", known=lambda: embedding_seconds(self.task, probe)):
            embedding = embed(self.task, probe, progress=self.progress)
        embedding.save(self.run.path / "embedding.safetensors")
        with self.costs.phase("nearest"):
            ranking = None
            known = len(store.entries())
            if known:
                try:
                    ranking = store.nearest(embedding, known)
                except EmbeddingError:
                    if needed:
                        raise
        return embedding, ranking

    def _decide(
        self,
        store: Store,
        ranking: Ranking | None,
        source: str | None,
        mode: Mode,
        k: int,
    ) -> Decision:
        """Decide once: a resumed run starts from what it started from."""
        kept = self.run.read_json("decision.json")
        if kept is not None:
            return Decision.from_json(kept)
        space = self.preset.search.space
        entries = {
            str(entry.reference): entry
            for entry in store.entries()
            if entry.manifest.search_space == space
        }
        exact = None
        if source is not None:
            entry = store.resolve(source)
            exact = str(entry.reference)
            entries[exact] = entry
        decision = decide(
            mode,
            self.preset.search,
            ranking=ranking,
            options=_options(entries, ranking),
            source=exact,
            k=k,
        )
        self.run.write_json("decision.json", decision.to_json())
        return decision

    def _search(
        self, part: TrainPart, settings: SearchSettings, start: StartingPoint
    ) -> tuple[SearchSettings, SearchResult, tuple[Trial, ...]]:
        if not self.sweeping:
            result = self._search_once(part, settings, start, "search", self.progress)
            self.costs.record("search", sum(result.seconds))
            return settings, result, ()

        def evaluate(rate: float, progress: Progress) -> Trial:
            return self._trial(part, settings, start, rate, progress)

        trials = sweep(self.run, evaluate, progress=self.progress)
        self.costs.record("search", sum(trial.seconds for trial in trials))
        best = settings.with_skip_dropout(trials[0].rate)
        # Its journal is finished, so this only reads what the winning trial found.
        name = f"search-{trials[0].rate:g}"
        return best, self._search_once(part, best, start, name, self.progress), trials

    def _search_once(
        self,
        part: TrainPart,
        settings: SearchSettings,
        start: StartingPoint,
        name: str,
        progress: Progress,
    ) -> SearchResult:
        return search(
            [part],
            settings,
            start=start,
            journal=self.run.journal(name),
            progress=progress,
            device=self.device,
        )

    def _trial(
        self,
        part: TrainPart,
        settings: SearchSettings,
        start: StartingPoint,
        rate: float,
        progress: Progress,
    ) -> Trial:
        own = settings.with_skip_dropout(rate)
        found = self._search_once(part, own, start, f"search-{rate:g}", progress)
        trained = train_network(
            found.genotype,
            self.task,
            self.preset.selection,
            selection=True,
            journal=self.run.journal(f"selection-{rate:g}"),
            progress=progress,
            device=self.device,
        )
        return Trial(
            rate=rate,
            genotype=found.genotype,
            accuracy=trained.accuracy,
            seconds=sum(found.seconds) + trained.seconds,
        )


def _options(entries: dict[str, Entry], ranking: Ranking | None) -> list[Option]:
    """All usable artifacts, ranked ones by distance, then those without a rank."""
    neighbours = ranking.neighbours if ranking else ()
    order = {neighbour.reference: place for place, neighbour in enumerate(neighbours)}
    names = sorted(entries, key=lambda name: (order.get(name, len(order)), name))
    return [Option(reference=name, manifest=entries[name].manifest) for name in names]


def _origin(decision: Decision, sources: Sequence[tuple[str, Artifact]]) -> Origin:
    return Origin(
        mode=decision.mode,
        parents=tuple((reference, artifact.digest) for reference, artifact in sources),
    )
