"""Commands that search: ``search`` from cold and ``warm-start`` from the nearest artifact."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

import wsdarts_hub as hub
from wsdarts_hub.cli import display, options
from wsdarts_hub.cli.completion import complete_reference
from wsdarts_hub.cli.run_work import run_work
from wsdarts_hub.cli.search_page import show_search, show_warm_start


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

    chosen = preset_with(preset, settings)
    with run_work(
        "search",
        data,
        out=out,
        resume=resume,
        image_column=image_column,
        label_column=label_column,
        split=split,
        skip_corrupt=skip_corrupt,
        quiet=quiet,
    ) as work:
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
            help="Artifact to start from: NAME, NAME@3, an alias such as NAME@stable, or "
            "NAME@sha256:HEX. The nearest by default.",
            autocompletion=complete_reference,
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
    require_signature: options.RequireSignatureOption = None,
    policy: options.PolicyOption = None,
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

    chosen = preset_with(preset, settings)
    required = options.required_signature(require_signature, policy)
    with run_work(
        "warm-start",
        [data],
        out=out,
        resume=resume,
        image_column=image_column,
        label_column=label_column,
        split=split,
        skip_corrupt=skip_corrupt,
        quiet=quiet,
    ) as work:
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
            resume=resume,
            require_signature=required,
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


def _given(**values: str | bool | None) -> list[str]:
    """The options that were given, as they are typed."""
    words = []
    for name, value in values.items():
        if value:
            words += [f"--{name.replace('_', '-')}", *([value] if isinstance(value, str) else [])]
    return words


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
