"""The sweep over skip-connect dropout, and the short training that picks its winner.

The paper runs ten warm starts with a dropout of 0 to 0.9, trains each result briefly on the
train part and keeps the best. Trials are kept by Optuna in the run directory, so a sweep that
was stopped goes on where it was.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from wsdarts_registry.files import resolved
from wsdarts_registry.genotype import Genotype
from wsdarts_sdk.progress import Progress
from wsdarts_sdk.runs.directory import RunDirectory

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
        storage=f"sqlite:///{resolved(run.path) / 'sweep.db'}",
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
    """Progress of one trial as a part of the whole sweep's."""

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
