"""Folders of images with labels in ``metadata.csv`` or ``metadata.jsonl``, as `datasets` has them.

Each row names a file below the folder, ``file_name``, and has its label in another column.
"""

import csv
import io
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsdarts_registry import _json
from wsdarts_registry._files import exists, inside, is_file, read_regular, resolved
from wsdarts_registry._format import pluralize
from wsdarts_registry.errors import ArtifactError, TaskError
from wsdarts_sdk.data.options import DataOptions
from wsdarts_sdk.data.sources._table import Column, check_column, choose_columns
from wsdarts_sdk.data.sources.base import named_groups, named_labels
from wsdarts_sdk.data.sources.folder import FileSource, image_files
from wsdarts_sdk.data.sources.listing import METADATA_FILES
from wsdarts_sdk.data.split import GivenPart, codes_of_values, given_codes

FILE_NAME = "file_name"
_LARGEST = 2**28
Rows = list[dict[str, Any]]
"""Rows of a table, as plain values by column."""


class MetadataSource(FileSource):
    """Images that are named in the metadata of a folder, or of its folders for splits.

    Args:
        root: The folder that was named.
        tables: For each folder with metadata, that file and its rows.
        options: See ``choose_columns``.
        parts: The part of a given split that each folder is; None where there is no such split.
    """

    def __init__(
        self,
        root: Path,
        tables: Mapping[Path, tuple[Path, Rows]],
        *,
        options: DataOptions,
        parts: Sequence[GivenPart] | None = None,
    ) -> None:
        self._files: list[Path] = []
        values: list[Any] = []
        for folder, (file, rows) in tables.items():
            image, label = choose_columns(_columns(rows), options, str(file))
            self._files += _image_files(folder, file, [row.get(image.name) for row in rows])
            values += [row.get(label.name) for row in rows]
        where = f"the label column of {', '.join(str(file) for file, _ in tables.values())}"
        class_names, numbers = named_labels(_whole_numbers(values), where)
        self.location = f"metadata of {resolved(root)}"
        super().__init__(
            name=resolved(root).name, class_names=class_names, labels=numbers, encoded=True
        )
        if parts is not None:
            self.given = given_codes(parts, [len(rows) for _, rows in tables.values()])
        take_columns(self, tables, options)


def take_columns(
    source: FileSource, tables: Mapping[Path, tuple[Path, Rows]], options: DataOptions
) -> None:
    """Set the parts and groups of a source's images from a column of the metadata.

    Raises:
        TaskError: Such a column is missing or does not fit, or an image has no row.
    """
    if (column := options.get("split_column")) is not None:
        source.given = codes_of_values(*_values(source, tables, column, "split"))
    if isinstance(groups := options.get("groups"), str):
        source.groups = named_groups(*_values(source, tables, groups, "group"))


def _values(
    source: FileSource, tables: Mapping[Path, tuple[Path, Rows]], name: str, role: str
) -> tuple[list[Any], str]:
    """Return the value of each image in a column, and the column's name for errors."""
    found: dict[Path, Any] = {}
    for folder, (file, rows) in tables.items():
        check_column(_columns(rows), name, role, str(file))
        files = _image_files(folder, file, [row.get(FILE_NAME) for row in rows])
        found |= dict(zip(files, (row.get(name) for row in rows), strict=True))
    where = f"column {name!r} of {', '.join(str(file) for file, _ in tables.values())}"
    lacking = [file for file in source.files if file not in found]
    if lacking:
        raise TaskError(
            f"{where} lacks {pluralize(len(lacking), 'image')}, first {lacking[0]}",
            expected="a row for each",
            hint="add rows, or take the images out",
        )
    return [found[file] for file in source.files], where


def read_metadata(folder: Path) -> tuple[Path, Rows] | TaskError | None:
    """Return the metadata of a folder and its rows.

    Returns:
        The file and its rows; an error with the reason why it names no images; None without
        metadata.

    Raises:
        TaskError: It is damaged, too large, or there are two files that differ.
    """
    usable: list[tuple[Path, Rows]] = []
    reasons: list[str] = []
    for file in (folder / name for name in METADATA_FILES):
        if not exists(file):
            continue
        if not is_file(file):
            reasons.append(f"{file} is no regular file")
            continue
        rows = _rows(file)
        if not rows:
            reasons.append(f"{file} has no rows")
        elif FILE_NAME not in rows[0]:
            reasons.append(f"{file} has the columns {', '.join(map(str, rows[0]))} only")
        else:
            usable.append((file, rows))
    if len(usable) > 1 and len({_comparable(rows) for _, rows in usable}) > 1:
        files = " and ".join(file.name for file, _ in usable)
        raise TaskError(
            f"{folder} has {files}, which differ",
            expected="one of them, or equal ones",
            hint="keep the one that is right",
        )
    if usable:
        return usable[0]
    if not reasons:
        return None
    return TaskError(
        " and ".join(reasons),
        expected=(
            f"a table with the column {FILE_NAME} and one of labels, separated by commas in "
            "metadata.csv"
        ),
        hint="correct it, or put the images of each class into a folder of its own",
    )


def _comparable(rows: Rows) -> frozenset[tuple[tuple[str, str], ...]]:
    """Return rows that compare equal between CSV, which is text only, and JSON, in any order."""
    return frozenset(
        tuple(sorted((name, "" if value is None else str(value)) for name, value in row.items()))
        for row in rows
    )


def names_labels(rows: Rows) -> bool:
    """Return whether one column is a label by its name."""
    try:
        choose_columns(_columns(rows), DataOptions(), "")
    except TaskError:
        return False
    return True


def _rows(file: Path) -> Rows:
    """Return the rows of a CSV or JSON lines file as plain values."""
    content = read_regular(file)
    if len(content) > _LARGEST:
        raise TaskError(f"{file} has {len(content):,} bytes", expected=f"at most {_LARGEST:,}")
    try:
        if file.suffix == ".csv":
            rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
        else:
            rows = [_row(line, f"line {number} of {file}") for number, line in _lines(content)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise TaskError(
            f"{file} cannot be read ({' '.join(str(error).split())})",
            expected=f"a table in UTF-8 with a column {FILE_NAME}",
        ) from error
    # Values without a column are under None, and columns without a value hold None.
    longer = next((number for number, row in enumerate(rows) if None in row), None)
    if longer is not None:
        raise TaskError(
            f"row {longer} of {file} has more values than there are columns",
            expected="a value for each column",
            hint="put quotes around values that have a comma",
        )
    return rows


def _lines(content: bytes) -> list[tuple[int, bytes]]:
    """Return the lines that are not blank, with their numbers from 1."""
    lines = content.removeprefix(BOM_UTF8).splitlines()
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _row(line: bytes, what: str) -> dict[str, Any]:
    remedy = f'write a row such as {{"{FILE_NAME}": "0.jpg", "label": "cat"}}'
    row = _json.load(line, what=what, error=TaskError, remedy=remedy)
    if not isinstance(row, dict):
        raise TaskError(what, found="no object", hint=remedy)
    return row


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
    """Return text of whole numbers as numbers, so that 10 follows 9 in CSV, too."""
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
            raise TaskError(
                f"{FILE_NAME} in row {row} of {file}",
                found=repr(str(name)),
                expected=f"a plain relative path to an image below {folder}, such as 'cats/0.jpg'",
            ) from error
    unnamed = sorted(set(image_files(folder)) - set(found))
    if unnamed:
        raise TaskError(
            f"{file} lacks {pluralize(len(unnamed), 'image')} in {folder}, first {unnamed[0]}",
            expected="a row for each",
            hint="add rows, or take the images out",
        )
    return found
