"""Training of a genotype's network, in a run directory with a report."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Unpack

import torch

from wsdarts_registry._format import percent, pluralize
from wsdarts_registry._json import now
from wsdarts_registry._text import sanitize, sanitize_spaced
from wsdarts_registry._views import Viewable
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.search_verdicts import find_collapses
from wsdarts_registry.errors import SettingsError
from wsdarts_registry.publishing.training_record import link_training
from wsdarts_registry.stores.signature_policy import Required
from wsdarts_registry.stores.store import Store
from wsdarts_sdk.artifacts.loading import (
    find_genotype,
    find_lineage,
    find_supernet,
    source_run,
)
from wsdarts_sdk.data.options import DataOptions
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.distributed import joined_ranks
from wsdarts_sdk.models.classifier import Classifier
from wsdarts_sdk.models.evaluation import Outputs, as_probabilities, evaluate_outputs
from wsdarts_sdk.models.facts import (
    DataFacts,
    InheritedFacts,
    LineageFacts,
    ModelFacts,
    facts_of_run,
)
from wsdarts_sdk.models.inheritance import SupernetWeights, check_inheritable
from wsdarts_sdk.models.network import count
from wsdarts_sdk.models.training import TrainingResult, train_network
from wsdarts_sdk.models.training_choices import VALIDATION_PART
from wsdarts_sdk.models.training_loop import ENDED_FACT, EPOCHS_FACT
from wsdarts_sdk.pipelines.baselines import LINEAR, Measure, Measured, find_baseline
from wsdarts_sdk.pipelines.run_context import (
    Data,
    RunContext,
    check_context,
    checks_keywords,
    load_task,
    open_context,
)
from wsdarts_sdk.presets import Preset, find_preset
from wsdarts_sdk.progress import Progress, session_began, shown
from wsdarts_sdk.reports.facts import TrainingFacts
from wsdarts_sdk.reports.report_files import add_training
from wsdarts_sdk.reports.rows import (
    TITLES,
    held_out_words,
    roll_back_warnings,
    training_epochs,
)
from wsdarts_sdk.runs.callbacks import Callback, Callbacks
from wsdarts_sdk.runs.checkpoints import Checkpoint
from wsdarts_sdk.runs.directory import (
    CHECKPOINT_SUFFIX,
    GENOTYPE_FILE,
    MODEL_FILE,
    RESULT_FILE,
    TRAINING_JOURNAL,
)
from wsdarts_sdk.runs.result_records import Baseline, Evaluation
from wsdarts_sdk.search.settings import settings_json
from wsdarts_sdk.supernet.kernel_choice import check_kernels

_LONGEST_NAME = 200


@dataclass(frozen=True, kw_only=True)
class TrainingRun(Viewable):
    """A finished training.

    Attributes:
        model: The trained classifier, a ``torch.nn.Module`` in eval mode.
        accuracy: Share of the validation third that it labels right.
        result: Everything that the training measured.
        path: The run directory.
        model_file: The model as safetensors; ``Classifier.load`` reads it.
        report: The report, one HTML file.
        evaluation: Scores by class, confusions, calibration and intervals on the held-out images.
        baseline: What a simpler classifier does on the same images; None if it was left out.
        seconds: Wall time by phase, with the rest as ``other``: together the clock's total.
        cached: What computing had cost what came from a cache, by phase; no part of ``seconds``.
        devices: How many processes trained together, each on a device of its own.
    """

    model: Classifier
    accuracy: float
    result: TrainingResult
    path: Path
    model_file: Path
    report: Path
    evaluation: Evaluation
    baseline: Baseline | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    cached: dict[str, float] = field(default_factory=dict)
    devices: int = 1

    def __repr__(self) -> str:
        accuracy = f"{percent(self.accuracy)} of {pluralize(self.result.images, 'held-out image')}"
        return f"<TrainingRun: {accuracy}, in {sanitize_spaced(str(self.path))}>"

    def to_json(self) -> dict[str, Any]:
        """Return figures, evaluation, baseline and paths as plain JSON data."""
        result = self.result
        return {
            "accuracy": self.accuracy,
            "baseline": None if self.baseline is None else self.baseline.to_json(),
            "path": str(self.path),
            "model": str(self.model_file),
            "report": str(self.report),
            "images": result.images,
            "held_out": result.held_out,
            "loss": result.loss,
            "parameters": result.parameters,
            "epochs": len(result.rows),
            "best": None if result.best is None else asdict(result.best),
            "schedules": list(result.schedules),
            "inherited": _inherited_json(result),
            "collapses": [each.to_json() for each in find_collapses(result.genotype)],
            "evaluation": self.evaluation.to_json(),
            "seconds": self.seconds,
            "cached": self.cached,
            "devices": self.devices,
        }


@checks_keywords("train", settings=("training",))
def train(
    genotype: Genotype | str | Path,
    data: Data,
    *,
    registry: str | Path | Store | None = None,
    out: str | Path | None = None,
    preset: str | Preset = "small",
    seed: int | None = None,
    resume: bool = False,
    baseline: str | None = LINEAR,
    require_signature: Required = None,
    device: str | None = None,
    progress: Progress | None = None,
    callbacks: Sequence[Callback] = (),
    **reading: Unpack[DataOptions],
) -> TrainingRun:
    """Train a genotype's network on the train part and evaluate it on the validation third.

    Args:
        genotype: A genotype, or what names one, in any form that ``load_network`` takes.
        data: The dataset, in any of the forms of ``ImageTask.load``, or an ``ImageTask``.
        registry: Where a reference is looked up; the shipped zoo by default.
        out: The run directory; the first free ``runs/train-NAME-N`` by default.
        preset: Whose training settings to use.
        seed: Seed of everything random; the preset's by default.
        resume: Go on with the training in ``out``, or begin if there is none. One that is finished
            goes on where the preset has more epochs and is the same otherwise: learning rate and
            drop path begin their schedule anew, over the additional epochs.
        baseline: What is measured on the same held-out images, to judge the network by:
            ``"linear"``, a linear classifier on the shipped probe's features, ``"linear:PROBE"``
            on those of another probe, in any form that ``load_probe`` takes, or None.
            ``"timm:SOURCE"`` fine-tunes a network of timm from pretrained weights, whose source
            has these forms, too, with as many steps of as many images as the training: its
            images are as large as the training's, or as ``?size=PIXELS`` behind the source says.
        require_signature: Whose signature the artifact of a reference needs, as for
            ``load_network``.
        device: ``"cpu"`` or ``"cuda"``; CUDA by default where there is one. Of several processes
            that ``torchrun`` started, each takes the GPU of its number.
        progress: Told what is done and how much is left; lines on stderr by default.
        callbacks: Told when it begins, what each epoch measured, and the result; see ``Callback``.
        reading: Options of reading the dataset, see ``DataOptions``.

    Raises:
        WsdartsError: Genotype, data, settings or run directory do not fit.
    """
    told = Callbacks.of(callbacks)
    began = session_began()
    with joined_ranks(device) as (ranks, where):
        asked = find_preset(preset, seed=seed)
        check_kernels(where)
        beside = find_baseline(baseline, asked.training, where) if ranks.is_first else None

        def prepare() -> tuple[Preset, Genotype, SupernetWeights | None, LineageFacts | None]:
            required = require_signature
            cells = find_genotype(genotype, registry=registry, require_signature=required)
            lineage = find_lineage(genotype, registry=registry, require_signature=required)
            chosen, supernet = _with_weights(genotype, cells, asked, registry, required)
            check_context(
                "train",
                [data],
                chosen,
                out=out,
                resume=resume,
                may_change=_has_more_epochs,
                **_config(chosen, cells),
            )
            return chosen, cells, supernet, lineage

        chosen, cells, supernet, lineage = ranks.alone(prepare)
        progress = ranks.shown_by_first(shown(progress))
        task = ranks.in_turn(lambda: load_task(data, reading, progress=progress))
        with open_context(
            "train",
            [task],
            chosen,
            out=out,
            resume=resume,
            device=where,
            progress=progress,
            began=began,
            callbacks=told,
            may_change=_has_more_epochs,
            ranks=ranks,
            **_config(chosen, cells),
        ) as context:
            measure = None if beside is None else beside.measure
            found = _train(context, cells, source_run(genotype), supernet, measure, lineage)
        if ranks.is_first:
            told.end(found)
    return found


def _config(preset: Preset, cells: Genotype) -> dict[str, Any]:
    return {"training": settings_json(preset.training), "genotype": cells.to_json()}


def _with_weights(
    genotype: Genotype | str | Path,
    cells: Genotype,
    preset: Preset,
    registry: str | Path | Store | None,
    require_signature: Required,
) -> tuple[Preset, SupernetWeights | None]:
    """Return the preset with ``auto`` decided, and the supernet whose weights are taken over.

    Raises:
        WsdartsError: There is none, or it does not fit, and ``inherited`` asks for it; or it is
            damaged, or not signed as is required.
    """
    settings = preset.training
    if settings.weights == "random":
        return preset, None
    try:
        found = find_supernet(genotype, registry=registry, require_signature=require_signature)
        check_inheritable(cells, found, channels=settings.channels)
    except SettingsError:
        if settings.weights == "inherited":
            raise
        return preset.with_training(weights="random"), None
    return preset.with_training(weights="inherited"), found


def _has_more_epochs(path: Path, there: dict[str, Any], here: dict[str, Any]) -> bool:
    """Return whether a run is a finished training, and more epochs are all that is asked anew.

    Args:
        path: The run directory.
        there: The configuration that it has, all of it or the part that is known.
        here: The one that is asked for.
    """
    was, now = there.get("training"), here.get("training")
    if not isinstance(was, dict) or not isinstance(now, dict):
        return False
    before, epochs = was.get("epochs"), now.get("epochs")
    if not isinstance(before, int) or not isinstance(epochs, int) or epochs <= before:
        return False
    if {**there, "training": {**was, "epochs": epochs}} != here:
        return False
    facts = Checkpoint.facts_of(path / f"{TRAINING_JOURNAL}{CHECKPOINT_SUFFIX}")
    return facts.get(EPOCHS_FACT) == before and facts.get(ENDED_FACT) is True


def _train(
    context: RunContext,
    genotype: Genotype,
    made_from: Path | None,
    supernet: SupernetWeights | None,
    measure: Measure | None,
    lineage: LineageFacts | None,
) -> TrainingRun:
    task, ranks = context.tasks[0], context.ranks
    measured = None
    if measure is not None:
        with context.costs.phase("baseline"):
            measured = measure(context)
    result = train_network(
        genotype,
        task,
        context.preset.training,
        supernet=supernet,
        journal=context.journal(TRAINING_JOURNAL),
        progress=context.progress,
        device=context.device,
        ranks=ranks,
    )
    context.costs.record("training", result.seconds)
    written = ranks.alone(lambda: _write(context, genotype, made_from, measured, lineage, result))
    result.model.facts = written.facts
    return TrainingRun(
        model=result.model,
        accuracy=result.accuracy,
        result=result,
        path=context.run.path,
        model_file=written.model_file,
        report=written.report,
        evaluation=written.evaluation,
        baseline=written.baseline,
        seconds=written.seconds,
        cached=written.cached,
        devices=ranks.size,
    )


@dataclass(frozen=True, kw_only=True)
class _Written:
    """Results that rank 0 has written of a training; the fields are those of ``TrainingRun``."""

    facts: ModelFacts | None
    model_file: Path
    report: Path
    evaluation: Evaluation
    baseline: Baseline | None
    seconds: dict[str, float]
    cached: dict[str, float]


def _write(
    context: RunContext,
    genotype: Genotype,
    made_from: Path | None,
    measured: Measured | None,
    lineage: LineageFacts | None,
    result: TrainingResult,
) -> _Written:
    """Evaluate a finished training and write its results into its run directory."""
    run, task = context.run, context.tasks[0]
    genotype.save(run.path / GENOTYPE_FILE)
    result.model.facts = _model_facts(context, result, lineage)
    model_file = result.model.save(run.path / MODEL_FILE)
    with context.costs.phase("evaluation"):
        outputs = _outputs(result, task)
        evaluation = _evaluate(outputs, task, context.preset.training.seed)
        baseline = None if measured is None else measured.beside(result, outputs.right)
    finished = (run.read_json(RESULT_FILE) or {}).get("finished") or now()
    found = _result_json(result, evaluation, baseline)
    run.write_json(RESULT_FILE, {**found, "finished": finished})
    if made_from is not None:
        link_training(made_from, run.path)
    result.model.facts = facts_of_run(run.path, result.model.facts)
    context.costs.finish()
    report = _write_report(context, result, evaluation, baseline)
    if made_from is not None:
        add_training(made_from)
    return _Written(
        facts=result.model.facts,
        model_file=model_file,
        report=report,
        evaluation=evaluation,
        baseline=baseline,
        seconds=context.costs.seconds,
        cached=context.costs.cached,
    )


def _model_facts(
    context: RunContext, result: TrainingResult, lineage: LineageFacts | None
) -> ModelFacts:
    """Return the facts about a model at the end of its training.

    Nothing in it is a path, or depends on when and how fast it was trained.

    Args:
        context: The pipeline that trained it.
        result: What it measured.
        lineage: What found the cells.
    """
    (task,), settings = context.tasks, context.preset.training
    inherited = None
    if result.inherited is not None:
        named = None if lineage is None else lineage.reference or lineage.digest
        share = result.inherited.weights
        inherited = InheritedFacts(source=named or "a supernet", share=share)
    return ModelFacts(
        accuracy=result.accuracy,
        images=result.images,
        held_out=result.held_out,
        parameters=result.parameters,
        multiply_adds=count(result.model, result.model.image_size).multiply_adds or None,
        epochs=settings.epochs or None,
        preset=context.preset.name,
        seed=settings.seed,
        data=DataFacts(
            name=sanitize(task.name, _LONGEST_NAME) or "data",
            digest=task.digest,
            images=len(task),
            classes=task.classes,
            trained_on=len(task.train_indices),
            dataset=task.dataset,
            given_split=bool(task.given_split),
            groups=task.group_count,
        ),
        lineage=lineage,
        inherited=inherited,
    )


def _result_json(
    result: TrainingResult, evaluation: Evaluation, baseline: Baseline | None
) -> dict[str, Any]:
    """Return plain JSON data of a finished training, for its run directory."""
    figures = ("accuracy", "loss", "images", "held_out", "parameters", "seconds")
    found = {name: getattr(result, name) for name in figures}
    if result.inherited is not None:
        found["inherited"] = _inherited_json(result)
    if result.best is not None:
        found["best"] = asdict(result.best)
    if len(result.schedules) > 1:
        found["schedules"] = list(result.schedules)
    found["evaluation"] = evaluation.to_json()
    found["baseline"] = None if baseline is None else baseline.to_json()
    return found


def _inherited_json(result: TrainingResult) -> dict[str, Any] | None:
    if result.inherited is None:
        return None
    return {"source": result.inherited.source, "share": result.inherited.weights}


def _outputs(result: TrainingResult, task: ImageTask) -> Outputs:
    held_out = task.indices(task.held_out)
    return Outputs(
        indices=held_out,
        probabilities=as_probabilities(result.logits),
        truth=torch.from_numpy(task.labels[held_out]),
    )


def _evaluate(outputs: Outputs, task: ImageTask, seed: int) -> Evaluation:
    return evaluate_outputs(
        outputs,
        task,
        class_names=task.class_names,
        part="test" if task.held_out is Part.TEST else "validation",
        note="The network was trained on this dataset, but not on these images.",
        seed=seed,
    )


def _write_report(
    context: RunContext,
    result: TrainingResult,
    evaluation: Evaluation,
    baseline: Baseline | None,
) -> Path:
    (task,), settings = context.tasks, context.preset.training
    return context.report(
        TITLES["train"],
        settings,
        summary=_summary(task, result),
        warnings=roll_back_warnings(result.rows, "training"),
        genotype=result.genotype,
        training=TrainingFacts(
            accuracy=result.accuracy,
            parameters=result.parameters,
            seconds=result.seconds,
            epochs=training_epochs(result.rows),
            note="One training with one seed; another seed gives another figure.",
            held_out=held_out_words(task),
        ),
        evaluation=evaluation,
        baseline=baseline,
    )


def _summary(task: ImageTask, result: TrainingResult) -> str:
    """Return what was done, in sentences."""
    best, images = result.best, len(task.train_indices)
    if best is not None and best.judged_on != VALIDATION_PART:
        images -= best.images
    first = (
        f"The derived network was trained {_beginning(result)} for "
        f"{pluralize(len(result.rows), 'epoch')} on {pluralize(images, 'image')} and evaluated "
        f"once, at the end, on {pluralize(result.images, 'image')} that nothing had seen."
    )
    sentences = [first]
    if best is not None:
        sentences.append(
            f"It has the weights of epoch {best.epoch}, which was the best by the "
            f"{pluralize(best.images, 'image')} of the {best.judged_on}, which did not train: "
            f"{percent(best.accuracy)}."
        )
    sentences += [
        f"After {pluralize(start, 'epoch')} it was finished and went on: learning rate and drop "
        "path began their schedule anew."
        for start in result.schedules[1:]
    ]
    return " ".join(sentences)


def _beginning(result: TrainingResult) -> str:
    """Return where the weights of a training began, in words."""
    if result.inherited is None:
        return "from scratch"
    share = percent(result.inherited.weights)
    return f"from the weights of {result.inherited.source} ({share} of its own)"
