"""Reading runs back from disk: what was asked for, what was found, how far they came."""

from pathlib import Path

from wsdarts_registry.errors import RunError, WsdartsError
from wsdarts_registry.files import entries, exists
from wsdarts_registry.training_record import trainings_elsewhere
from wsdarts_sdk.runs.directory import SPLIT_RULE, read_config
from wsdarts_sdk.runs.report_facts import RunReport
from wsdarts_sdk.runs.report_file import REPORT_FILE, read_report
from wsdarts_sdk.runs.unfinished import filled_in


def read_run(path: str | Path) -> RunReport:
    """What the report of a run says; of an unfinished one as far as it came.

    Raises:
        RunError: There is no run, it is from before reports were kept, or a file is damaged.
    """
    path = Path(path)
    current = SPLIT_RULE in read_config(path)
    if not exists(path / REPORT_FILE):
        why = (
            f"it was stopped when it had hardly begun; the command that made it, with --out {path} "
            "--resume, writes it and computes nothing twice"
            if current
            else "it was made by an earlier version; repeat it with another --out"
        )
        raise RunError(f"{path} has no {REPORT_FILE}: {why}")
    report = read_report(path / REPORT_FILE)
    return filled_in(report, path, resumable=current) if report.unfinished else report


def trainings_within(path: str | Path, report: RunReport) -> tuple[tuple[str, RunReport], ...]:
    """The finished trainings that a search's run knows of: of what it found, on its task.

    Returns:
        Name of the directory and report of each, by name: those in directories of the run, and
        then those elsewhere of which it keeps a record.
    """
    if report.genotype is None:
        return ()
    found, tasks = [], _digests(report)
    places = (*entries(Path(path)), *trainings_elsewhere(Path(path))[0])
    for file in filter(exists, (place / REPORT_FILE for place in places)):
        within = read_report(file)
        finished = within.training is not None and not within.unfinished
        if finished and within.genotype == report.genotype and _digests(within) == tasks:
            found.append((file.parent.name, within))
    return tuple(found)


def _digests(report: RunReport) -> list[str]:
    return [task.digest for task in report.tasks]


def seconds_spent(path: str | Path) -> float:
    """What a run has cost so far; 0 where there is none, or none that can be read."""
    try:
        return sum(cost.seconds for cost in read_run(path).costs)
    except WsdartsError:
        return 0.0
