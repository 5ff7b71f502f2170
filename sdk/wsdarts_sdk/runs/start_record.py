"""What a warm start decided and by which ranking, kept in its run as ``decision.json``.

Both are written at once, so a run that goes on starts from what it started from, and its report
shows the neighbours of which the reason speaks. Runs of earlier versions kept the decision alone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import ValidationError, model_validator

from wsdarts_registry._files import exists
from wsdarts_registry._json import Digest, Record, explain
from wsdarts_registry.embedding.ranking import Neighbour, Ranking
from wsdarts_registry.errors import RunError
from wsdarts_sdk.runs.directory import Rows, RunDirectory, Whole, Words, read_json

_FILE = "decision.json"


@dataclass(frozen=True, kw_only=True)
class NeighbourRow:
    """An artifact of the registry and how far its task is from this one."""

    reference: Words
    distance: float
    task: Words
    chosen: bool = False


class _Neighbour(Record):
    reference: Words
    distance: float
    kind: Words
    task_name: Words
    images: Whole
    classes: Whole


class _Ranking(Record):
    neighbours: Annotated[tuple[_Neighbour, ...], Rows]
    threshold: float | None
    near: bool | None
    why: Words


class StartRecord(Record):
    """The content of ``decision.json``.

    Attributes:
        mode: ``topology``, ``trained``, ``meta``, ``union`` or ``cold``.
        sources: Exact references of the artifacts, none for ``cold``.
        why: The rule that decided, in words.
        digests: Digest of each source; none where an earlier version kept the decision.
        ranking: The nearest artifacts when it was decided; None where there was no ranking, or
            an earlier version kept none.
    """

    mode: Words
    sources: Annotated[tuple[Words, ...], Rows]
    why: Words
    digests: Annotated[tuple[Digest, ...], Rows] = ()
    ranking: _Ranking | None = None

    @model_validator(mode="after")
    def _check(self) -> "StartRecord":
        if self.digests and len(self.digests) != len(self.sources):
            raise ValueError(
                f"there are {len(self.digests)} digests for {len(self.sources)} sources"
            )
        return self

    @property
    def neighbours(self) -> Ranking | None:
        """The ranking as the registry gave it."""
        if self.ranking is None:
            return None
        return Ranking(
            neighbours=tuple(Neighbour(**each.model_dump()) for each in self.ranking.neighbours),
            threshold=self.ranking.threshold,
            near=self.ranking.near,
            why=self.ranking.why,
        )


def read_start(path: Path) -> StartRecord | None:
    """Read what a run has decided; None where it has decided nothing yet.

    Args:
        path: The run directory.

    Raises:
        RunError: The file is damaged.
    """
    file = path / _FILE
    if not exists(file):
        return None
    try:
        return StartRecord.model_validate(_with_tuples(read_json(file)))
    except ValidationError as problem:
        raise RunError(f"{file} is not valid: {explain(problem)}") from problem


def write_start(
    run: RunDirectory,
    *,
    mode: str,
    sources: tuple[str, ...],
    why: str,
    digests: tuple[str, ...],
    ranking: Ranking | None,
) -> None:
    """Keep a decision with the ranking that it was made by."""
    run.write_json(
        _FILE,
        {
            "mode": mode,
            "sources": list(sources),
            "why": why,
            "digests": list(digests),
            "ranking": None if ranking is None else _ranking_data(ranking),
        },
    )


def neighbour_rows(ranking: Ranking | None, sources: tuple[str, ...]) -> tuple[NeighbourRow, ...]:
    """Return the rows that a report shows of a ranking."""
    return tuple(
        NeighbourRow(
            reference=neighbour.reference,
            distance=neighbour.distance,
            task=neighbour.task_name,
            chosen=neighbour.reference in sources,
        )
        for neighbour in (ranking.neighbours if ranking else ())
    )


def _ranking_data(ranking: Ranking) -> dict[str, Any]:
    names = tuple(_Neighbour.model_fields)
    return {
        "neighbours": [{name: getattr(n, name) for name in names} for n in ranking.neighbours],
        "threshold": ranking.threshold,
        "near": ranking.near,
        "why": ranking.why,
    }


def _with_tuples(data: Any) -> Any:
    """JSON data whose lists are tuples, as strict models take them."""
    if isinstance(data, dict):
        return {key: _with_tuples(value) for key, value in data.items()}
    return tuple(map(_with_tuples, data)) if isinstance(data, list) else data
