"""The search of a warm start: with one skip-connect dropout, or with a sweep over it.

The paper runs ten warm starts with a dropout of 0 to 0.9, trains each result briefly on the
train part and keeps the best. Optuna stores the trials in the run directory, so that a sweep can
be resumed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from wsdarts_registry._files import resolved
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_sdk.data.loader import TrainPart
from wsdarts_sdk.models.training import train_network
from wsdarts_sdk.pipelines.run_context import RunContext
from wsdarts_sdk.pipelines.starting_points import Start
from wsdarts_sdk.progress import Progress
from wsdarts_sdk.runs.checkpoints import FileJournal, Journal
from wsdarts_sdk.runs.directory import RunDirectory
from wsdarts_sdk.runs.file_names import SEARCH_JOURNAL, SELECTION_JOURNAL, SWEEP_FILE
from wsdarts_sdk.search.loop import SearchResult, search
from wsdarts_sdk.search.settings import SearchSettings

RATES = tuple(round(0.1 * step, 1) for step in range(10))
_RATE = "skip_dropout"
_GENOTYPE = "genotype"
_SECONDS = "seconds"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One rate of a sweep.

    Attributes:
        rate: The skip-connect dropout.
        genotype: What the search found with it.
        accuracy: After the short training, on the alpha half (``train_network`` says more).
        seconds: Wall time of search and short training.
    """

    rate: float
    genotype: Genotype
    accuracy: float
    seconds: float


def sweep(
    run: RunDirectory,
    evaluate: Callable[[float, Progress], Trial],
    *,
    rates: tuple[float, ...] = RATES,
    progress: Progress,
) -> tuple[Trial, ...]:
    """Evaluate every rate that has no finished trial yet.

    Args:
        run: Where the study is kept, as ``sweep.db``.
        evaluate: Searches with one rate and trains briefly; resumes by itself.
        rates: What to try.
        progress: Told which trial is running, and how far.

    Returns:
        All trials, best first; of equal accuracies the lower rate.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name="sweep",
        storage=f"sqlite:///{resolved(run.path) / SWEEP_FILE}",
        direction="maximize",
        load_if_exists=True,
    )
    for stale in study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING)):
        study.tell(stale.number, state=TrialState.FAIL)
    finished = {trial.params[_RATE] for trial in study.get_trials(states=(TrialState.COMPLETE,))}
    for number, rate in enumerate(rates):
        if rate in finished:
            continue

        study.enqueue_trial({_RATE: rate})
        asked = study.ask({_RATE: FloatDistribution(0.0, 1.0)})
        trial = evaluate(rate, _part_of(progress, rate, number, len(rates)))
        asked.set_user_attr(_GENOTYPE, trial.genotype.to_json())
        asked.set_user_attr(_SECONDS, trial.seconds)
        study.tell(asked, trial.accuracy)
    return _ranked(study, rates)


def _part_of(progress: Progress, rate: float, number: int, trials: int) -> Progress:
    """Return the progress of one trial as a part of the whole sweep's."""

    def shown(what: str, done: int, total: int, /) -> None:
        where = f"dropout {rate:g} ({number + 1}/{trials}), {what}"
        progress(where, number * 1000 + done * 1000 // total, trials * 1000)

    return shown


def _ranked(study: optuna.Study, rates: tuple[float, ...]) -> tuple[Trial, ...]:
    trials = [
        _read(trial.params, trial.user_attrs, trial.value)
        for trial in study.get_trials(states=(TrialState.COMPLETE,))
        if trial.params[_RATE] in rates
    ]
    return tuple(sorted(trials, key=lambda trial: (-trial.accuracy, trial.rate)))


def _read(params: dict[str, Any], attributes: dict[str, Any], value: float | None) -> Trial:
    return Trial(
        rate=params[_RATE],
        genotype=Genotype.from_json(attributes[_GENOTYPE]),
        accuracy=float(value if value is not None else 0.0),
        seconds=float(attributes[_SECONDS]),
    )


@dataclass(frozen=True, kw_only=True)
class SearchOutcome:
    """Result of the search of a warm start.

    Attributes:
        settings: Settings of the search, the winner's in a sweep.
        result: What it found.
        trials: The sweep's trials, best first; empty without a sweep.
    """

    settings: SearchSettings
    result: SearchResult
    trials: tuple[Trial, ...] = ()


def search_once(context: RunContext, part: TrainPart, start: Start) -> SearchOutcome:
    """Search with the skip-connect dropout of the settings."""
    journal = context.journal(SEARCH_JOURNAL)
    result = _search(context, part, start, start.settings, journal, context.progress)
    context.costs.record("search", sum(result.seconds))
    return SearchOutcome(settings=start.settings, result=result)


def search_with_sweep(context: RunContext, part: TrainPart, start: Start) -> SearchOutcome:
    """Search with every skip-connect dropout and keep what is best after a short training.

    That training learns from the weights half and is ranked on the α half; where the task came
    with a test part, it learns from the train part and is ranked on the validation part.
    """

    def evaluate(rate: float, progress: Progress) -> Trial:
        return _trial(context, part, start, rate, progress)

    trials = sweep(context.run, evaluate, progress=context.progress)
    context.costs.record("search", sum(trial.seconds for trial in trials))
    best = start.settings.with_skip_dropout(trials[0].rate)
    # Its journal is finished, so this only reads what the winning trial found.
    journal = _journal(context, trials[0].rate)
    result = _search(context, part, start, best, journal, context.progress)
    return SearchOutcome(settings=best, result=result, trials=trials)


def _trial(
    context: RunContext, part: TrainPart, start: Start, rate: float, progress: Progress
) -> Trial:
    settings = start.settings.with_skip_dropout(rate)
    found = _search(context, part, start, settings, _journal(context, rate), progress)
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
    )


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
