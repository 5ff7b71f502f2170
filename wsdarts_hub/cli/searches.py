"""Commands ``search`` and ``warm-start``, and their output; ``report``, which reads it back."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import wsdarts_hub as hub
from wsdarts_hub.cli.embeddings import ranking_json, show_neighbours
from wsdarts_hub.cli.shared import display, options
from wsdarts_hub.cli.shared.long_work import run_work, show_estimate
from wsdarts_hub.cli.shared.options import complete_reference
from wsdarts_registry._format import duration, percent, pluralize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wsdarts_registry.architecture.genotype import Genotype
    from wsdarts_registry.architecture.search_verdicts import SkipCounts
    from wsdarts_sdk.data.options import DataOptions
    from wsdarts_sdk.pipelines.search import SearchRun
    from wsdarts_sdk.pipelines.warm_start import WarmStart
    from wsdarts_sdk.reports.report import Report
    from wsdarts_sdk.runs.checkpoints import Row
    from wsdarts_sdk.runs.result_records import GenotypeChoice


def show_search(found: "SearchRun", *, quiet: bool) -> None:
    """Print the result of a search."""
    if quiet:
        display.line(str(found.path))
        return
    show_choice(found.choice)
    show_genotype(found.genotype, found.path, rows=found.result.rows)
    show_files(found.path, found.report, found.artifact)
    show_costs(found.seconds, found.cached, found.devices)


def show_warm_start(found: "WarmStart", *, quiet: bool) -> None:
    """Print the starting point and the result of a warm start."""
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
    show_choice(found.choice)
    show_genotype(found.genotype, found.path, rows=found.result.rows)
    show_files(found.path, found.report, found.artifact)
    show_costs(found.seconds, found.cached, found.devices)


def search_json(found: "SearchRun | WarmStart") -> dict[str, Any]:
    """Return the result of a search as ``search --json`` prints it."""
    from wsdarts_registry.architecture.search_verdicts import find_collapses  # noqa: PLC0415
    from wsdarts_sdk.reports.rows import search_epochs, skip_counts  # noqa: PLC0415

    history = skip_counts(search_epochs(found.result.rows))
    collapses = find_collapses(found.genotype, history)
    return {
        "run": found.path,
        "report": found.report,
        "artifact": found.artifact,
        "genotype": found.genotype.to_json(),
        "drawing": found.path / "cells.svg",
        "collapses": [each.to_json() for each in collapses],
        "choice": None if found.choice is None else found.choice.to_json(),
        "seconds": found.seconds,
        "cached": found.cached,
        "devices": found.devices,
    }


def warm_start_json(found: "WarmStart") -> dict[str, Any]:
    """Return the result of a warm start as ``warm-start --json`` prints it."""
    ranking = found.found.ranking
    return {
        **search_json(found),
        "source": found.source,
        "mode": found.mode,
        "why": found.why,
        "ranking": None if ranking is None else ranking_json(ranking),
        "trials": [
            {"skip_dropout": t.rate, "accuracy": t.accuracy, "seconds": t.seconds}
            for t in found.trials
        ],
    }


def show_decision(found: "WarmStart") -> None:
    """Print the starting point of a warm start, and the rule that applied."""
    display.heading("start")
    display.facts([("from", found.source), ("mode", found.mode)])
    display.sentence(f"because {found.why}")


def show_choice(choice: "GenotypeChoice | None") -> None:
    """Print the candidates of a choice, and the result of its test."""
    from wsdarts_sdk.reports.rows import candidate_rows  # noqa: PLC0415

    if choice is None:
        return
    display.heading("choice of the genotype")
    steps = tuple(pluralize(each, "step") for each in choice.steps)
    display.table(
        ("candidate", *steps, "parameters", "multiply-adds"),
        [
            (row.name, *row.accuracies, row.parameters, row.multiply_adds)
            for row in candidate_rows(choice)
        ],
        right=(*steps, "parameters", "multiply-adds"),
    )
    display.sentence(choice.summary)
    if choice.test is not None:
        display.sentence(f"{'warning: ' if choice.warning else ''}{choice.test}")


def show_genotype(genotype: "Genotype", run: Path, *, rows: "Sequence[Row]" = ()) -> None:
    """Print both cells, where their drawing is, and whether they have collapsed.

    Args:
        genotype: The cells.
        run: The run that found them.
        rows: Its metrics, one row an epoch; they tell when a cell has collapsed.
    """
    from wsdarts_registry.architecture.search_space import CELL_KINDS  # noqa: PLC0415
    from wsdarts_registry.drawing.cells import cell_text  # noqa: PLC0415
    from wsdarts_sdk.reports.rows import search_epochs, skip_counts  # noqa: PLC0415

    display.heading("genotype")
    for kind in CELL_KINDS:
        display.drawing(cell_text(genotype, kind))
    display.line(f"drawing: {run / 'cells.svg'}")
    show_collapses(genotype, skip_counts(search_epochs(rows)))


def show_collapses(genotype: "Genotype", history: "Sequence[SkipCounts]" = ()) -> None:
    """Print for each cell that has collapsed to skip-connects what happened and what helps."""
    from wsdarts_registry.architecture.search_verdicts import find_collapses  # noqa: PLC0415

    for collapse in find_collapses(genotype, history):
        display.sentence(f"warning: {collapse}")


def show_files(run: Path, report: Path, artifact: Path) -> None:
    """Print where the run is and what is in it."""
    display.heading("files")
    files = {"run": run, "report": report, "artifact": artifact}
    display.facts([(name, str(path)) for name, path in files.items()], whole=files)


def show_costs(
    seconds: "Mapping[str, float]", cached: "Mapping[str, float]", devices: int = 1
) -> None:
    """Print the wall time of each phase, and all of it, and the time of several devices."""
    from wsdarts_sdk.reports.facts import device_time, phase_amount, phase_title  # noqa: PLC0415

    display.heading("cost")
    rows = [
        (phase_title(phase), phase_amount(spent, cached.get(phase)))
        for phase, spent in seconds.items()
    ]
    rows.append(("total", duration(sum(seconds.values()))))
    if devices > 1:
        rows.append(("devices", device_time(devices, seconds)))
    display.facts(rows)


@options.reads_data
def search(
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA",
            help="Folder of class folders, parquet file, hf:NAME or torchvision:NAME. Several "
            "are searched jointly, for a meta-transfer architecture.",
            show_default=False,
        ),
    ],
    *,
    preset: options.PresetOption = "small",
    seed: options.SeedOption = None,
    out: options.OutOption = None,
    resume: options.ResumeOption = False,
    dry_run: options.DryRunOption = False,
    no_flip: options.NoFlipOption = False,
    settings: options.SetOption = None,
    candidates: options.CandidatesOption = None,
    max_parameters: options.MaxParametersOption = None,
    max_multiply_adds: options.MaxMultiplyAddsOption = None,
    probe: Annotated[
        list[str] | None,
        options.value_option(
            "PROBE",
            "Probe network that embeds the data for the artifact; the shipped one by "
            "default. May be repeated.",
        ),
    ] = None,
    reading: "DataOptions",
    device: options.DeviceOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Search from scratch, on one dataset or on several together.

    The run directory contains the genotype, a report, and an artifact for `push`.

    JSON:
        run: the run directory
        report: its report
        artifact: the artifact, for `push`
        genotype: both cells
        drawing: their drawing
        collapses: cells that have collapsed to skip-connects
        choice: candidates, the chosen one and the test against chance; null where α decided
        seconds: wall time of each phase
        cached: time that computing the cached results had taken, by phase
        devices: number of processes that worked together (torchrun), each on its own device

    Example:
        wsdarts-hub search path/to/images --preset tiny --out runs/images

    Python:
        from wsdarts_hub import search
        print(search("path/to/images", preset="tiny", out="runs/images").genotype)
    """
    short = options.choice_options(candidates, max_parameters, max_multiply_adds)
    chosen = options.preset_with(preset, settings, no_flip=no_flip, short=short)
    with run_work("search", data, out=out, resume=resume, reading=reading, quiet=quiet) as work:
        if dry_run:
            estimate = hub.estimate_search(
                *work.data, preset=chosen, device=device, progress=work.progress
            )
            show_estimate(estimate, as_json=as_json)
            return
        found = hub.search(
            *work.data,
            out=out,
            preset=chosen,
            seed=seed,
            probes=probe or (None,),
            resume=resume,
            device=device,
            progress=work.progress,
        )
    if as_json:
        display.json_data(search_json(found))
        return
    show_search(found, quiet=quiet)
    if not quiet:
        display.heading("next")
        display.line(f"wsdarts-hub push {_quoted(found.path)} NAME --registry DIR")


@options.reads_data
def warm_start(
    data: options.DataArgument,
    *,
    registry: options.RegistryOption = None,
    source: Annotated[
        str | None,
        options.value_option(
            "REF",
            "Artifact to start from: NAME, NAME@3, an alias such as NAME@stable, or "
            "NAME@sha256:HEX. The nearest by default.",
            "--from",
            autocompletion=complete_reference,
        ),
    ] = None,
    mode: Annotated[
        options.Mode,
        typer.Option(
            help="Parts to take over: masks (topology), masks with weights (trained), the masks of "
            "a joint search (meta) or of the k nearest (union), or nothing (cold)."
        ),
    ] = "auto",
    sweep: Annotated[
        bool,
        typer.Option(
            "--sweep",
            help="Search with a skip-connect dropout of 0 to 0.9 and keep the best after a short "
            "training.",
        ),
    ] = False,
    storage: Annotated[
        str | None,
        options.value_option(
            "URL",
            "Database through which workers share the trials of --sweep: sqlite:///FILE on one "
            "machine, postgresql://USER@HOST/DATABASE on several. Without it the environment "
            "variable WSDARTS_HUB_STORAGE, else this worker runs all.",
        ),
    ] = None,
    preset: options.PresetOption = "small",
    seed: options.SeedOption = None,
    out: options.OutOption = None,
    resume: options.ResumeOption = False,
    dry_run: options.DryRunOption = False,
    no_flip: options.NoFlipOption = False,
    settings: options.SetOption = None,
    candidates: options.CandidatesOption = None,
    max_parameters: options.MaxParametersOption = None,
    max_multiply_adds: options.MaxMultiplyAddsOption = None,
    probe: options.ProbeOption = None,
    require_signature: options.RequireSignatureOption = None,
    policy: options.PolicyOption = None,
    k: options.NeighboursOption = 5,
    reading: "DataOptions",
    device: options.DeviceOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Search for an architecture from the nearest artifact.

    Embeds the dataset and ranks the registry's artifacts. Mode auto starts from the one of them
    that helped other datasets most; where that is not known, or its weights do not fit, from the
    nearest if it is near, else from a meta-transfer architecture, else from scratch.

    JSON:
        run: the run directory
        report: its report
        artifact: the artifact, for `push`
        genotype: both cells
        drawing: their drawing
        collapses: cells that have collapsed to skip-connects
        choice: candidates, the chosen one and the test against chance; null where α decided
        seconds: wall time of each phase
        cached: time that computing the cached results had taken, by phase
        devices: number of processes that worked together (torchrun), each on its own device
        source: the starting point, or cold
        mode: topology, trained, meta, union or cold
        why: the rule that applied, as a sentence
        ranking: the output of `nearest --json`; null without a ranking
        trials: of a sweep, best first, each with skip_dropout, accuracy and seconds

    Example:
        wsdarts-hub warm-start path/to/images --preset tiny --out runs/images

    Python:
        from wsdarts_hub import warm_start
        result = warm_start("path/to/images", preset="tiny", out="runs/images")
        print(result.source, result.genotype)
    """
    short = options.choice_options(candidates, max_parameters, max_multiply_adds)
    chosen = options.preset_with(preset, settings, no_flip=no_flip, short=short)
    required = options.required_signature(require_signature, policy)
    with run_work(
        "warm-start", [data], out=out, resume=resume, reading=reading, quiet=quiet
    ) as work:
        if dry_run:
            estimate = hub.estimate_warm_start(
                *work.data,
                registry=registry,
                source=source,
                mode=mode,
                preset=chosen,
                probe=probe,
                k=k,
                sweep_skip_dropout=sweep,
                require_signature=required,
                device=device,
                progress=work.progress,
            )
            show_estimate(estimate, as_json=as_json)
            return
        found = hub.warm_start(
            *work.data,
            out=out,
            registry=registry,
            source=source,
            mode=mode,
            preset=chosen,
            seed=seed,
            probe=probe,
            k=k,
            sweep_skip_dropout=sweep,
            storage=storage,
            resume=resume,
            require_signature=required,
            device=device,
            progress=work.progress,
        )
    if as_json:
        display.json_data(warm_start_json(found))
        return
    show_warm_start(found, quiet=quiet)
    if not quiet:
        display.heading("next")
        command = ["wsdarts-hub", "train", str(found.path), data, "--preset", preset]
        command += [*(["--no-flip"] if no_flip else []), *options.as_typed(reading)]
        command += ["--device", device] if device else []
        display.line(shlex.join([*command, "--out", str(found.path / "training")]))


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


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
        _show_report(found)


def _show_report(found: "Report") -> None:
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
