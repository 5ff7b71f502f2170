"""Evaluation of a trained model on a dataset."""

from pathlib import Path
from typing import Unpack, get_args

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry._arguments import did_you_mean, nearest_names
from wsdarts_registry._files import as_path, expanded, is_directory, is_file
from wsdarts_registry._format import pluralize
from wsdarts_registry._text import sanitize
from wsdarts_registry.errors import ArtifactError, SettingsError, TaskError
from wsdarts_sdk.data.options import DataOptions
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.devices import find_device
from wsdarts_sdk.models.classifier import Classifier
from wsdarts_sdk.models.evaluation import PartName, compute_outputs, evaluate_outputs
from wsdarts_sdk.pipelines.run_context import Data, check_apart, checks_keywords, load_task
from wsdarts_sdk.progress import Progress, shown
from wsdarts_sdk.reports.page import render_evaluation
from wsdarts_sdk.reports.report import check_page, write_page
from wsdarts_sdk.runs.directory import CONFIG_FILE, EVALUATION_PAGE, read_config
from wsdarts_sdk.runs.result_records import Evaluation

_SHOWN = 3


@checks_keywords("evaluate")
def evaluate(
    model: Classifier | str | Path,
    data: Data,
    *,
    part: PartName | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    device: str | None = None,
    progress: Progress | None = None,
    **reading: Unpack[DataOptions],
) -> Evaluation:
    """Evaluate a trained model on a dataset, whose classes are matched with the model's by name.

    Args:
        model: A ``Classifier``, or what ``Classifier.load`` takes: the run directory of a training
            or the model's file.
        data: The dataset, in any of the forms of ``ImageTask.load``, or an ``ImageTask``.
        part: Which images: ``"validation"``, ``"test"``, ``"train"`` or ``"all"``. By default all;
            of the dataset that the model was trained on, its held-out part alone.
        out: Where to write the page; in a directory it is ``evaluation.html``. None by default.
        seed: Seed of the bootstrap intervals.
        device: ``"cpu"`` or ``"cuda"``; CUDA by default where there is one.
        progress: Told what is done and how much is left; lines on stderr by default.
        reading: Options of reading the dataset, see ``DataOptions``.

    Raises:
        WsdartsError: Model or data cannot be read, the dataset has classes that the model does not
            know, or no such part; or something else than such a page lies where it is to go.
    """
    if part is not None and part not in get_args(PartName):
        raise SettingsError("part", found=repr(part), expected=", ".join(get_args(PartName)))
    name = "the model" if isinstance(model, Classifier) else str(model)
    page = page_path(out)
    if page is not None:
        check_apart(page, [data])
        check_page(page)
    network = model if isinstance(model, Classifier) else Classifier.load(model)
    digest = network.trained_on or _recorded(model)
    progress = shown(progress)
    task = load_task(data, reading, progress=progress)
    known = _known_classes(network, task)
    chosen, why = _choose(task, part, digest)
    indices = _indices(task, chosen)
    before = network.mean.device
    network.to(find_device(device))
    try:
        outputs = compute_outputs(
            network, task, indices, known[task.labels[indices]], progress=progress
        )
    finally:
        network.to(before)
    found = evaluate_outputs(
        outputs, task, class_names=network.class_names, part=chosen, note=why, seed=seed
    )
    if page is not None:
        write_page(page, render_evaluation(found, name))
    return found


def page_path(out: str | Path | None) -> Path | None:
    """Return the file of the page: ``out``, or ``evaluation.html`` in it if it is a directory."""
    path = None if out is None else as_path(out, "out")
    return path / EVALUATION_PAGE if path is not None and is_directory(path) else path


def _recorded(model: Classifier | str | Path) -> str | None:
    """Return the digest of the dataset of a model's run; models of earlier versions have none."""
    if isinstance(model, Classifier):
        return None
    path = expanded(model, "the file of a model")
    run = path if is_directory(path) else path.parent
    tasks = read_config(run).get("tasks") if is_file(run / CONFIG_FILE) else None
    return str(tasks[0]) if isinstance(tasks, list) and len(tasks) == 1 else None


def _known_classes(model: Classifier, task: ImageTask) -> NDArray[np.int64]:
    """Return the model's class of each class of the task.

    Raises:
        ArtifactError: Two of the model's classes have one name.
        TaskError: The model does not know a class.
    """
    places = {name: place for place, name in enumerate(model.class_names)}
    if len(places) < len(model.class_names):
        raise ArtifactError(
            "the model has two classes of one name, so its classes cannot be matched",
            hint="train it again on classes that are named apart",
        )
    unknown = [name for name in task.class_names if name not in places]
    if unknown:
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        listed = ", ".join(sanitize(name, 60) for name in unknown[:_SHOWN]) + more
        close = nearest_names(unknown[0], model.class_names, most=1, least=0.6)
        hint = did_you_mean([repr(name) for name in close]).strip()
        raise TaskError(
            f"{task.name} has {pluralize(len(unknown), 'class')} that the model does not know "
            f"({listed})",
            expected=f"names of its {pluralize(len(places), 'class')}, such as "
            f"{', '.join(sanitize(name, 60) for name in model.class_names[:_SHOWN])}",
            hint=f"{hint} rename the classes of the dataset to those of the model".strip(),
        )
    return np.array([places[name] for name in task.class_names], dtype=np.int64)


def _choose(task: ImageTask, part: PartName | None, digest: str | None) -> tuple[PartName, str]:
    """Return the images to evaluate on, and a note about them as a sentence."""
    own = digest == task.digest
    held_out: PartName = "test" if task.held_out is Part.TEST else "validation"
    chosen = part or (held_out if own else "all")
    if own and chosen in ("train", "all"):
        return chosen, "The model was trained on these images or some of them."
    if own:
        return chosen, "The model was trained on this dataset, but not on these images."
    if digest is None:
        return chosen, "It is not known on which images the model was trained."
    return chosen, "The model was trained on another dataset."


def _indices(task: ImageTask, part: PartName) -> NDArray[np.int64]:
    if part == "all":
        return np.arange(len(task), dtype=np.int64)
    found = task.train_indices if part == "train" else task.indices(Part(part))
    if not len(found):
        raise TaskError(
            f"{task.name} has no {part} part",
            expected=f"one of its parts ({task.part_sizes}), or all",
        )
    return found
