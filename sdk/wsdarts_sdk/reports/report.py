"""Reports of runs read back from disk: the page of one, or a comparison of several."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsdarts_registry._files import (
    as_path,
    exists,
    is_file,
    is_link,
    open_regular,
    write_atomically,
)
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.errors import RunError
from wsdarts_sdk.reports._comparison_page import render_comparison, run_warnings
from wsdarts_sdk.reports._page import collapses, render_report
from wsdarts_sdk.reports.comparison import (
    ComparedRun,
    SeedGroup,
    cost_comparisons,
    edge_rows,
    figures,
    read_runs,
    seed_groups,
    with_cells,
)
from wsdarts_sdk.runs.directory import REPORT_PAGE

_COMPARISON_PAGE = "comparison.html"
_OURS = b'<meta name="generator" content="wsdarts-hub report">'
_HEAD_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class Report:
    """Reports of runs on disk; made by :func:`report`.

    Attributes:
        runs: The runs, in the order in which they were named.
    """

    runs: tuple[ComparedRun, ...]

    def page(self) -> str:
        """Write one HTML page: the report of the only run, or a comparison of several."""
        if len(self.runs) == 1:
            (run,) = self.runs
            return render_report(run.report, [within for _, within in run.trainings])
        return render_comparison(self.runs)

    def save(self, out: str | Path | None = None) -> Path:
        """Write the page and return its path.

        Args:
            out: The file; by default ``report.html`` in the run's directory or, for several runs,
                ``comparison.html`` in the current one. Only a page of ours is written over.

        Raises:
            RunError: Something else is there, or it cannot be written.
        """
        path = as_path(out, "out") if out is not None else self._default_file()
        return write_page(path, self.page())

    def warnings(self) -> list[str]:
        """Return warnings about the figures: runs that did not finish, or collapsed."""
        return [sentence for run in self.runs for sentence in run_warnings(run)]

    def to_json(self) -> dict[str, Any]:
        """Return the content of the page as plain JSON data."""
        compared = with_cells(self.runs)
        return {
            "runs": [_run_data(run) for run in self.runs],
            "costs": [
                {
                    "run": each.run,
                    "cold": each.cold,
                    "comparable": each.why_not is None,
                    "sentence": each.sentence,
                }
                for each in cost_comparisons(self.runs)
            ],
            "seeds": [_group_data(group) for group in seed_groups(self.runs)],
            "edges": {
                kind: [
                    {
                        "edge": [row.source, row.target],
                        "operations": {
                            run.letter: operation
                            for run, operation in zip(compared, row.operations, strict=True)
                        },
                        "same": row.same,
                    }
                    for row in edge_rows(compared, kind)
                ]
                for kind in CELL_KINDS
            },
        }

    def _default_file(self) -> Path:
        if len(self.runs) == 1 and self.runs[0].path is not None:
            return self.runs[0].path / REPORT_PAGE
        return Path(_COMPARISON_PAGE)


def report(*runs: str | Path) -> Report:
    """Read runs back, to write the report of one again or to compare several.

    A run that has not finished is read as far as it came.

    Args:
        runs: Run directories of searches, warm starts and trainings, 1 to 12.

    Raises:
        RunError: One is no run directory, is from before reports were kept, or is damaged.
    """
    return Report(runs=read_runs(runs))


def write_page(path: Path, page: str) -> Path:
    """Write a page, only over a page of ours, and return its path.

    Raises:
        RunError: Something else is there, or it cannot be written.
    """
    try:
        check_vacant(path)
        return write_atomically(path, page.encode())
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror or error}",
            hint="name another file with --out",
        ) from error


def check_vacant(path: Path) -> None:
    """Refuse to write over anything but a report of wsdarts-hub.

    Raises:
        RunError: Something else is there.
    """
    if not exists(path) and not is_link(path):
        return
    if is_file(path, follow_links=False):
        with open_regular(path) as file:
            if _OURS in file.read(_HEAD_BYTES):
                return
    raise RunError(
        f"{path} is there and is no report of wsdarts-hub, so it stays",
        hint="name another file with --out",
    )


def _run_data(run: ComparedRun) -> dict[str, Any]:
    report, asked = run.report, run.report.asked
    return {
        "letter": run.letter,
        "name": run.name,
        "title": report.title,
        "what": run.what,
        "tasks": [{"name": task.name, "digest": task.digest} for task in report.tasks],
        "mode": run.mode or None,
        "sources": list(report.decision.sources) if report.decision else [],
        "preset": asked.preset if asked else None,
        "seed": run.seed,
        "hardware": asked.hardware if asked else None,
        "finished": not report.unfinished,
        "unfinished": report.unfinished or None,
        "created": report.created,
        "figures": figures(run),
        "costs": {cost.phase: cost.seconds for cost in report.costs},
        "cached": {cost.phase: cost.cached for cost in report.costs if cost.cached is not None},
        "collapses": [each.to_json() for each in collapses(report)],
        "genotype": report.genotype.to_json() if report.genotype else None,
        "choice": report.choice.to_json() if report.choice else None,
        "baseline": run.baseline.to_json() if run.baseline else None,
        "trainings": [
            {
                "name": name,
                "accuracy": within.training.accuracy if within.training else None,
                "baseline": within.baseline.to_json() if within.baseline else None,
                "seed": within.asked.seed if within.asked else None,
                "preset": within.asked.preset if within.asked else None,
            }
            for name, within in run.trainings
        ],
    }


def _group_data(group: SeedGroup) -> dict[str, Any]:
    return {
        "runs": list(group.runs),
        "seeds": list(group.seeds),
        "figures": {
            each.figure: {
                "mean": each.mean,
                "standard_deviation": each.deviation,
                "smallest": each.smallest,
                "largest": each.largest,
            }
            for each in group.spreads
        },
    }
