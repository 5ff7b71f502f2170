"""Command ``train`` and its output."""

from typing import TYPE_CHECKING, Annotated

import typer

import wsdarts_hub as hub
from wsdarts_hub.cli.searches import show_collapses, show_costs
from wsdarts_hub.cli.shared import display, options
from wsdarts_hub.cli.shared.long_work import run_work, show_estimate
from wsdarts_hub.cli.shared.options import complete_reference
from wsdarts_registry._format import count, percent, pluralize, points

if TYPE_CHECKING:
    from wsdarts_sdk.data.options import DataOptions
    from wsdarts_sdk.models.training import TrainingResult
    from wsdarts_sdk.pipelines.train import TrainingRun

_SHOWN = 3
_WITHOUT = {
    "search": "train searches nothing, its settings are those below training",
    "choice": "train chooses nothing, its settings are those below training",
    "selection": "train selects nothing, its settings are those below training",
}


@options.reads_data
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
    dry_run: options.DryRunOption = False,
    epochs: options.EpochsOption = None,
    lr: options.LearningRateOption = None,
    batch_size: options.BatchSizeOption = None,
    image_size: options.ImageSizeOption = None,
    patience: options.PatienceOption = None,
    no_flip: options.NoFlipOption = False,
    settings: options.SetOption = None,
    reading: "DataOptions",
    baseline: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="Baseline on the same held-out images: linear, a linear classifier on the "
            "shipped probe's features; linear:PROBE, on those of another probe; or timm:NAME or "
            "timm:FILE.safetensors, a pretrained network of timm, fine-tuned with as many steps of "
            "as many images. ?size=N behind it changes the size of its images.",
        ),
    ] = "linear",
    no_baseline: Annotated[
        bool, typer.Option("--no-baseline", help="Measure no baseline beside the network.")
    ] = False,
    as_json: options.JsonOption = False,
    device: options.DeviceOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Train the network that a search found, and evaluate it.

    The network is trained on the train part and evaluated once, at the end, on the held-out third;
    with a split of the dataset's own, on its test part, else its validation part. A baseline is
    evaluated on the same images for comparison. With --resume and more --epochs a finished
    training is continued.

    JSON:
        accuracy: share of the held-out images with the right label
        baseline: the baseline; null with --no-baseline
        path: the run directory
        model: the trained model
        report: its report
        images: number of images of the evaluation
        held_out: their part, validation or test
        loss: mean cross-entropy on them
        parameters: number of the network's parameters
        epochs: number of its epochs
        best: the choice of early stopping: epoch, accuracy, loss, images, judged_on; or null
        schedules: epochs at which a schedule of the learning rate began, counted from 0
        inherited: source and share of inherited initial weights; null for random ones
        collapses: cells that have collapsed to skip-connects
        evaluation: the output of `evaluate --json`, without page
        seconds: wall time of each phase
        cached: time that computing the cached results had taken, by phase
        devices: number of processes that worked together (torchrun), each on its own device

    Example:
        wsdarts-hub train runs/images path/to/images --preset tiny --out runs/images/training

    Python:
        from wsdarts_hub import train
        result = train("runs/images", "path/to/images", preset="tiny", out="runs/images/training")
        print(result.accuracy)
    """
    short = {
        "--epochs": ("training.epochs", epochs),
        "--lr": ("training.learning_rate", lr),
        "--batch-size": ("training.batch_size", batch_size),
        "--image-size": ("training.image_size", image_size),
        "--patience": ("training.patience", patience),
    }
    chosen = options.preset_with(preset, settings, no_flip=no_flip, short=short, without=_WITHOUT)
    required = options.required_signature(require_signature, policy)
    with run_work("train", [data], out=out, resume=resume, reading=reading, quiet=quiet) as work:
        if dry_run:
            estimate = hub.estimate_training(
                genotype,
                *work.data,
                registry=registry,
                require_signature=required,
                preset=chosen,
                baseline=None if no_baseline else baseline,
                device=device,
                progress=work.progress,
            )
            show_estimate(estimate, as_json=as_json)
            return
        found = hub.train(
            genotype,
            *work.data,
            registry=registry,
            require_signature=required,
            out=out,
            preset=chosen,
            seed=seed,
            resume=resume,
            baseline=None if no_baseline else baseline,
            device=device,
            progress=work.progress,
        )
    if as_json:
        display.json_data(found.to_json())
        return
    show_training(found, quiet=quiet)


def show_training(found: "TrainingRun", *, quiet: bool) -> None:
    """Print the accuracy of a trained network, and its files."""
    if quiet:
        display.line(f"{found.accuracy:.4f} {found.model_file}")
        return
    result, baseline = found.result, found.baseline
    facts = [
        ("accuracy", f"{percent(found.accuracy)} of {pluralize(result.images, 'held-out image')}"),
        *_best_epoch(result),
    ]
    if baseline is not None:
        gain = baseline.difference
        facts += [
            ("baseline", f"{percent(baseline.accuracy.value)}, {baseline.name}"),
            (
                "gain",
                f"{points(gain.value)} (95 % interval {points(gain.low)} to {points(gain.high)})",
            ),
        ]
    facts += [
        (
            "mistakes" if place == 0 else "",
            f"{truth} taken for {predicted}, {pluralize(images, 'image')}",
        )
        for place, (truth, predicted, images) in enumerate(found.evaluation.confused_pairs(_SHOWN))
    ]
    facts += [
        ("model", f"{found.model_file}, {count(result.parameters)} parameters"),
        ("report", str(found.report)),
    ]
    display.facts(facts, whole=("model", "report"))
    if baseline is not None and baseline.is_better:
        display.sentence(f"warning: {baseline.verdict} {baseline.trained_on}")
    show_costs(found.seconds, found.cached, found.devices)
    show_collapses(result.genotype)


def _best_epoch(result: "TrainingResult") -> "list[tuple[str, str]]":
    """Return the epoch that early stopping chose, and its accuracy."""
    if result.best is None:
        return []
    best = result.best
    judged = f"{percent(best.accuracy)} of {pluralize(best.images, 'image')}, {best.judged_on}"
    return [("best epoch", f"{best.epoch} of {len(result.rows)}, by {judged}")]
