"""What ``search`` and ``warm-start`` print of what they found."""

from pathlib import Path
from typing import TYPE_CHECKING

from wsdarts_hub.cli.embeddings import show_neighbours
from wsdarts_hub.cli.shared import display
from wsdarts_registry._format import duration, percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wsdarts_registry.architecture.collapse import SkipCounts
    from wsdarts_registry.architecture.genotype import Genotype
    from wsdarts_sdk.pipelines.search import SearchRun
    from wsdarts_sdk.pipelines.warm_start import WarmStart
    from wsdarts_sdk.runs.journal import Row


def show_search(found: "SearchRun", *, quiet: bool) -> None:
    """Print what a search found."""
    if quiet:
        display.line(str(found.path))
        return
    show_genotype(found.genotype, found.path, rows=found.result.rows)
    show_files(found.path, found.report, found.artifact)
    show_costs(found.seconds, found.cached)


def show_warm_start(found: "WarmStart", *, quiet: bool) -> None:
    """Print what a warm start started from and what it found."""
    if quiet:
        display.line(str(found.path))
        return
    ranking = found.found.ranking
    if ranking and ranking.neighbours:
        display.heading("nearest artifacts")
        show_neighbours(ranking.neighbours, ranking.threshold)
    show_decision(found)
    if found.trials:
        display.heading("sweep over skip-connect dropout, best first")
        display.table(
            ("dropout", "accuracy", "seconds"),
            [(f"{t.rate:g}", percent(t.accuracy), f"{t.seconds:.1f}") for t in found.trials],
            right=("dropout", "accuracy", "seconds"),
        )
    show_genotype(found.genotype, found.path, rows=found.result.rows)
    show_files(found.path, found.report, found.artifact)
    show_costs(found.seconds, found.cached)


def show_decision(found: "WarmStart") -> None:
    """Print what a warm start started from, and the rule that decided."""
    display.heading("start")
    display.facts([("from", found.source), ("mode", found.mode)])
    display.sentence(f"because {found.why}")


def show_genotype(genotype: "Genotype", run: Path, *, rows: "Sequence[Row]" = ()) -> None:
    """Print both cells, where their drawing is, and whether they have collapsed.

    Args:
        genotype: The cells.
        run: The run that found them.
        rows: Its metrics, one row an epoch; they tell when a cell has collapsed.
    """
    from wsdarts_registry.architecture.space import CELL_KINDS  # noqa: PLC0415
    from wsdarts_registry.drawing.cells import cell_text  # noqa: PLC0415
    from wsdarts_sdk.reports.rows import search_epochs, skip_counts  # noqa: PLC0415

    display.heading("genotype")
    for kind in CELL_KINDS:
        display.drawing(cell_text(genotype, kind))
    display.line(f"drawing: {run / 'cells.svg'}")
    show_collapses(genotype, skip_counts(search_epochs(rows)))


def show_collapses(genotype: "Genotype", history: "Sequence[SkipCounts]" = ()) -> None:
    """Print for each cell that has collapsed to skip-connects what happened and what helps."""
    from wsdarts_registry.architecture.collapse import find_collapses  # noqa: PLC0415

    for collapse in find_collapses(genotype, history):
        display.sentence(f"warning: {collapse}")


def show_files(run: Path, report: Path, artifact: Path) -> None:
    """Print where the run is and what is in it."""
    display.heading("files")
    files = {"run": run, "report": report, "artifact": artifact}
    display.facts([(name, str(path)) for name, path in files.items()], whole=files)


def show_costs(seconds: "Mapping[str, float]", cached: "Mapping[str, float]") -> None:
    """Print the wall time of each phase, and all of it."""
    from wsdarts_sdk.reports.charts import phase_amount, phase_title  # noqa: PLC0415

    display.heading("cost")
    rows = [
        (phase_title(phase), phase_amount(spent, cached.get(phase)))
        for phase, spent in seconds.items()
    ]
    display.facts([*rows, ("total", duration(sum(seconds.values())))])
