"""Training of a found architecture, in a run directory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsdarts_registry.amounts import several, share
from wsdarts_registry.genotype import Genotype
from wsdarts_registry.inert import spaced_text
from wsdarts_registry.signature_policy import Required
from wsdarts_registry.store import Store
from wsdarts_sdk.devices import find_device
from wsdarts_sdk.jobs.inputs import Data, load_task
from wsdarts_sdk.jobs.job import Job, open_job
from wsdarts_sdk.jobs.training_report import write_training_report
from wsdarts_sdk.network.classifier import MODEL_FILE, Classifier
from wsdarts_sdk.network.loading import GENOTYPE_FILE, find_genotype
from wsdarts_sdk.network.training import TrainingResult, train_network
from wsdarts_sdk.presets import Preset, find_preset
from wsdarts_sdk.progress import Progress, shown
from wsdarts_sdk.search.settings import settings_json


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """A finished training.

    Attributes:
        model: The trained classifier, a ``torch.nn.Module`` in eval mode.
        accuracy: Share of the validation third that it labels right.
        result: Everything that the training measured.
        path: The run directory.
        model_file: The model as safetensors; ``Classifier.load`` reads it.
        report: The report, one HTML file.
    """

    model: Classifier
    accuracy: float
    result: TrainingResult
    path: Path
    model_file: Path
    report: Path

    def __repr__(self) -> str:
        accuracy = f"{share(self.accuracy)} of {several(self.result.images, 'held-out image')}"
        return f"<TrainingRun: {accuracy}, in {spaced_text(str(self.path))}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from wsdarts_sdk.jobs.notebook import training_view  # noqa: PLC0415 - only to be shown

        return training_view(self)


def train(
    genotype: Genotype | str | Path,
    data: Data,
    *,
    registry: str | Path | Store | None = None,
    out: str | Path | None = None,
    preset: str | Preset = "small",
    seed: int | None = None,
    resume: bool = False,
    require_signature: Required = None,
    device: str | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> TrainingRun:
    """Train a genotype's network on the train part and evaluate it on the validation third.

    Args:
        genotype: A genotype, or what names one, in any form that ``load_network`` takes.
        data: The dataset, in any of the forms of ``ImageTask.load``, or an ``ImageTask``.
        registry: Where a reference is looked up; the shipped zoo by default.
        out: The run directory; the first free ``runs/train-NAME-N`` by default.
        preset: Whose training settings to use.
        seed: Seed of everything random; the preset's by default.
        resume: Go on with the training in ``out``, or begin if there is none.
        require_signature: Whose signature the artifact of a reference needs, as for
            ``load_network``.
        device: ``"cpu"`` or ``"cuda"``; CUDA by default where there is one.
        progress: Told what is done and how much is left; lines on stderr by default.
        options: For ``ImageTask.load``: ``image_column``, ``skip_corrupt``, …

    Raises:
        WsdartsError: Genotype, data, settings or run directory do not fit.
    """
    cells = find_genotype(genotype, registry=registry, require_signature=require_signature)
    chosen = find_preset(preset, seed=seed)
    where = find_device(device)
    progress = shown(progress)
    task = load_task(data, progress=progress, **options)
    with open_job(
        "train",
        [task],
        chosen,
        out=out,
        resume=resume,
        device=where,
        progress=progress,
        training=settings_json(chosen.training),
        genotype=cells.to_json(),
    ) as job:
        return _train(job, cells)


def _train(job: Job, genotype: Genotype) -> TrainingRun:
    run = job.run
    result = train_network(
        genotype,
        job.tasks[0],
        job.preset.training,
        journal=run.journal("training"),
        progress=job.progress,
        device=job.device,
    )
    job.costs.record("training", result.seconds)
    genotype.save(run.path / GENOTYPE_FILE)
    model_file = result.model.save(run.path / MODEL_FILE)
    figures = ("accuracy", "loss", "images", "held_out", "parameters", "seconds")
    run.write_json("result.json", {name: getattr(result, name) for name in figures})
    return TrainingRun(
        model=result.model,
        accuracy=result.accuracy,
        result=result,
        path=run.path,
        model_file=model_file,
        report=write_training_report(job, result),
    )
