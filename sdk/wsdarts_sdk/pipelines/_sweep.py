"""The search of a warm start: with one skip-connect dropout, or with a sweep over it.

The paper runs ten warm starts with a dropout of 0 to 0.9, trains each result briefly on the
train part and keeps the best. The trials are fixed in advance, so it does not matter who runs
which, and when: workers on any number of machines share them through a database, and otherwise
one worker runs all, with a database in its run directory. Each trial that has ended is one of an
Optuna study; who is at which is ``SharedWork``'s to know.

A trial's checkpoints are in the run directory of its worker. Whoever has run the best trial so
far keeps its finished search in the shared database. From there all workers take the winner's,
with the trials, so that each run directory is whole in the end.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import optuna
from optuna.distributions import FloatDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from wsdarts_registry._files import read_regular, resolved, write_atomically
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.errors import StorageError
from wsdarts_sdk.data.loader import TrainPart
from wsdarts_sdk.data.split import SPLIT_RULE
from wsdarts_sdk.devices import code_version
from wsdarts_sdk.models.training import train_network
from wsdarts_sdk.pipelines.genotype_choice import choose_by_first
from wsdarts_sdk.pipelines.run_context import RunContext
from wsdarts_sdk.pipelines.starting_points import Start
from wsdarts_sdk.progress import Progress
from wsdarts_sdk.runs.checkpoints import FileJournal, Journal
from wsdarts_sdk.runs.directory import (
    CHECKPOINT_SUFFIX,
    CHOICE_FILE,
    METRICS_SUFFIX,
    SEARCH_JOURNAL,
    SELECTION_JOURNAL,
    SWEEP_FILE,
)
from wsdarts_sdk.runs.directory import SPLIT_RULE as SPLIT_RULE_KEY
from wsdarts_sdk.runs.result_records import GenotypeChoice
from wsdarts_sdk.runs.shared_work import SharedWork, Storage, work_name, worker_of
from wsdarts_sdk.search.loop import SearchResult, search
from wsdarts_sdk.search.settings import SearchSettings, settings_json

RATES = tuple(round(0.1 * step, 1) for step in range(10))
_RATE = "skip_dropout"
_GENOTYPE = "genotype"
_SECONDS = "seconds"
_WORKER = "worker"
_OWN = "sweep"  # name of the study in the run directory
_Found = TypeVar("_Found")
Chosen = tuple[SearchResult, GenotypeChoice | None]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One rate of a sweep.

    Attributes:
        rate: The skip-connect dropout.
        genotype: What the search found with it.
        accuracy: After the short training, on the alpha half (``train_network`` says more).
        seconds: Wall time of search and short training.
        worker: Who ran it; empty in a sweep of an earlier version.
    """

    rate: float
    genotype: Genotype
    accuracy: float
    seconds: float
    worker: str = ""

    @property
    def order(self) -> tuple[float, float]:
        """Key that sorts the best trial first; of equal accuracies the lower rate."""
        return -self.accuracy, self.rate


class TrialStudy:
    """The finished trials of a sweep, in an Optuna study.

    Args:
        storage: The database.
        name: Of the study, made if it does not exist.

    Raises:
        StorageError: The database cannot be used, or another version of Optuna has made it.
    """

    def __init__(self, storage: Storage, name: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._storage = storage
        self._study = storage.made(lambda: self._open(name))

    def _open(self, name: str) -> optuna.Study:
        # Optuna fills in what stands in braces.
        url = self._storage.full_url.replace("{", "{{").replace("}", "}}")

        def opened() -> optuna.Study:
            return optuna.create_study(
                study_name=name,
                storage=RDBStorage(url, engine_kwargs=self._storage.settings),
                direction="maximize",
                load_if_exists=True,
            )

        try:
            return _in_database(opened)
        except RuntimeError as error:
            hint = "name another database, or install the Optuna that made it"
            raise self._storage.unusable(error, hint) from error

    def trials(self) -> dict[float, Trial]:
        """Return the finished trials by rate; of two of one rate that which ended first."""
        found: dict[float, Trial] = {}
        for trial in self._storage.retried(lambda: _in_database(self._finished)):
            rate, told = trial.params[_RATE], trial.user_attrs
            read = Trial(
                rate=rate,
                genotype=Genotype.from_json(told[_GENOTYPE]),
                accuracy=float(trial.value or 0.0),
                seconds=float(told[_SECONDS]),
                worker=str(told.get(_WORKER, "")),
            )
            found.setdefault(rate, read)
        return found

    def _finished(self) -> list[optuna.trial.FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))

    def add(self, trial: Trial) -> None:
        """Add a finished trial."""
        finished = optuna.trial.create_trial(
            params={_RATE: trial.rate},
            distributions={_RATE: FloatDistribution(0.0, 1.0)},
            value=trial.accuracy,
            user_attrs={
                _GENOTYPE: trial.genotype.to_json(),
                _SECONDS: trial.seconds,
                _WORKER: trial.worker,
            },
        )
        self._storage.retried(lambda: _in_database(lambda: self._study.add_trial(finished)))


def _in_database(call: Callable[[], _Found]) -> _Found:
    """Call Optuna, and raise what the database says, not what Optuna makes of it."""
    try:
        return call()
    except StorageInternalError as error:
        raise error.__cause__ or error from error


class Sweep:
    """A sweep that a worker takes part in.

    Args:
        context: The worker's run.
        part: Train part of the dataset.
        start: Where each search starts.
        storage: Database that the workers share; None for a worker that is alone.
    """

    def __init__(
        self, context: RunContext, part: TrainPart, start: Start, storage: Storage | None
    ) -> None:
        self.context, self.part, self.start = context, part, start
        self.shared = storage is not None
        self.own = Storage.of_file(resolved(context.run.path) / SWEEP_FILE)
        facts = sweep_facts(context, start) if self.shared else {}
        name = work_name("wsdarts-sweep", facts) if self.shared else _OWN
        self.work = SharedWork(
            storage or self.own, name, facts=facts, worker=worker_of(context.run.path)
        )
        self.study = TrialStudy(self.work.storage, name)
        if self.shared:
            context.progress(f"sweep {name} in {self.work.storage.place}", 0, 1)

    def run(self) -> "SearchOutcome":
        """Run all trials that nobody else runs, and return the search of the best."""
        rates = {f"dropout {rate:g}": rate for rate in RATES}

        def finished() -> set[str]:
            there = self.study.trials()
            return {job for job, rate in rates.items() if rate in there}

        def do(job: str) -> None:
            self._run(rates[job], len(finished()))

        self.work.do_all(list(rates), do, finished=finished, progress=self.context.progress)
        there = self.study.trials()
        trials = sorted((there[rate] for rate in RATES), key=lambda trial: trial.order)
        own = [t for t in trials if not self.shared or t.worker == self.work.worker]
        self.context.costs.record("search", sum(trial.seconds for trial in own))
        best = self.start.settings.with_skip_dropout(trials[0].rate)
        if self.shared:
            self._fetch(trials)
        # Its journal is finished, so this only reads what the winning trial found.
        journal = _journal(self.context, trials[0].rate)
        result = _search(self.context, self.part, self.start, best, journal, self.context.progress)
        return SearchOutcome(
            settings=best,
            result=result,
            trials=tuple(trials),
            work=self.work if self.shared else None,
        )

    def _run(self, rate: float, finished: int) -> None:
        """Run a trial, and tell the other workers."""
        trial = self._evaluate(rate, _part_of(self.context.progress, rate, finished))
        if self.shared and trial.order < min(
            (other.order for other in self.study.trials().values()), default=(1.0, 0.0)
        ):
            for name in _files(rate):
                content = read_regular(self.context.run.path / name)
                self.work.keep(f"{trial.worker}/{name}", content)
        self.study.add(trial)

    def _evaluate(self, rate: float, progress: Progress) -> Trial:
        context = self.context
        settings = self.start.settings.with_skip_dropout(rate)
        journal = _journal(context, rate)
        found = _search(context, self.part, self.start, settings, journal, progress)
        trained = train_network(
            found.genotype,
            context.tasks[0],
            context.preset.selection,
            selection=True,
            journal=FileJournal(context.run.path, f"{SELECTION_JOURNAL}-{rate:g}"),
            progress=progress,
            device=context.device,
        )
        return Trial(
            rate=rate,
            genotype=found.genotype,
            accuracy=trained.accuracy,
            seconds=sum(found.seconds) + trained.seconds,
            worker=self.work.worker,
        )

    def _fetch(self, trials: Sequence[Trial]) -> None:
        """Take the trials, and the finished search of the best, into the own run directory."""
        best = trials[0]
        for name in _files(best.rate):
            content = self.work.kept(f"{best.worker}/{name}")
            if content is None:
                raise StorageError(
                    f"the search with dropout {best.rate:g} is gone from {self.work.storage.place}",
                    hint="someone has deleted it: run the sweep with another database",
                )
            write_atomically(self.context.run.path / name, content)
        study = TrialStudy(self.own, _OWN)
        there = study.trials()
        for trial in trials:
            if trial.rate not in there:
                study.add(trial)


def sweep_facts(context: RunContext, start: Start) -> dict[str, Any]:
    """Return everything that the result of a sweep depends on, but for the hardware."""
    return {
        "version": code_version(),
        "tasks": [task.digest for task in context.tasks],
        SPLIT_RULE_KEY: SPLIT_RULE,
        "mode": start.origin.mode,
        "start": [digest for _, digest in start.origin.parents],
        "search": settings_json(start.settings),
        "selection": settings_json(context.preset.selection),
        "rates": list(RATES),
    }


def _files(rate: float) -> tuple[str, str]:
    """Return the names of the files of a finished search."""
    stem = f"{SEARCH_JOURNAL}-{rate:g}"
    return f"{stem}{CHECKPOINT_SUFFIX}", f"{stem}{METRICS_SUFFIX}"


def _part_of(progress: Progress, rate: float, finished: int) -> Progress:
    """Return the progress of one trial as a part of the whole sweep's."""
    trials = len(RATES)

    def shown(what: str, done: int, total: int, /) -> None:
        where = f"dropout {rate:g} ({RATES.index(rate) + 1}/{trials}), {what}"
        progress(where, finished * 1000 + done * 1000 // total, trials * 1000)

    return shown


@dataclass(frozen=True, kw_only=True)
class SearchOutcome:
    """Result of the search of a warm start.

    Attributes:
        settings: Settings of the search, the winner's in a sweep.
        result: What it found.
        trials: The sweep's trials, best first; empty without a sweep.
        work: What workers of the sweep share; None where one did all.
    """

    settings: SearchSettings
    result: SearchResult
    trials: tuple[Trial, ...] = ()
    work: SharedWork | None = None


def search_once(context: RunContext, part: TrainPart, start: Start) -> SearchOutcome:
    """Search with the skip-connect dropout of the settings."""
    journal = context.journal(SEARCH_JOURNAL)
    result = _search(context, part, start, start.settings, journal, context.progress)
    context.costs.record("search", sum(result.seconds))
    return SearchOutcome(settings=start.settings, result=result)


def search_with_sweep(
    context: RunContext, part: TrainPart, start: Start, storage: Storage | None = None
) -> SearchOutcome:
    """Search with every skip-connect dropout and keep what is best after a short training.

    That training learns from the weights half and is ranked on the α half; where the task came
    with a test part, it learns from the train part and is ranked on the validation part.

    Args:
        context: The run.
        part: Train part of the dataset.
        start: Where to start.
        storage: Database of the workers that share the trials; None to run them all.

    Raises:
        StorageError: The database cannot be used.
    """
    return Sweep(context, part, start, storage).run()


def choose_together(context: RunContext, outcome: SearchOutcome) -> Chosen:
    """Choose a genotype after a search; of workers that share a sweep one does so for all."""

    def choose() -> Chosen:
        return choose_by_first(context, outcome.result, outcome.settings)

    work, asked = outcome.work, context.preset.choice_json()
    if work is None or not asked:
        return choose()
    kept, file = work_name("choice", asked), context.run.path / CHOICE_FILE

    def do(job: str) -> None:
        choose()
        work.keep(job, read_regular(file))

    work.do_all([kept], do, finished=work.names, progress=context.progress)
    write_atomically(file, work.kept(kept) or b"")
    return choose()  # which finds it made


def _journal(context: RunContext, rate: float) -> Journal:
    return FileJournal(context.run.path, f"{SEARCH_JOURNAL}-{rate:g}")


def _search(
    context: RunContext,
    part: TrainPart,
    start: Start,
    settings: SearchSettings,
    journal: Journal,
    progress: Progress,
) -> SearchResult:
    return search(
        [part],
        settings,
        start=start.point,
        journal=journal,
        progress=progress,
        device=context.device,
        ranks=context.ranks,
    )
