"""The search of a warm start: once, or with every rate of a sweep."""

from dataclasses import dataclass

from wsdarts_sdk.jobs.job import Job
from wsdarts_sdk.jobs.start import Start
from wsdarts_sdk.jobs.sweep import Trial, sweep
from wsdarts_sdk.network.training import train_network
from wsdarts_sdk.progress import Progress
from wsdarts_sdk.search.batches import TrainPart
from wsdarts_sdk.search.loop import SearchResult, search
from wsdarts_sdk.search.settings import SearchSettings


@dataclass(frozen=True, kw_only=True)
class Searched:
    """What was found, and how.

    Attributes:
        settings: Settings of the search, the winner's in a sweep.
        result: What it found.
        trials: The sweep's trials, best first; empty without a sweep.
    """

    settings: SearchSettings
    result: SearchResult
    trials: tuple[Trial, ...] = ()


def search_once(job: Job, part: TrainPart, start: Start) -> Searched:
    """Search with the skip-connect dropout of the settings."""
    result = _search(job, part, start, start.settings, "search", job.progress)
    job.costs.record("search", sum(result.seconds))
    return Searched(settings=start.settings, result=result)


def search_swept(job: Job, part: TrainPart, start: Start) -> Searched:
    """Search with every skip-connect dropout and keep what is best after a short training.

    That training learns from the weights half and is ranked on the α half; where the task came
    with a test part, it learns from the train part and is ranked on the validation part.
    """

    def evaluate(rate: float, progress: Progress) -> Trial:
        return _trial(job, part, start, rate, progress)

    trials = sweep(job.run, evaluate, progress=job.progress)
    job.costs.record("search", sum(trial.seconds for trial in trials))
    best = start.settings.with_skip_dropout(trials[0].rate)
    # Its journal is finished, so this only reads what the winning trial found.
    result = _search(job, part, start, best, _journal(trials[0].rate), job.progress)
    return Searched(settings=best, result=result, trials=trials)


def _trial(job: Job, part: TrainPart, start: Start, rate: float, progress: Progress) -> Trial:
    settings = start.settings.with_skip_dropout(rate)
    found = _search(job, part, start, settings, _journal(rate), progress)
    trained = train_network(
        found.genotype,
        job.tasks[0],
        job.preset.selection,
        selection=True,
        journal=job.run.journal(f"selection-{rate:g}"),
        progress=progress,
        device=job.device,
    )
    return Trial(
        rate=rate,
        genotype=found.genotype,
        accuracy=trained.accuracy,
        seconds=sum(found.seconds) + trained.seconds,
    )


def _journal(rate: float) -> str:
    return f"search-{rate:g}"


def _search(
    job: Job,
    part: TrainPart,
    start: Start,
    settings: SearchSettings,
    journal: str,
    progress: Progress,
) -> SearchResult:
    return search(
        [part],
        settings,
        start=start.point,
        journal=job.run.journal(journal),
        progress=progress,
        device=job.device,
    )
