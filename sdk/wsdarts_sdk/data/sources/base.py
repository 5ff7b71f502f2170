"""The base of all sources of images: their class names and labels.

Loads no Arrow and no torch, so that folders of images are read without them.
"""

import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry._format import pluralize
from wsdarts_registry._text import sanitize_name
from wsdarts_registry.errors import TaskError
from wsdarts_sdk.data.decoding import Read
from wsdarts_sdk.data.options import DataOptions
from wsdarts_sdk.data.split import GivenPart, parts_of_splits

FILE_STAT = np.dtype(
    [("inode", "<u8"), ("size", "<i8"), ("modified", "<i8"), ("changed", "<i8"), ("row", "<i8")]
)
"""Inode, size in bytes, mtime and ctime in nanoseconds of a file, and the row within it.

The inode alone names the file: no path, so links and renamed folders change nothing. All
zeros mean that nothing is known.
"""
_CLOCK_TICK = 2_000_000_000  # nanoseconds, of the coarsest file system clock in use (FAT)


def file_stats(files: Iterable[Path]) -> NDArray[np.void]:
    """Return the stat of each file, row 0, shape ``(files,)``; zeros where it has no status."""
    return np.array([_stat_of(file) for file in files], dtype=FILE_STAT)


def is_reliable(stats: NDArray[np.void], now: int) -> NDArray[np.bool_]:
    """Mark the stats that are old enough to notice any later change of the file, shape ``(n,)``.

    A file that changes twice within one tick of the file system's clock has the same stat
    after both. So a stat counts only if it was older than that when the file was read.

    Args:
        stats: Taken before the files were read.
        now: Nanoseconds since the epoch, taken before the stats.

    Source:
        git's rule for "racily clean" entries (its technical documentation, racy-git).
    """
    latest = np.maximum(stats["modified"], stats["changed"])
    return np.asarray((stats["changed"] != 0) & (latest < now - _CLOCK_TICK))


def _stat_of(file: Path) -> tuple[int, int, int, int, int]:
    try:
        status = file.stat()
    except OSError:  # reported when the file is read
        return 0, 0, 0, 0, 0
    inode = status.st_ino % 2**64
    return inode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, 0


class ImageSource(ABC):
    """Labelled images in the order in which the source keeps them.

    Attributes:
        name: Name of the source, for display.
        class_names: Names by label; some may have no image.
        labels: Label of each image, shape ``(images,)``.
        encoded: Whether images come as bytes, which may turn out not to decode.
        location: Identifies the source on this machine; None where its images lie in no files
            of their own.
        dataset: Id on the Hugging Face Hub of the dataset; None where it is not from there.
        given: Position in ``GivenPart`` of each image's part, shape ``(images,)``; None where
            the images come with no split.
        groups: Name of each image's group, one for each image; None where images stand alone.
        passed_over: Number of images that are not read, by suffix in lower case.
        notes: Sentences for the user about how the source was read.
    """

    location: str | None = None
    dataset: str | None = None
    given: NDArray[np.int8] | None = None
    groups: Sequence[str] | None = None
    passed_over: Mapping[str, int] = MappingProxyType({})
    notes: tuple[str, ...] = ()

    def __init__(
        self, *, name: str, class_names: Sequence[str], labels: NDArray[np.int64], encoded: bool
    ) -> None:
        self.name = sanitize_name(name)
        self.class_names = unique_names(class_names, self.name)
        self.labels = labels
        self.encoded = encoded

    @abstractmethod
    def images(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, Read]]:
        """Yield some images, as (row, function that reads it).

        Args:
            rows: Which images, strictly increasing, shape ``(wanted,)``.
        """

    def file_stats(self) -> NDArray[np.void]:
        """Return the ``FILE_STAT`` of each image now, shape ``(images,)``; zeros if unknown."""
        return np.zeros(len(self.labels), dtype=FILE_STAT)

    @abstractmethod
    def describe(self, row: int) -> str:
        """Return a name by which the user finds the image."""


GIVEN_SPLIT = "given"
"""The choice to keep the splits of a dataset, by their names, as the parts of the split."""


def named_groups(values: Sequence[object], where: str) -> tuple[str, ...]:
    """Return the name of each image's group.

    Raises:
        TaskError: A value is missing, or all are equal.
    """
    check_present(values, where, "group")
    names = tuple(map(str, values))
    if len(set(names)) == 1:
        raise TaskError(
            where, found=f"one group alone ({names[0]!r})", expected="several groups of images"
        )
    return names


def chosen_splits(
    existing: Sequence[str], split: str | Sequence[str] | None, where: str
) -> tuple[str, ...]:
    """Return the names of the splits to use; ``"train+test"`` names two, ``"given"`` all.

    Raises:
        TaskError: A name is unknown or given twice, or there is none.
    """
    if split is None or split == GIVEN_SPLIT:
        return tuple(existing)
    wanted = tuple(split.split("+")) if isinstance(split, str) else tuple(split)
    unknown = [name for name in wanted if name not in existing]
    if unknown or not wanted or len(set(wanted)) < len(wanted):
        raise TaskError(
            f"the choice of splits of {where}",
            found=repr("+".join(wanted)),
            expected=f"some of {', '.join(existing)}, each once, such as split={existing[0]!r}",
        )
    return wanted


def kept_parts(
    names: Sequence[str], options: DataOptions, where: str
) -> tuple[GivenPart, ...] | None:
    """Return the part that each split is, where the splits are to be kept; else None.

    Raises:
        TaskError: They are, but their names do not tell the parts.
    """
    if options.get("split") != GIVEN_SPLIT:
        return None
    parts = parts_of_splits(names, where)
    if parts is None:
        raise TaskError(
            f"{where} has the splits {', '.join(names)}, which do not name its parts",
            expected="train, and validation or test, for split='given'",
            hint="leave it out, and they are put together and split here",
        )
    return parts


def joined_splits_note(names: Sequence[str]) -> tuple[str, ...]:
    """Return the note that several splits of a dataset were joined, if there are several."""
    if len(names) < 2:
        return ()
    return (f"put together the splits {', '.join(names)}; name one with --split (split=…)",)


def unique_names(found: Sequence[str], where: str) -> tuple[str, ...]:
    """Return class names as plain lines, each different from the others.

    Raises:
        TaskError: Two classes have the same name.
    """
    names = tuple(map(sanitize_name, found))
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise TaskError(
            f"{where} has {names.count(twice[0])} classes called {twice[0]!r}",
            expected="different names",
            hint="rename them, or put their images together",
        )
    return names


def named_labels(values: Sequence[Any], where: str) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Number the distinct values of a plain label column in sorted order.

    Strings that differ in their Unicode form alone (composed or decomposed accents) are equal.

    Args:
        values: One integer, bool or string for each image; all of one kind.
        where: Name of the values, for the error.

    Returns:
        Names of the classes, and the label of each image, shape ``(images,)``.

    Raises:
        TaskError: A value is missing, negative, or of another kind.
    """
    check_present(values, where)
    kinds = {type(value) for value in values}
    if len(kinds) > 1 or not kinds <= {int, bool, str}:
        names = sorted(kind.__name__ for kind in kinds)
        raise TaskError(
            where,
            found=f"of type {', '.join(names)}",
            expected="integers or strings, one for each image",
        )
    values = [unicodedata.normalize("NFC", v) if isinstance(v, str) else v for v in values]
    classes = sorted(set(values))
    if classes and classes[0].__class__ is int and classes[0] < 0:
        raise negative_label(values.index(classes[0]), classes[0], where)
    index = {value: label for label, value in enumerate(classes)}
    labels = np.array([index[value] for value in values], dtype=np.int64)
    return tuple(str(value) for value in classes), labels


def checked_labels(
    values: Sequence[Any], class_names: Sequence[str], where: str
) -> NDArray[np.int64]:
    """Return class ids as labels, shape ``(images,)``.

    Raises:
        TaskError: An id is missing, not an integer, or outside ``0 … classes - 1``.
    """
    check_present(values, where)
    for row, value in enumerate(values):
        if type(value) is not int:
            raise TaskError(
                f"row {row} of {where}", found=repr(value), expected="an integer class id"
            )
        if value < 0:
            raise negative_label(row, value, where)
        if value >= len(class_names):
            raise TaskError(
                f"row {row} of {where}",
                found=f"the class id {value}, beyond {pluralize(len(class_names), 'class name')}",
                expected=f"ids from 0 to {len(class_names) - 1}",
            )
    return np.array(values, dtype=np.int64)


def check_present(values: Sequence[Any], where: str, what: str = "label") -> None:
    """Raise a TaskError if a label, or what else there is to be, is missing, or blanks alone."""
    missing = [
        row
        for row, value in enumerate(values)
        if value is None or (isinstance(value, str) and not value.strip())
    ]
    if missing:
        raise TaskError(
            f"{len(missing)} of {len(values)} rows of {where} have no {what}, first {missing[0]}",
            expected=f"a {what} for each image",
            hint="leave those rows out",
        )


def negative_label(row: int, value: int, where: str) -> TaskError:
    """Return the error for a class id below 0, which usually marks a hidden label."""
    return TaskError(
        f"row {row} of {where}",
        found=f"the class id {value}",
        expected="ids from 0",
        hint=(
            "negative ids usually mark hidden labels: leave those rows out, or choose splits "
            "with labels (split=…)"
        ),
    )
