"""Commands that make pages for a browser: ``report``, ``gallery build`` and ``gallery serve``."""

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import wsdarts_hub as hub
from wsdarts_hub.cli.shared import display, options
from wsdarts_hub.cli.shared.long_work import working
from wsdarts_registry._format import pluralize

if TYPE_CHECKING:
    from wsdarts_sdk.reports.report import Report


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN",
            help="Run directory of a search, a warm start or a training; several are compared.",
            show_default=False,
        ),
    ],
    *,
    out: Annotated[
        Path | None,
        options.value_option(
            "FILE",
            "File of the page. RUN/report.html, or comparison.html here for several runs, "
            "by default; only an earlier report is overwritten.",
        ),
    ] = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Write the report of a run again, or compare several runs.

    The page is a single HTML file that loads nothing else, with a description of each run, final
    figures, cost by phase, curves, cells side by side with the edges that agree, and the spread
    over runs that differ in the seed alone. The report of an unfinished run shows its state so
    far. With --json a page is written only if --out is given.

    The runs are labelled by letters, the first with A.

    JSON:
        runs: each with letter, name, kind, figures, cells, and the baseline of its training
        costs: costs of warm starts and cold searches
        seeds: mean and spread of runs that differ in the seed alone
        edges: operations of each edge of both cells, and whether they agree

    Example:
        wsdarts-hub report runs/cold runs/warm --out comparison.html

    Python:
        from wsdarts_hub import report
        found = report("runs/cold", "runs/warm")
        print(found.to_json(), found.save("comparison.html"))
    """
    found = hub.report(*runs)
    if as_json:
        if out is not None:
            found.save(out)
        display.json_data(found.to_json())
        return
    page = found.save(out)
    display.line(str(page))
    if not quiet:
        _show(found)


def _show(found: "Report") -> None:
    from wsdarts_sdk.reports.comparison import (  # noqa: PLC0415
        baseline_names,
        cost_comparisons,
        figure_table,
    )

    display.heading("run" if len(found.runs) == 1 else pluralize(len(found.runs), "run"))
    display.table(
        ("", "run", "what", "task", "mode", "preset", "seed", "state"),
        [
            (
                run.letter,
                run.name,
                run.what,
                ", ".join(task.name for task in run.report.tasks),
                run.mode,
                run.report.asked.preset if run.report.asked else "",
                "" if run.seed is None else str(run.seed),
                run.state,
            )
            for run in found.runs
        ],
        right=("seed",),
        whole=("run", "what"),
        optional=("preset", "seed", "mode"),
    )
    for sentence in found.warnings():
        display.sentence(f"warning: {sentence}")
    display.heading("figures")
    letters = [run.letter for run in found.runs]
    display.table(("figure", *letters), figure_table(found.runs), right=letters)
    for sentence in baseline_names(found.runs):
        display.sentence(sentence)
    costs = cost_comparisons(found.runs)
    if costs:
        display.heading("cost")
        for each in costs:
            display.sentence(each.sentence)
    _show_spreads(found)


def _show_spreads(found: "Report") -> None:
    from wsdarts_sdk.reports.comparison import (  # noqa: PLC0415
        FIGURES,
        seed_groups,
    )

    for group in seed_groups(found.runs):
        display.heading(f"{', '.join(group.runs)} differ in the seed alone")
        display.table(
            ("figure", "mean", "standard deviation"),
            [
                (
                    FIGURES[each.figure].title,
                    FIGURES[each.figure].mean(each.mean),
                    FIGURES[each.figure].deviation(each.deviation),
                )
                for each in group.spreads
            ],
            right=("mean", "standard deviation"),
        )


def build_gallery(
    *,
    registry: options.RegistryOption = None,
    out: Annotated[
        Path,
        options.value_option(
            "DIR", "New or empty directory, or an older gallery, which is replaced."
        ),
    ],
    docs: Annotated[
        str | None, options.value_option("URL", "Address of the documentation, for a link.")
    ] = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Write a registry as a static site.

    The site works from a disk and on any web server, and loads nothing from other machines.

    JSON:
        page: the first page of the site

    Example:
        wsdarts-hub gallery build --out site

    Python:
        from wsdarts_hub import build_gallery
        print(build_gallery(out="site"))
    """
    with working(quiet=quiet) as work:
        page = hub.build_gallery(registry, out=out, docs=docs, progress=work.progress)
    if as_json:
        display.json_data({"page": page})
        return
    display.line(str(page))


def serve_gallery(
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help="A gallery by `gallery build`. Without it, one of the registry is built.",
            show_default=False,
        ),
    ] = None,
    *,
    registry: options.RegistryOption = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Port; 0 takes a free one.")
    ] = 8000,
    quiet: options.QuietOption = False,
) -> None:
    """Show a gallery in the browser of this machine, until Ctrl-C.

    Other machines on the network cannot reach it.

    Example:
        wsdarts-hub gallery serve --port 8080

    Python:
        from wsdarts_hub import build_gallery, serve_gallery
        build_gallery(out="site")
        serve_gallery("site", port=8080)
    """
    if directory is not None and registry is not None:
        raise typer.BadParameter("name a gallery or a registry, not both")
    with tempfile.TemporaryDirectory(prefix="wsdarts-gallery-") as temporary:
        with working(quiet=quiet) as work:
            if directory is None:
                directory = Path(temporary) / "site"
                hub.build_gallery(registry, out=directory, progress=work.progress)
        with suppress(KeyboardInterrupt):
            hub.serve_gallery(directory, port=port, started=display.line)
