"""Commands that train a model and use it: ``train``, ``predict``, ``evaluate`` and ``export``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import wsdarts_hub as hub
from wsdarts_hub.cli.searches import show_collapses, show_costs
from wsdarts_hub.cli.shared import display, options
from wsdarts_hub.cli.shared.long_work import run_work, show_estimate, unread, working
from wsdarts_hub.cli.shared.options import complete_reference
from wsdarts_registry._format import count, percent, percent_if_known, pluralize, points
from wsdarts_registry.stores.huggingface.location import is_huggingface

if TYPE_CHECKING:
    from wsdarts_sdk.data.options import DataOptions
    from wsdarts_sdk.models.classifier import Classifier
    from wsdarts_sdk.models.prediction import Prediction
    from wsdarts_sdk.models.training import TrainingResult
    from wsdarts_sdk.pipelines.train import TrainingRun
    from wsdarts_sdk.runs.result_records import Evaluation

_SHOWN = 5
_MISTAKES = 3  # of a training
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
        for place, (truth, predicted, images) in enumerate(
            found.evaluation.confused_pairs(_MISTAKES)
        )
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


ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Run directory of a training, the model.safetensors in it, or a model on the Hub, "
        "hf://OWNER/NAME.",
        show_default=False,
    ),
]


def load_model(model: str) -> "Classifier":
    """Return the model in a file or a run directory, or the one on the Hub."""
    if is_huggingface(model):
        display.show_transfers(quiet=False)
        return hub.Classifier.from_pretrained(model)
    return hub.Classifier.load(model)


def predict(
    model: ModelArgument,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES",
            help="Files, and folders with files at any depth.",
            show_default=False,
        ),
    ],
    *,
    top_k: Annotated[int, typer.Option("-k", min=1, metavar="N", help="Number of classes.")] = 3,
    batch_size: Annotated[
        int, typer.Option(min=1, metavar="N", help="Images that are computed together.")
    ] = 64,
    as_json: options.JsonOption = False,
    device: options.DeviceOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Predict the classes of images with a trained model.

    Images are preprocessed as in training. An image that cannot be read is reported on stderr, and
    the exit code is 1; the others are predicted.

    JSON: an array of objects
        image: the file
        classes: the most probable first, each with name and probability
        problem: the error if it cannot be read, then without classes; else null

    Example:
        wsdarts-hub predict runs/images/training path/to/photo.jpg path/to/photos -k 3

    Python:
        from wsdarts_hub import Classifier
        model = Classifier.load("runs/images/training")
        for found in model.predict(["path/to/photo.jpg", "path/to/photos"], top_k=3):
            print(found.image, found.classes)
    """
    from wsdarts_sdk.devices import find_device  # noqa: PLC0415
    from wsdarts_sdk.models.prediction import predict as predict_each  # noqa: PLC0415

    network = load_model(model).to(find_device(device))
    failed, rows = False, []
    with working(quiet=quiet) as work:
        for found in predict_each(
            network, images, top_k=top_k, batch_size=batch_size, progress=work.progress
        ):
            if found.problem is not None:
                failed = True
                display.note(f"{found.image}: {found.problem}")
            if as_json:
                rows.append(_as_json(found))
            elif found.problem is None:
                display.line(_line(found, quiet=quiet))
    if as_json:
        display.json_data(rows)
    if failed:
        raise typer.Exit(1)


def _line(found: "Prediction", *, quiet: bool) -> str:
    if quiet:
        return f"{found.image} {found.name}"
    return f"{found.image}  {', '.join(f'{name} {percent(p)}' for name, p in found.classes)}"


def _as_json(found: "Prediction") -> dict[str, Any]:
    classes = [{"name": name, "probability": value} for name, value in found.classes]
    return {"image": found.image, "classes": classes, "problem": found.problem}


@options.reads_data
def evaluate(
    model: ModelArgument,
    data: options.DataArgument,
    *,
    part: Annotated[
        Literal["validation", "test", "train", "all"] | None,
        typer.Option(
            help="Part of the dataset. All images by default; of the dataset that the model was "
            "trained on, its held-out part.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        options.value_option(
            "FILE",
            "Write a page with the confusion matrix, the scores of all classes and the worst "
            "mistakes; in a directory it is evaluation.html.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Seed of the bootstrap intervals.")
    ] = 0,
    as_json: options.JsonOption = False,
    reading: "DataOptions",
    device: options.DeviceOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Evaluate a trained model on a dataset.

    Prints accuracy, top-5 and balanced accuracy, macro F1 and calibration error with 95 %
    intervals, the worst classes and the most confused ones; --json and --out have all classes.
    Classes are matched by name. The result.json of a training has the same keys.

    Example:
        wsdarts-hub evaluate runs/images/training path/to/images --out evaluation.html

    JSON:
        dataset: name of the dataset
        digest: identity of the dataset
        part: which images, validation, test, train or all
        images: how many
        accuracy: share that is labelled right; value, low and high of its 95 % interval
        top_5: the same of the five most probable classes, or null
        balanced_accuracy: the same of the mean recall
        macro_f1: the same of the mean F1
        calibration_error: the same of the expected calibration error
        classes: scores of each class
        classes.name: the class
        classes.precision: share of right labels among the images with this label, or null
        classes.recall: share of right labels among the images of the class, or null
        classes.f1: harmonic mean of both, or null
        classes.images: number of its images
        confusion: true class, predicted class and images; classes count from 0
        mistakes: wrong labels with the highest probability
        mistakes.image: path of the image, or its position
        mistakes.truth: its true class
        mistakes.predicted: the class that the model gives
        mistakes.probability: of that class
        note: relation of these images to the model's training
        page: the page with --out; else null

    Python:
        from wsdarts_hub import evaluate
        found = evaluate("runs/images/training", "path/to/images", out="evaluation.html")
        print(found.accuracy, found.confusion_matrix)
    """
    from wsdarts_sdk.pipelines.evaluate import page_path  # noqa: PLC0415

    with working(quiet=quiet) as work:
        found = hub.evaluate(
            model,
            unread(data, reading=reading, quiet=quiet),
            part=part,
            out=out,
            seed=seed,
            device=device,
            progress=work.progress,
        )
    if as_json:
        display.json_data({**found.to_json(), "page": page_path(out)})
    elif quiet:
        display.line(f"{found.accuracy.value:.4f}")
    else:
        show_evaluation(found, page_path(out))


def show_evaluation(found: "Evaluation", page: Path | None) -> None:
    """Print the figures of an evaluation, the worst classes and the most confused ones."""
    from wsdarts_sdk.reports.page import images_text  # noqa: PLC0415

    facts = [(name, str(figure)) for name, figure in found.figures.items()]
    facts.append(("images", f"{images_text(found)} of {found.dataset}"))
    if page is not None:
        facts.append(("page", str(page)))
    display.facts(facts, whole=("page",))
    display.sentence(found.note)
    display.heading("classes of the lowest recall")
    headers = ("class", "precision", "recall", "F1", "images")
    rows = [
        (
            each.name,
            percent_if_known(each.precision),
            percent_if_known(each.recall),
            percent_if_known(each.f1),
            count(each.images),
        )
        for each in found.worst_classes(_SHOWN)
    ]
    display.table(headers, rows, right=headers[1:])
    pairs = found.confused_pairs(_SHOWN)
    if pairs:
        display.heading("most confused")
        confused = [(truth, predicted, count(images)) for truth, predicted, images in pairs]
        display.table(("class", "taken for", "images"), confused, right=("images",))


def export(
    model: ModelArgument,
    *,
    onnx: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write an ONNX file; needs the extra onnx."),
    ] = None,
    timm: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write a folder that timm loads; new or empty."),
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="File or folder of real images on which model and ONNX file are compared, beside "
            "random ones. May be repeated.",
        ),
    ] = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Write a trained model as ONNX, or as a folder for timm.

    The ONNX file takes any number of images in [0, 1] and includes the normalisation. Its output
    is compared with the model's; it is not written if they differ. timm loads the folder after
    `import wsdarts_hub.timm`; `push-model` publishes the same files on the Hub.

    JSON:
        onnx: the ONNX file, or null
        difference: greatest relative difference of its logits from the model's, or null
        compared_images: number of images of the comparison, or null
        timm: the folder for timm, or null

    Example:
        wsdarts-hub export runs/images/training --onnx model.onnx --images path/to/images

    Python:
        from wsdarts_hub import Classifier
        model = Classifier.load("runs/images/training")
        print(model.save_onnx("model.onnx", images="path/to/images").difference)
        model.save_timm("timm-model")
    """
    if onnx is None and timm is None:
        raise typer.BadParameter("name what to write: --onnx FILE or --timm DIR")
    network = load_model(model)
    found = None
    if onnx is not None:
        if not quiet:
            display.note("exporting to ONNX, which takes about a minute for 20 cells")
        found = network.save_onnx(onnx, images=images or ())
        if not as_json:
            display.line(str(found.path))
        if not (quiet or as_json):
            display.line(
                f"computes what the model computes, on {pluralize(found.images, 'image')} "
                f"(relative difference {found.difference:.1e})"
            )
    folder = None if timm is None else network.save_timm(timm)
    if as_json:
        display.json_data(
            {
                "onnx": found and found.path,
                "difference": found and found.difference,
                "compared_images": found and found.images,
                "timm": folder,
            }
        )
    elif folder is not None:
        display.line(str(folder))
        if not quiet:
            display.line(
                "in Python: import timm, wsdarts_hub.timm; "
                f"timm.create_model({f'local-dir:{timm}'!r}, pretrained=True)"
            )
