"""The command ``train``."""

from typing import TYPE_CHECKING, Annotated

import typer

import wsdarts_hub as hub
from wsdarts_hub.cli import display, options
from wsdarts_hub.cli.completion import complete_reference
from wsdarts_hub.cli.run_work import run_work
from wsdarts_hub.cli.search_page import show_collapses, show_costs
from wsdarts_registry.amounts import count, share

if TYPE_CHECKING:
    from wsdarts_sdk.jobs.training import TrainingRun

_WITHOUT = {
    "search": "train searches nothing, its settings are those below training",
    "selection": "train selects nothing, its settings are those below training",
}


def train(
    genotype: Annotated[
        str,
        typer.Argument(
            metavar="RUN|REF|GENOTYPE",
            help="Run directory of a search, a reference such as NAME@3, or a file with a genotype "
            "as JSON or as the DARTS code prints it.",
            autocompletion=complete_reference,
            show_default=False,
        ),
    ],
    data: options.DataArgument,
    *,
    registry: options.RegistryOption = None,
    require_signature: options.RequireSignatureOption = None,
    policy: options.PolicyOption = None,
    preset: options.PresetOption = "small",
    seed: options.SeedOption = None,
    out: options.OutOption = None,
    resume: options.ResumeOption = False,
    settings: options.SetOption = None,
    image_column: options.ImageColumnOption = None,
    label_column: options.LabelColumnOption = None,
    split: options.SplitOption = None,
    skip_corrupt: options.SkipCorruptOption = False,
    device: options.DeviceOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Train what a search found, and evaluate it.

    It is trained on the train part and evaluated once, at the end, on the held-out third. Of a
    split that the dataset comes with it is evaluated on the test part, or else the validation part.

    Example:
        wsdarts-hub train runs/images path/to/images --preset tiny --out runs/images/training

    Python:
        from wsdarts_hub import train
        result = train("runs/images", "path/to/images", preset="tiny", out="runs/images/training")
        print(result.accuracy)
    """
    from wsdarts_hub.cli.settings_option import preset_with  # noqa: PLC0415

    chosen = preset_with(preset, settings, without=_WITHOUT)
    required = options.required_signature(require_signature, policy)
    with run_work(
        "train",
        [data],
        out=out,
        resume=resume,
        image_column=image_column,
        label_column=label_column,
        split=split,
        skip_corrupt=skip_corrupt,
        quiet=quiet,
    ) as work:
        found = hub.train(
            genotype,
            *work.data,
            registry=registry,
            require_signature=required,
            out=out,
            preset=chosen,
            seed=seed,
            resume=resume,
            device=device,
            progress=work.progress,
        )
    show_training(found, quiet=quiet)


def show_training(found: "TrainingRun", *, quiet: bool) -> None:
    """Print how good a trained network is, and where it is."""
    if quiet:
        display.line(f"{found.accuracy:.4f} {found.model_file}")
        return
    result = found.result
    display.facts(
        [
            ("accuracy", f"{share(found.accuracy)} of {count(result.images)} held-out images"),
            ("model", f"{found.model_file}, {count(result.parameters)} parameters"),
            ("report", str(found.report)),
        ],
        whole=("model", "report"),
    )
    show_costs(found.seconds, found.cached)
    show_collapses(result.genotype)
