"""Records of results: the choice of a genotype, the evaluation of its network, its baseline.

``choice.json`` is written after each training of a candidate, so that a choice that was stopped
goes on; ``report.json`` and ``result.json`` of a search hold the finished choice. Those of a
training hold evaluation and baseline, the report with pictures of the worst mistakes; runs of
earlier versions have neither.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue, ValidationError, model_validator

from wsdarts_registry._files import exists
from wsdarts_registry._format import percent, pluralize
from wsdarts_registry._json import Record, explain
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.search_verdicts import ChanceTest, candidate_metrics
from wsdarts_registry.errors import RunError
from wsdarts_sdk.runs.directory import (
    CHOICE_FILE,
    Rows,
    RunDirectory,
    Seconds,
    Whole,
    Words,
    read_json,
)

Share = Annotated[float, Field(ge=0, le=1)]
_Difference = Annotated[float, Field(ge=-1, le=1)]
_Picture = Annotated[str, Field(max_length=40_000, pattern=r"^[A-Za-z0-9+/]*={0,2}$")]
_MOST_CLASSES = 100_000
_MOST = 1000  # candidates of a choice, or trainings of each


class Candidate(Record):
    """A genotype that was a candidate.

    Attributes:
        genotype: Its cells, as ``Genotype.to_json`` writes them.
        log_probability: Natural logarithm of the probability of drawing it from α.
        parameters: Of the network of the preset's training.
        multiply_adds: Of that network, for one image.
        accuracies: After each of its trainings, on the images that judged.
        losses: Mean cross-entropies on them.
    """

    genotype: dict[str, JsonValue]
    log_probability: float
    parameters: Whole
    multiply_adds: Whole
    accuracies: tuple[Share, ...] = ()
    losses: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> "Candidate":
        if len(self.accuracies) != len(self.losses):
            raise ValueError("a candidate has other numbers of accuracies and of losses")
        return self

    @property
    def cells(self) -> Genotype:
        """Its cells."""
        return Genotype.from_json(self.genotype)


class GenotypeChoice(Record):
    """The choice of a genotype, with its candidates.

    Attributes:
        candidates: In the order in which they were drawn, α's own genotype first if it was within
            the limits.
        chosen: Place of the chosen one among them; None before the end.
        own: Whether the first one is α's own genotype.
        steps: Steps of training before each accuracy; none where α decided within the limits.
        judged_on: Which images judged: ``α half``, or ``validation part`` beside a test part.
        images: Number of them.
        image_size: Pixels a side of the image that multiply-adds are counted for.
        limits: The limits that candidates had to keep, by name.
        test: Whether the chosen one is better than chance; None where that was not tested.
    """

    candidates: Annotated[tuple[Candidate, ...], Field(min_length=1, max_length=_MOST)]
    chosen: Whole | None
    own: bool
    steps: Annotated[tuple[Whole, ...], Field(max_length=_MOST)]
    judged_on: Words
    images: Whole
    image_size: Whole
    limits: dict[Words, Whole]
    test: ChanceTest | None = None

    @model_validator(mode="after")
    def _check(self) -> "GenotypeChoice":
        if self.chosen is not None and self.chosen >= len(self.candidates):
            raise ValueError(f"candidate {self.chosen} of {len(self.candidates)}")
        if any(len(each.accuracies) > len(self.steps) for each in self.candidates):
            raise ValueError("a candidate has more accuracies than there were trainings")
        if self.chosen is not None and len(self.best.accuracies) != len(self.steps):
            raise ValueError("the chosen candidate has not had all trainings")
        return self

    def __repr__(self) -> str:
        return f"<GenotypeChoice: {self.summary}>"

    def __str__(self) -> str:
        return self.summary

    @property
    def best(self) -> Candidate:
        """The chosen candidate."""
        return self.candidates[self.chosen or 0]

    @property
    def summary(self) -> str:
        """The chosen candidate and the number of candidates, as a sentence."""
        best, others = self.best, pluralize(len(self.candidates), "candidate")
        limits = " and ".join(f"{name} {value:,}" for name, value in self.limits.items())
        within = f" within {limits}" if limits else ""
        if self.chosen is None:
            return f"The choice among {others} has not ended."
        if not self.steps:
            what = "α's own genotype" if self.own else "the likeliest genotype under α"
            return f"α decided: {what}{within}."
        what = f"Candidate {self.chosen + 1} of {others}{within}"
        which = ", which is α's own genotype," if self.own and self.chosen == 0 else ""
        return (
            f"{what}{which} was chosen: {percent(best.accuracies[-1])} of "
            f"{pluralize(self.images, 'image')} of the {self.judged_on} after "
            f"{pluralize(self.steps[-1], 'step')} from the supernet's weights."
        )

    @property
    def warning(self) -> str | None:
        """The test's sentence where the choice is no better than chance."""
        return str(self.test) if self.test is not None and not self.test.is_better else None

    @property
    def metrics(self) -> dict[str, int | float]:
        """The metrics by which an artifact keeps it."""
        if self.test is not None:
            return self.test.to_metrics()
        return candidate_metrics(len(self.candidates))

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain JSON data, with its sentences."""
        said = {"summary": self.summary, "verdict": None if self.test is None else str(self.test)}
        return {**self.model_dump(mode="json"), **said}


class ChoiceFile(Record):
    """The content of ``choice.json``: the choice so far, and what was asked for."""

    format: Literal[1]
    asked: dict[str, JsonValue]
    choice: GenotypeChoice


def read_choice(path: Path) -> ChoiceFile | None:
    """Read the choice of a run as far as it is; None where none has begun.

    Args:
        path: The run directory.

    Raises:
        RunError: The file is damaged.
    """
    file = path / CHOICE_FILE
    if not exists(file):
        return None
    try:
        return ChoiceFile.model_validate_json(json.dumps(read_json(file)))
    except ValidationError as problem:
        raise RunError(
            f"{file} is not valid: {explain(problem)}",
            hint="delete it to make the choice again",
        ) from problem


def write_choice(run: RunDirectory, asked: dict[str, Any], choice: GenotypeChoice) -> None:
    """Write the choice so far."""
    file = ChoiceFile(format=1, asked=asked, choice=choice)
    run.write_json(CHOICE_FILE, file.model_dump(mode="json"))


class Interval(Record):
    """A measured share with its 95 % interval.

    Attributes:
        value: The share, of all images.
        low: 2.5th percentile over bootstrap samples of the images.
        high: 97.5th percentile.
    """

    value: _Difference
    low: _Difference
    high: _Difference

    def __str__(self) -> str:
        return f"{percent(self.value)} ({percent(self.low)} to {percent(self.high)})"


class ClassScores(Record):
    """Scores of one class.

    Attributes:
        name: Name of the class.
        precision: Share of the images labelled so that are of the class; None where none is.
        recall: Share of the class's images that are labelled so; None where it has no image.
        f1: Harmonic mean of both; None where it has no image and none is labelled so.
        images: Number of images of the class.
    """

    name: Words
    precision: Share | None
    recall: Share | None
    f1: Share | None
    images: Whole


class Mistake(Record):
    """An image that is labelled wrong.

    Attributes:
        image: Its path, or its place in the dataset.
        truth: Its class, as an index into the classes.
        predicted: The class that the network gives.
        probability: Probability that the network gives to that class.
        picture: The image at 96×96 pixels, JPEG in base64; empty where it is not kept.
    """

    image: Words
    truth: Whole
    predicted: Whole
    probability: Share
    picture: _Picture = ""


class Evaluation(Record):
    """Evaluation of a trained network on images that it was not trained on.

    Attributes:
        dataset: Name of the dataset.
        digest: Digest of the dataset.
        part: Which images it were: ``validation``, ``test``, ``train`` or ``all``.
        images: Number of them.
        accuracy: Share of the images that are labelled right.
        top_5: Share whose class is among the five most probable; None for five classes or fewer.
        balanced_accuracy: Mean recall of the classes that have images.
        macro_f1: Mean F1 of the classes that have images or are predicted.
        calibration_error: Expected calibration error: mean difference between probability and
            accuracy over 15 equal bins of the probability, weighted by images.
        classes: Scores of each class, in the order of the network's classes.
        confusion: Number of images by true and predicted class, both as indices into the
            classes, as ``(true, predicted, images)``; what is 0 is left out.
        mistakes: The most confident wrong labels, the most probable first.
        note: What is known of these images and the model's training, as a sentence.
    """

    dataset: Words
    digest: Words
    part: Literal["validation", "test", "train", "all"]
    images: Whole
    accuracy: Interval
    top_5: Interval | None
    balanced_accuracy: Interval
    macro_f1: Interval
    calibration_error: Interval
    classes: Annotated[tuple[ClassScores, ...], Field(max_length=_MOST_CLASSES)]
    confusion: tuple[tuple[Whole, Whole, Whole], ...]
    mistakes: Annotated[tuple[Mistake, ...], Rows] = ()
    note: Words = ""

    @model_validator(mode="after")
    def _check(self) -> "Evaluation":
        places = [place for true, predicted, _ in self.confusion for place in (true, predicted)]
        places += [place for m in self.mistakes for place in (m.truth, m.predicted)]
        if max(places, default=-1) >= len(self.classes):
            raise ValueError(f"class {max(places)} of {len(self.classes)} classes")
        return self

    def __repr__(self) -> str:
        what = f"{percent(self.accuracy.value)} of {pluralize(self.images, 'image')}"
        return f"<Evaluation: {what} of {self.dataset} ({self.part}) right>"

    def __str__(self) -> str:
        return repr(self)

    @property
    def confusion_matrix(self) -> NDArray[np.int64]:
        """Number of images by true class (row) and predicted class, ``(classes, classes)``."""
        matrix = np.zeros((len(self.classes), len(self.classes)), dtype=np.int64)
        for true, predicted, images in self.confusion:
            matrix[true, predicted] = images
        return matrix

    @property
    def figures(self) -> dict[str, Interval]:
        """The figures over all classes by name; those that are not defined are left out."""
        named = {
            "accuracy": self.accuracy,
            "top-5 accuracy": self.top_5,
            "balanced accuracy": self.balanced_accuracy,
            "macro F1": self.macro_f1,
            "calibration error": self.calibration_error,
        }
        return {name: value for name, value in named.items() if value is not None}

    def worst_classes(self, most: int) -> tuple[ClassScores, ...]:
        """Return the classes of the lowest recall, the lowest first."""
        found = [scores for scores in self.classes if scores.recall is not None]
        return tuple(sorted(found, key=lambda scores: scores.recall or 0.0)[:most])

    def confused_pairs(self, most: int) -> tuple[tuple[str, str, int], ...]:
        """Return the most frequent mistakes: true class, predicted class, images."""
        wrong = [entry for entry in self.confusion if entry[0] != entry[1]]
        wrong.sort(key=lambda entry: -entry[2])
        return tuple(
            (self.classes[true].name, self.classes[predicted].name, images)
            for true, predicted, images in wrong[:most]
        )

    def to_json(self) -> dict[str, Any]:
        """Return all of it but the pictures as plain JSON data."""
        without = {"mistakes": {"__all__": {"picture"}}}
        return self.model_dump(mode="json", exclude=without)


class Baseline(Record):
    """A simpler classifier on the same images, to compare a network with.

    Attributes:
        name: What it is, such as ``linear classifier on the features of wsdarts-resnet10t``.
        kind: ``linear``, or ``timm`` for a fine-tuned network of timm.
        accuracy: Share of the held-out images that it labels right.
        difference: The network's accuracy less that of the baseline, on the same images.
        parameters: Parameters of all of it, with the network that makes the features.
        multiply_adds: Its multiply-adds for one image.
        image_size: Pixels a side of that image.
        network_parameters: The same of the network that it is compared with.
        network_multiply_adds: The same of the network that it is compared with.
        network_image_size: The same of the network that it is compared with.
        chosen: How its settings were chosen, as a sentence.
        trained_on: What is known about the images that its weights come from, as a sentence.
        seconds: Wall time of computing it.
    """

    name: Words
    kind: Literal["linear", "timm"]
    accuracy: Interval
    difference: Interval
    parameters: Whole
    multiply_adds: Whole
    image_size: Whole
    network_parameters: Whole
    network_multiply_adds: Whole
    network_image_size: Whole
    chosen: Words
    trained_on: Words
    seconds: Seconds

    def __str__(self) -> str:
        return f"{self.name}: {self.accuracy}"

    @property
    def verdict(self) -> str:
        """The comparison with the network, as a sentence."""
        points = f"{100 * abs(self.difference.value):.1f} points"
        within = self.difference.low <= 0 <= self.difference.high
        unsure = ", which may be chance with so few images" if within else ""
        if self.difference.value < 0:
            return (
                f"A {self.name} labels {percent(self.accuracy.value)} of the same images right, "
                f"{points} more than this network{unsure}."
            )
        if self.difference.value == 0:
            return f"This network labels as many images right as a {self.name}."
        return f"This network is {points} better than a {self.name}{unsure}."

    @property
    def short_name(self) -> str:
        """A short name of it."""
        return "linear classifier" if self.kind == "linear" else self.name

    @property
    def is_better(self) -> bool:
        """Whether it labels more images right than the network."""
        return self.difference.value < 0

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain JSON data, with the verdict."""
        return {**self.model_dump(mode="json"), "verdict": self.verdict}
