"""Task embeddings: the Fisher information of a probe network on a task, as one vector.

An embedding is the diagonal of a probe's Fisher information, one non-negative number a
filter. Its space says which probe made it and how; only embeddings of one space compare.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry import _tensors
from wsdarts_registry._files import as_path, read_regular, write_atomically
from wsdarts_registry._format import pluralize
from wsdarts_registry._libraries import UPDATE
from wsdarts_registry._text import is_plain_line, sanitize
from wsdarts_registry.embedding.embedding_space import (
    MAX_INTEGER,
    MAX_NAME,
    EmbeddingSpace,
    check_digest,
)
from wsdarts_registry.errors import EmbeddingError, FileAccessError

__all__ = [
    "EmbeddingSpace",
    "TaskEmbedding",
    "check_comparable",
    "mean_task_digest",
    "relative_error",
]

_FORMAT = 1
_TENSOR = "fisher"
_ERROR_TENSOR = "standard_error"
_MAX_FILTERS = 1_000_000
_MAX_FILE = 8 * _MAX_FILTERS + 65_536


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskEmbedding:
    """The embedding of one task, or the mean of several.

    Attributes:
        space: Probe and estimator that made it.
        values: Fisher information, one number a filter, shape ``(filters,)``, finite, >= 0,
            not all zero; read-only.
        task_digest: ``"sha256:…"`` of the task; see ``mean_task_digest`` for a mean.
        task_name: Name of the task, for people.
        images: How many images were embedded.
        classes: How many classes they have.
        standard_error: Standard error of each value, in its units and apart from a factor common
            to all, which no distance sees; shape ``(filters,)``, finite, >= 0, read-only. None
            where it is not known.

    Raises:
        EmbeddingError: A field does not hold what is said here.
    """

    space: EmbeddingSpace
    values: NDArray[np.float64]
    task_digest: str
    task_name: str
    images: int
    classes: int
    standard_error: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        check_digest("task", self.task_digest)
        if not is_plain_line(self.task_name, MAX_NAME):
            raise EmbeddingError(
                "the task's name",
                found=f"{self.task_name[:MAX_NAME]!r}",
                expected=f"one line of 1 to {MAX_NAME} plain characters",
            )
        for field, count in (("images", self.images), ("classes", self.classes)):
            if type(count) is not int or not 1 <= count <= MAX_INTEGER:
                raise EmbeddingError(f"the embedding has {count!r} {field}", expected="1 or more")
        object.__setattr__(self, "values", _check_values(self.values, self.task_name))
        if self.standard_error is not None:
            checked = _check_errors(self.standard_error, self.values, self.task_name)
            object.__setattr__(self, "standard_error", checked)

    def __repr__(self) -> str:
        return (
            f"<TaskEmbedding of {sanitize(self.task_name, 80)}: "
            f"{pluralize(len(self.values), 'filter')} of {sanitize(str(self.space), 200)}>"
        )

    @property
    def relative_error(self) -> float | None:
        """The standard error relative to the values: see the function of that name."""
        if self.standard_error is None:
            return None
        return relative_error(self.values, self.standard_error)

    @property
    def distance_error(self) -> float | None:
        r"""The standard error's addition to any distance, about half its relative square.

        Near tasks have $d(a, b) \approx \frac12 Var_f \log(a_f / b_f)$, and independent errors of
        the logarithms add to this variance.
        """
        return None if self.relative_error is None else self.relative_error**2 / 2

    @classmethod
    def mean(cls, embeddings: Sequence["TaskEmbedding"]) -> "TaskEmbedding":
        """Return the mean of the embeddings of several tasks, which stands for a λ_meta.

        Raises:
            EmbeddingError: There is none, or they are of different spaces or widths.
        """
        if not embeddings:
            raise EmbeddingError("there is no mean of no embeddings", hint="pass at least one")
        check_comparable(embeddings[0], embeddings[1:])
        if len(embeddings) == 1:
            return embeddings[0]
        total = np.zeros_like(embeddings[0].values)
        for embedding in embeddings:
            total += embedding.values / len(embeddings)
        names = ", ".join(embedding.task_name for embedding in embeddings)
        name = f"mean of {names}"
        return cls(
            space=embeddings[0].space,
            values=total,
            task_digest=mean_task_digest([embedding.task_digest for embedding in embeddings]),
            task_name=name if len(name) <= MAX_NAME else name[: MAX_NAME - 2] + " …",
            images=sum(embedding.images for embedding in embeddings),
            classes=sum(embedding.classes for embedding in embeddings),
            standard_error=_error_of_mean([embedding.standard_error for embedding in embeddings]),
        )

    def to_bytes(self) -> bytes:
        """Write safetensors: the values as float32 ``fisher``, all but numbers as JSON metadata.

        The standard error, where it is known, is a second tensor ``standard_error``.

        Raises:
            EmbeddingError: The values do not fit into float32.
        """
        with np.errstate(over="ignore"):
            stored = self.values.astype(np.float32)
        if not np.isfinite(stored).all() or not stored.any():
            raise EmbeddingError(
                f"the embedding of {self.task_name} has values up to {self.values.max():.3g}",
                expected="at most 3e38 and some above 1e-45",
                hint="check the probe",
            )
        task = {
            "name": self.task_name,
            "digest": self.task_digest,
            "images": self.images,
            "classes": self.classes,
        }
        metadata = {"format": _FORMAT, "space": self.space.to_json(), "task": task}
        arrays = {_TENSOR: stored}
        if self.standard_error is not None:
            arrays[_ERROR_TENSOR] = self.standard_error.astype(np.float32)
        return _tensors.write_tensors(arrays, metadata)

    @classmethod
    def from_bytes(cls, content: bytes, *, what: str = "the embedding") -> Self:
        """Read what ``to_bytes`` wrote.

        Raises:
            EmbeddingError: The bytes are truncated, have trailing bytes, another type or
                shape, NaN, or metadata of another form or format version.
        """
        if len(content) > _MAX_FILE:
            raise EmbeddingError(
                f"{what} has {len(content)} bytes", expected=f"at most {_MAX_FILE}"
            )
        arrays, metadata = _tensors.read_tensors(content, what=what, error=EmbeddingError)
        fields = _read_metadata(metadata, what)
        found = {name: (array.dtype.name, array.ndim) for name, array in arrays.items()}
        expected = dict.fromkeys((_TENSOR, _ERROR_TENSOR), ("float32", 1))
        if found not in (expected, {_TENSOR: expected[_TENSOR]}):
            raise EmbeddingError(
                f"{what} holds {found}",
                expected=(
                    f"one float32 tensor {_TENSOR!r} of one dimension, and perhaps another "
                    f"{_ERROR_TENSOR!r}"
                ),
            )
        # Of a signalling NaN numpy warns here; it is refused like any other.
        with np.errstate(invalid="ignore"):
            numbers = {name: array.astype(np.float64) for name, array in arrays.items()}
        return cls(values=numbers[_TENSOR], standard_error=numbers.get(_ERROR_TENSOR), **fields)

    def save(self, path: str | Path) -> Path:
        """Write the embedding as a safetensors file and return its path."""
        return write_atomically(as_path(path), self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file of ``save``.

        Raises:
            EmbeddingError: The file is missing or is no embedding.
        """
        try:
            content = read_regular(as_path(path), _MAX_FILE + 1)
        except FileAccessError as error:
            raise EmbeddingError(
                f"cannot read the embedding {path}: {error.strerror}",
                expected="a file as written by `wsdarts-hub embed DATA --out FILE`",
            ) from error
        return cls.from_bytes(content, what=str(path))


def relative_error(values: NDArray[np.float64], errors: NDArray[np.float64]) -> float:
    r"""Return the root mean square of $e_f / F_f$ over the filters whose value is above 0."""
    positive = values > 0
    return float(np.sqrt(np.mean((errors[positive] / values[positive]) ** 2)))


def mean_task_digest(digests: Sequence[str]) -> str:
    """Return the task digest of a mean: of one task its own, else sha256 of the sorted ones."""
    if len(digests) == 1:
        return digests[0]
    lines = "".join(f"{digest}\n" for digest in sorted(digests))
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def check_comparable(query: TaskEmbedding, others: Sequence[TaskEmbedding]) -> None:
    """Refuse to mix embeddings of different spaces or widths.

    Raises:
        EmbeddingError: Names both spaces.
    """
    for other in others:
        if other.space != query.space:
            raise EmbeddingError(
                (
                    f"the embedding of {query.task_name} was made by {query.space}, that of "
                    f"{other.task_name} by {other.space}"
                ),
                hint="they do not compare: embed both with the same probe",
            )
        if other.values.shape != query.values.shape:
            raise EmbeddingError(
                (
                    f"the embedding of {query.task_name} has {len(query.values)} filters, that "
                    f"of {other.task_name} has {len(other.values)}"
                ),
                hint="embed both with the same probe",
            )


def _check_values(values: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    checked = np.array(values, dtype=np.float64)
    if checked.ndim != 1 or not 1 <= len(checked) <= _MAX_FILTERS:
        raise EmbeddingError(
            f"the embedding of {name} has shape {checked.shape}",
            expected=f"(filters,), 1 to {_MAX_FILTERS} filters",
        )
    _check_nonnegative(checked, f"the embedding of {name}")
    if not checked.any():
        raise EmbeddingError(
            f"the embedding of {name} is zero at every filter",
            hint=(
                "the probe saw nothing in the images: check that they are not all equal, or use "
                "another probe"
            ),
        )
    checked.setflags(write=False)
    return checked


def _check_errors(
    errors: NDArray[np.float64], values: NDArray[np.float64], name: str
) -> NDArray[np.float64]:
    checked = np.array(errors, dtype=np.float64)
    if checked.shape != values.shape:
        raise EmbeddingError(
            f"the standard error of {name} has shape {checked.shape}",
            expected=f"that of the values, {values.shape}",
        )
    _check_nonnegative(checked, f"the standard error of {name}")
    checked.setflags(write=False)
    return checked


def _check_nonnegative(numbers: NDArray[np.float64], what: str) -> None:
    bad = ~np.isfinite(numbers) | (numbers < 0)
    if bad.any():
        raise EmbeddingError(
            f"{what} is {numbers[bad][0]} at filter {bad.argmax()}",
            expected="finite numbers >= 0",
            hint="embed the task again",
        )


def _error_of_mean(errors: Sequence[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    """Return the error of the mean of independent values; None if one of them is unknown."""
    known = [error for error in errors if error is not None]
    if len(known) < len(errors):
        return None
    mean: NDArray[np.float64] = np.sqrt(np.square(known).sum(axis=0)) / len(known)
    return mean


def _read_metadata(data: Any, what: str) -> dict[str, Any]:
    match data:
        case {"format": int(version)} if version != _FORMAT or version is True:
            raise EmbeddingError(
                f"{what} has embedding format {version}",
                hint=f"this version reads {_FORMAT}: update with {UPDATE}",
            )
        case {
            "format": int(),
            "space": space,
            "task": {
                "name": str(name),
                "digest": str(digest),
                "images": int(images),
                "classes": int(classes),
            } as task,
        } if len(data) == 3 and len(task) == 4:
            return {
                "space": EmbeddingSpace.from_json(space),
                "task_name": name,
                "task_digest": digest,
                "images": images,
                "classes": classes,
            }
    raise EmbeddingError(
        f"{what} has no embedding metadata", expected="a file as written by `wsdarts-hub embed`"
    )
