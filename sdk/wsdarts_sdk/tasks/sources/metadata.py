"""Folders of images with labels in ``metadata.csv`` or ``metadata.jsonl``, as `datasets` has them.

Each row names a file below the folder, ``file_name``, and has its label in another column.
"""

import csv
import functools
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry import strict_json
from wsdarts_registry.errors import ArtifactError, TaskError
from wsdarts_registry.files import inside, is_file, read_regular, resolved
from wsdarts_sdk.tasks.sources.base import ImageSource, Read, named_labels
from wsdarts_sdk.tasks.sources.columns import Column, choose_columns
from wsdarts_sdk.tasks.sources.folder import image_files, read_file
from wsdarts_sdk.tasks.sources.markers import METADATA
from wsdarts_sdk.tasks.split import GIVEN_CODES, GivenPart
from wsdarts_sdk.tasks.stamps import file_stamps

FILE_NAME = "file_name"
_LARGEST = 2**28
Rows = list[dict[str, Any]]
"""Rows of a table, as plain values by column."""


class MetadataSource(ImageSource):
    """Images that the metadata of one folder or of several, its splits, name.

    Args:
        root: The folder that was named.
        tables: For each folder with metadata, that file and its rows.
        image_column: See ``choose_columns``.
        label_column: See ``choose_columns``.
        parts: The part of a given split that each folder is; None where there is no such split.
    """

    def __init__(
        self,
        root: Path,
        tables: Mapping[Path, tuple[Path, Rows]],
        *,
        image_column: str | None,
        label_column: str | None,
        parts: Sequence[GivenPart] | None = None,
    ) -> None:
        self._files: list[Path] = []
        values: list[Any] = []
        for folder, (file, rows) in tables.items():
            image, label = choose_columns(_columns(rows), image_column, label_column, str(file))
            self._files += _image_files(folder, file, [row.get(image.name) for row in rows])
            values += [row.get(label.name) for row in rows]
        where = f"the label column of {', '.join(str(file) for file, _ in tables.values())}"
        class_names, numbers = named_labels(_whole_numbers(values), where)
        self.location = f"metadata of {resolved(root)}"
        super().__init__(
            name=resolved(root).name, class_names=class_names, labels=numbers, encoded=True
        )
        if parts is not None:
            codes = np.array([GIVEN_CODES[part] for part in parts], dtype=np.int8)
            self.given = np.repeat(codes, [len(rows) for _, rows in tables.values()])

    def images(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, Read]]:
        """Yield the files; they are read where the result is called."""
        for row in rows.tolist():
            yield row, functools.partial(read_file, self._files[row])

    def stamps(self) -> NDArray[np.void]:
        """Return the stamp of each file."""
        return file_stamps(self._files)

    def describe(self, row: int) -> str:
        """Return the file's path."""
        return str(self._files[row])


def read_metadata(folder: Path) -> tuple[Path, Rows] | None:
    """Return the metadata of a folder and its rows; None where no file names images.

    Raises:
        TaskError: It is damaged, or too large.
    """
    for name in METADATA:
        file = folder / name
        if is_file(file):
            rows = _rows(file)
            if any(FILE_NAME in row for row in rows[:1]):
                return file, rows
    return None


def names_labels(rows: Rows) -> bool:
    """Return whether one column is a label by its name."""
    try:
        choose_columns(_columns(rows), None, None, "")
    except TaskError:
        return False
    return True


def _rows(file: Path) -> Rows:
    """Rows as plain values, of one kind of file or the other."""
    content = read_regular(file)
    if len(content) > _LARGEST:
        raise TaskError(f"{file} has {len(content):,} bytes; expected at most {_LARGEST:,}")
    try:
        if file.suffix == ".csv":
            rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
        else:
            lines = [line for line in content.splitlines() if line.strip()]
            rows = [strict_json.load(line, what=str(file), error=TaskError) for line in lines]
    except (csv.Error, UnicodeDecodeError) as error:
        raise TaskError(
            f"{file} cannot be read ({' '.join(str(error).split())}); expected a table in UTF-8 "
            f"with a column {FILE_NAME}"
        ) from error
    if not all(isinstance(row, dict) and None not in row for row in rows):
        raise TaskError(f"{file} has a row with other columns; expected the same in each")
    return rows


def _columns(rows: Rows) -> tuple[Column, ...]:
    names = dict.fromkeys(name for row in rows for name in row)
    return tuple(
        Column(
            name=name,
            type="path" if name == FILE_NAME else _kind(rows, name),
            declared_image=name == FILE_NAME,
            can_hold_images=name == FILE_NAME,
            can_hold_labels=name != FILE_NAME and _kind(rows, name) in ("int", "str", "bool"),
            class_names=None,
        )
        for name in names
    )


def _kind(rows: Rows, name: str) -> str:
    kinds = {type(row.get(name)).__name__ for row in rows} - {"NoneType"}
    return next(iter(kinds)) if len(kinds) == 1 else "mixed"


def _whole_numbers(values: Sequence[Any]) -> Sequence[Any]:
    """Text of whole numbers, as all of CSV is text, as numbers, so that 10 follows 9."""
    texts = [value for value in values if isinstance(value, str)]
    whole = all(value == str(int(value)) for value in texts if _is_digits(value))
    if len(texts) < len(values) or not whole or not all(map(_is_digits, texts)):
        return values
    return [int(value) for value in texts]


def _is_digits(text: str) -> bool:
    return len(text) < 19 and text.isascii() and text.removeprefix("-").isdigit()


def _image_files(folder: Path, file: Path, names: Sequence[Any]) -> list[Path]:
    found = []
    for row, name in enumerate(names):
        try:
            found.append(inside(folder, str(name).removeprefix("./")))
        except ArtifactError as error:
            raise TaskError(f"row {row} of {file}: {error}") from error
    unnamed = sorted(set(image_files(folder)) - set(found))
    if unnamed:
        raise TaskError(
            f"{len(unnamed)} images in {folder} are not named in {file}, first {unnamed[0]}; "
            "expected a row for each. Add rows, or take the images out"
        )
    return found
