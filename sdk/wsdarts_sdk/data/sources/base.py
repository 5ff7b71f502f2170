"""What every source of images offers, and how sources name their classes.

What the file system says about where an image lies, so that it need not be read again.

Names of files that tell what kind of dataset a folder is.

Apart from what reads those kinds, which loads Arrow: a folder of images is told from them without.
"""

import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry._files import exists, is_file
from wsdarts_registry._format import pluralize
from wsdarts_registry._text import sanitize_name
from wsdarts_registry.errors import FileAccessError, TaskError
from wsdarts_sdk.data.decoding import Undecodable
from wsdarts_sdk.data.identity import Content

STAMP = np.dtype(
    [("inode", "<u8"), ("size", "<i8"), ("modified", "<i8"), ("changed", "<i8"), ("row", "<i8")]
)
"""Inode, size in bytes, mtime and ctime in nanoseconds of a file, and the row within it.

The inode alone names the file: no path, so links and renamed folders change nothing. All
zeros mean that nothing is known.
"""
_MARGIN = 2_000_000_000  # nanoseconds; the coarsest clock of a file system in use (FAT) ticks so


def file_stamps(files: Iterable[Path]) -> NDArray[np.void]:
    """Return the stamp of each file, row 0, shape ``(files,)``; zeros where it has no status."""
    return np.array([_stamp(file) for file in files], dtype=STAMP)


def is_settled(stamps: NDArray[np.void], now: int) -> NDArray[np.bool_]:
    """Tell which stamps say that a file has rested for long enough to be trusted, shape ``(n,)``.

    A file that changes twice within one tick of the file system's clock has the same stamp
    after both. So a stamp counts only if it was older than that when the file was read.

    Args:
        stamps: Taken before the files were read.
        now: Nanoseconds since the epoch, taken before the stamps.

    Source:
        git's rule for "racily clean" entries (its technical documentation, racy-git).
    """
    latest = np.maximum(stamps["modified"], stamps["changed"])
    return np.asarray((stamps["changed"] != 0) & (latest < now - _MARGIN))


def _stamp(file: Path) -> tuple[int, int, int, int, int]:
    try:
        status = file.stat()
    except OSError:  # whoever reads the file will say what is wrong
        return 0, 0, 0, 0, 0
    inode = status.st_ino % 2**64
    return inode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, 0


Read = Callable[[], Content | Undecodable]
"""Fetches one image; may be called from another thread."""


class ImageSource(ABC):
    """Labelled images in the order in which the source keeps them.

    Attributes:
        name: What the source is called; for display.
        class_names: Names by label; some may have no image.
        labels: Label of each image, shape ``(images,)``.
        encoded: Whether images come as bytes, which may turn out not to decode.
        location: What tells this source from others on this machine; None where its images
            lie in no files that could be recognised.
        dataset: Id on the Hugging Face Hub of the dataset; None where it is not from there.
        given: Position in ``GivenPart`` of each image's part, shape ``(images,)``; None where
            the images come with no split.
        passed_over: Number of images that are not read, by suffix in lower case.
        notes: What the user should know about how the source was read, as sentences.
    """

    location: str | None = None
    dataset: str | None = None
    given: NDArray[np.int8] | None = None
    passed_over: Mapping[str, int] = MappingProxyType({})
    notes: tuple[str, ...] = ()

    def __init__(
        self, *, name: str, class_names: Sequence[str], labels: NDArray[np.int64], encoded: bool
    ) -> None:
        self.name = sanitize_name(name)
        self.class_names = settled_names(class_names, self.name)
        self.labels = labels
        self.encoded = encoded

    @abstractmethod
    def images(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, Read]]:
        """Yield some images, as (row, how to read it).

        Args:
            rows: Which images, strictly increasing, shape ``(wanted,)``.
        """

    def stamps(self) -> NDArray[np.void]:
        """Return what the file system says about each image now, shape ``(images,)``.

        Zeros (here: all) where that says nothing; see ``stamps.STAMP``.
        """
        return np.zeros(len(self.labels), dtype=STAMP)

    @abstractmethod
    def describe(self, row: int) -> str:
        """Name an image so that its owner finds it."""


def put_together(names: Sequence[str]) -> tuple[str, ...]:
    """Return the note that splits of a dataset were put together, if there are several."""
    if len(names) < 2:
        return ()
    return (f"put together the splits {', '.join(names)}; name one with --split (split=…)",)


def settled_names(found: Sequence[str], where: str) -> tuple[str, ...]:
    """Return class names as they are kept: plain lines, each different from the others.

    Raises:
        TaskError: Two classes have the same name.
    """
    names = tuple(map(sanitize_name, found))
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise TaskError(
            f"{where} has {names.count(twice[0])} classes called {twice[0]!r}",
            expected="different names. Rename them, or put their images together",
        )
    return names


def named_labels(values: Sequence[Any], where: str) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Number the distinct values of a plain label column in sorted order.

    Strings that differ in their Unicode form alone (composed or decomposed accents) are equal.

    Args:
        values: One integer, bool or string for each image; all of one kind.
        where: What the values are, for the error.

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
            f"{where}: values of type {', '.join(names)}",
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
            raise TaskError(f"{where}: {value!r} at row {row}", expected="integer class ids")
        if value < 0:
            raise negative_label(row, value, where)
        if value >= len(class_names):
            raise TaskError(
                (
                    f"{where}: the class id {value} at row {row}, but only "
                    f"{pluralize(len(class_names), 'class name')}"
                ),
                expected=f"ids from 0 to {len(class_names) - 1}",
            )
    return np.array(values, dtype=np.int64)


def check_present(values: Sequence[Any], where: str) -> None:
    """Raise a TaskError if a label is missing, or a text of blanks alone."""
    missing = [
        row
        for row, value in enumerate(values)
        if value is None or (isinstance(value, str) and not value.strip())
    ]
    if missing:
        raise TaskError(
            (
                f"{where}: no label in {len(missing)} of {len(values)} rows, first in row "
                f"{missing[0]}"
            ),
            expected="a label for each image. Leave those rows out",
        )


def negative_label(row: int, value: int, where: str) -> TaskError:
    """Describe a class id below 0, which usually marks a hidden label."""
    return TaskError(
        f"{where}: the class id {value} at row {row}",
        expected=(
            "ids from 0. Negative ids usually mark hidden labels: leave those rows out, or "
            "choose splits with labels (split=…)"
        ),
    )


STATE = "state.json"
SPLITS = "dataset_dict.json"
METADATA = ("metadata.jsonl", "metadata.csv")


def is_saved(folder: Path) -> bool:
    """Return whether a folder is one that ``save_to_disk`` of `datasets` wrote."""
    return any(_has(folder, name, is_file) for name in (STATE, SPLITS))


def may_have_metadata(folder: Path) -> bool:
    """Return whether a folder has something that should say which images are what."""
    return any(_has(folder, name, exists) for name in METADATA)


def _has(folder: Path, name: str, look: Callable[[Path], bool]) -> bool:
    try:
        return look(folder / name)
    except FileAccessError as error:  # it would name a file that perhaps does not exist
        raise FileAccessError.of(
            f"cannot enter {folder}: {error.strerror}",
            error,
            str(folder),
            hint="check its permissions, and those of the directories above it",
        ) from error
