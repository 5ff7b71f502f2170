"""Commands that search: ``search`` from cold and ``warm-start`` from the nearest artifact."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import wsdarts_hub as hub
from wsdarts_hub.cli import display, options
from wsdarts_hub.cli.data import load_data
from wsdarts_hub.cli.embedding_commands import show_neighbours
from wsdarts_hub.cli.progress_bar import working
from wsdarts_registry.amounts import duration, share

if TYPE_CHECKING:
    from wsdarts_registry.genotype import Genotype
    from wsdarts_sdk.jobs.searching import SearchRun
    from wsdarts_sdk.jobs.warm_starting import WarmStart


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
    settings: options.SetOption = None,
    probe: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PROBE",
            help="Probe network that embeds the data for the artifact; the shipped one by "
            "default. May be repeated.",
            show_default=False,
        ),
    ] = None,
    image_column: options.ImageColumnOption = None,
    label_column: options.LabelColumnOption = None,
    split: options.SplitOption = None,
    skip_corrupt: options.SkipCorruptOption = False,
    device: options.DeviceOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Search from cold, on one dataset or on several together.

    The run directory gets the artifact that `push` publishes, the genotype and a report.

    Example:
        wsdarts-hub search path/to/images --preset tiny --out runs/images

    Python:
        from wsdarts_hub import search
        print(search("path/to/images", preset="tiny", out="runs/images").genotype)
    """
    from wsdarts_hub.cli.settings_option import preset_with  # noqa: PLC0415

    check_resumable(out, resume=resume)
    chosen = preset_with(preset, settings)
    with working(quiet=quiet, run=out) as work:
        tasks = [
            load_data(
                each,
                image_column=image_column,
                label_column=label_column,
                split=split,
                skip_corrupt=skip_corrupt,
                quiet=quiet,
                progress=work.progress,
            )
            for each in data
        ]
        run = run_directory(out, "search", tasks[0].name)
        work.continues_in(run)
        found = hub.search(
            *tasks,
            out=run,
            preset=chosen,
            seed=seed,
            probes=probe or (None,),
            resume=resume,
            device=device,
            progress=work.progress,
        )
    show_search(found, quiet=quiet)
    if not quiet:
        display.heading("next")
        display.line(f"wsdarts-hub push {_quoted(found.path)} NAME --registry DIR")


def warm_start(
    data: options.DataArgument,
    *,
    registry: options.RegistryOption = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="REF",
            help="Artifact to start from: NAME, NAME@3 or NAME@sha256:HEX. The nearest by default.",
            show_default=False,
        ),
    ] = None,
    mode: Annotated[
        options.Mode,
        typer.Option(
            help="What to take over: masks (topology), masks with weights (trained), the masks of "
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
    preset: options.PresetOption = "small",
    seed: options.SeedOption = None,
    out: options.OutOption = None,
    resume: options.ResumeOption = False,
    settings: options.SetOption = None,
    probe: options.ProbeOption = None,
    k: options.NeighboursOption = 5,
    image_column: options.ImageColumnOption = None,
    label_column: options.LabelColumnOption = None,
    split: options.SplitOption = None,
    skip_corrupt: options.SkipCorruptOption = False,
    device: options.DeviceOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Search for an architecture from the nearest artifact.

    Embeds the dataset and ranks the registry by it. Mode auto starts from the nearest artifact
    if that is near; else from a meta-transfer architecture of the registry; else from cold.

    Example:
        wsdarts-hub warm-start path/to/images --preset tiny --out runs/images

    Python:
        from wsdarts_hub import warm_start
        result = warm_start("path/to/images", preset="tiny", out="runs/images")
        print(result.source, result.genotype)
    """
    from wsdarts_hub.cli.settings_option import preset_with  # noqa: PLC0415

    check_resumable(out, resume=resume)
    chosen = preset_with(preset, settings)
    with working(quiet=quiet, run=out) as work:
        task = load_data(
            data,
            image_column=image_column,
            label_column=label_column,
            split=split,
            skip_corrupt=skip_corrupt,
            quiet=quiet,
            progress=work.progress,
        )
        run = run_directory(out, "warm-start", task.name)
        work.continues_in(run)
        found = hub.warm_start(
            task,
            out=run,
            registry=registry,
            source=source,
            mode=mode,
            preset=chosen,
            seed=seed,
            probe=probe,
            k=k,
            sweep_skip_dropout=sweep,
            resume=resume,
            device=device,
            progress=work.progress,
        )
    show_warm_start(found, quiet=quiet)
    if not quiet:
        display.heading("next")
        command = ["wsdarts-hub", "train", str(found.path), data, "--preset", preset]
        command += _given(
            image_column=image_column,
            label_column=label_column,
            split=split,
            skip_corrupt=skip_corrupt,
            device=device,
        )
        display.line(shlex.join([*command, "--out", str(found.path / "training")]))


def show_search(found: "SearchRun", *, quiet: bool) -> None:
    """Print what a search found."""
    if quiet:
        display.line(str(found.path))
        return
    show_genotype(found.genotype, found.path)
    show_files(found.path, found.report, found.artifact)
    show_costs(found.seconds)


def show_warm_start(found: "WarmStart", *, quiet: bool) -> None:
    """Print what a warm start started from and what it found."""
    if quiet:
        display.line(str(found.path))
        return
    if found.neighbours:
        display.heading("nearest artifacts")
        show_neighbours(found.neighbours)
    show_decision(found)
    if found.trials:
        display.heading("sweep over skip-connect dropout, best first")
        display.table(
            ("dropout", "accuracy", "seconds"),
            [(f"{t.rate:g}", share(t.accuracy), f"{t.seconds:.1f}") for t in found.trials],
            right=("dropout", "accuracy", "seconds"),
        )
    show_genotype(found.genotype, found.path)
    show_files(found.path, found.report, found.artifact)
    show_costs(found.seconds)


def show_decision(found: "WarmStart") -> None:
    """Print what a warm start started from, and the rule that decided."""
    display.heading("start")
    display.facts([("from", found.source), ("mode", found.mode)])
    display.sentence(f"because {found.why}")


def show_genotype(genotype: "Genotype", run: Path) -> None:
    """Print both cells, and where their drawing is."""
    from wsdarts_registry.drawing import cell_text  # noqa: PLC0415
    from wsdarts_registry.space import CELL_KINDS  # noqa: PLC0415

    display.heading("genotype")
    for kind in CELL_KINDS:
        display.drawing(cell_text(genotype, kind))
    display.line(f"drawing: {run / 'cells.svg'}")


def show_files(run: Path, report: Path, artifact: Path) -> None:
    """Print where the run is and what is in it."""
    display.heading("files")
    display.facts([("run", str(run)), ("report", str(report)), ("artifact", str(artifact))])


def show_costs(seconds: dict[str, float]) -> None:
    """Print the wall time of each phase."""
    display.heading("cost")
    total = ("total", sum(seconds.values()))
    display.facts([(phase, duration(spent)) for phase, spent in (*seconds.items(), total)])


def check_resumable(out: Path | None, *, resume: bool) -> None:
    """Refuse to resume nobody knows what."""
    if resume and out is None:
        raise typer.BadParameter("--resume goes on with the run in --out; name it")


def run_directory(out: Path | None, command: str, name: str) -> Path:
    """Where a run goes."""
    from wsdarts_sdk.jobs.inputs import run_path  # noqa: PLC0415

    return run_path(out, command, name)


def _given(**values: str | bool | None) -> list[str]:
    """The options that were given, as they are typed."""
    words = []
    for name, value in values.items():
        if value:
            words += [f"--{name.replace('_', '-')}", *([value] if isinstance(value, str) else [])]
    return words


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
