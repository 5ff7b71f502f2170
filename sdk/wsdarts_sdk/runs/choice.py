"""Records of the choice of a genotype at the end of a search, ``choice.json``.

The file is written after each training of a candidate, so that a choice that was stopped goes on.
``report.json`` and ``result.json`` of the run hold the finished choice.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, ValidationError, model_validator

from wsdarts_registry._files import exists
from wsdarts_registry._format import percent, pluralize
from wsdarts_registry._json import Record, explain
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.search_verdicts import ChanceTest, candidate_metrics
from wsdarts_registry.errors import RunError
from wsdarts_sdk.runs.directory import CHOICE_FILE, RunDirectory, Whole, Words, read_json

_Share = Annotated[float, Field(ge=0, le=1)]
_MOST = 1000


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
    accuracies: tuple[_Share, ...] = ()
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
