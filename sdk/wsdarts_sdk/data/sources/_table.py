"""Tables of images and labels, the choice of their columns, and parquet files.

Other modules read other kinds of tables: ``_library_datasets`` and ``_webdataset``.
"""

import functools
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wsdarts_registry._files import is_file, open_regular, resolved
from wsdarts_registry.errors import TaskError
from wsdarts_sdk.data.decoding import Content, CorruptImage, Read
from wsdarts_sdk.data.options import DataOptions
from wsdarts_sdk.data.sources.base import (
    FILE_STAT,
    ImageSource,
    checked_labels,
    file_stats,
    named_groups,
    named_labels,
)
from wsdarts_sdk.data.split import (
    GivenPart,
    codes_of_values,
    given_codes,
    has_train_and_held_out,
    part_named,
    with_validation,
)

_LABEL_NAMES = frozenset({"label", "labels", "class", "cls", "target", "category"})


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table.

    Attributes:
        name: The column's name.
        type: Its type, for display.
        declared_image: Whether the table's metadata call it an image.
        can_hold_images: Whether its values may be encoded images (bytes).
        can_hold_labels: Whether its values may be labels (integers, bools, strings).
        class_names: Names of the classes where the metadata have them.
    """

    name: str
    type: str
    declared_image: bool
    can_hold_images: bool
    can_hold_labels: bool
    class_names: tuple[str, ...] | None


def table_columns(schema: pa.Schema) -> tuple[Column, ...]:
    """Read the columns from an Arrow schema and the metadata that `datasets` leaves in it."""
    features = _features(schema)
    columns = []
    for field in schema:
        feature = features.get(field.name)
        feature = feature if isinstance(feature, dict) else {}
        kind = feature.get("_type")
        names = feature.get("names") if kind == "ClassLabel" else None
        columns.append(
            Column(
                name=field.name,
                type=kind if kind in ("Image", "ClassLabel") else str(field.type),
                declared_image=kind == "Image",
                can_hold_images=_holds_bytes(field.type),
                can_hold_labels=_holds_labels(field.type),
                class_names=_class_names(names),
            )
        )
    return tuple(columns)


def choose_columns(
    columns: Sequence[Column], options: DataOptions, where: str
) -> tuple[Column, Column]:
    """Return the image column and the label column.

    Without a choice the image column is the only one that the metadata call an image, or
    else the only one that holds bytes; the label column is the only one with class names,
    or else the only one called label, labels, class, cls, target or category.

    Raises:
        TaskError: A chosen column is not there or cannot hold what it should, or there is
            none or more than one to choose from.
    """
    holders = [c for c in columns if c.can_hold_images]
    declared = [c for c in holders if c.declared_image]
    image = _choose(
        columns, options.get("image_column"), declared or holders, holders, "image", where
    )
    labelled = [c for c in columns if c.can_hold_labels and c.name != image.name]
    classes = [c for c in labelled if c.class_names]
    usual = [c for c in labelled if c.name.lower() in _LABEL_NAMES]
    return image, _choose(
        columns, options.get("label_column"), classes or usual, labelled, "label", where
    )


def check_column(columns: Sequence[Column], name: str, role: str, where: str) -> None:
    """Refuse a column that is not there or holds no plain values.

    Raises:
        TaskError: Lists the columns.
    """
    usable = [column for column in columns if column.can_hold_labels]
    _choose(columns, name, (), usable, role, where)


_CHOICES = {
    "image": "--image-column NAME (image_column=…)",
    "label": "--label-column NAME (label_column=…)",
    "split": "--split-column NAME (split_column=…)",
    "group": "--groups NAME (groups=…)",
}


def _choose(
    columns: Sequence[Column],
    chosen: str | None,
    candidates: Sequence[Column],
    usable: Sequence[Column],
    role: str,
    where: str,
) -> Column:
    existing = ", ".join(f"{c.name} ({c.type})" for c in columns)
    hint = f"choose with {_CHOICES[role]}; the columns are {existing}"
    if chosen is not None:
        column = next((c for c in columns if c.name == chosen), None)
        if column is None:
            raise TaskError(f"{where} has no column {chosen!r}", hint=hint)
        if column not in usable:
            raise TaskError(
                f"the {role} column {chosen!r} of {where}",
                found=f"of type {column.type}",
                expected=_EXPECTED[role],
                hint=hint,
            )
        return column
    if len(candidates) != 1:
        names = ", ".join(c.name for c in candidates)
        raise TaskError(
            f"the {role} column of {where}",
            found=f"one of {names}" if names else "unknown",
            expected=_EXPECTED[role],
            hint=hint,
        )
    return candidates[0]


_EXPECTED = {
    "image": "encoded images (datasets.Image, or bytes)",
    "label": "one label for each image (datasets.ClassLabel, integers or strings)",
    "split": "integers or strings",
    "group": "integers or strings",
}


def _class_names(names: Any) -> tuple[str, ...] | None:
    """Return the names by id where the metadata list them; None for all else, as a text."""
    listed = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if listed and names else None


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Return the features in the schema's metadata; {} where there are none to be read."""
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return {}
    try:
        features = json.loads(text)["info"]["features"]
    except (ValueError, KeyError, TypeError):  # not written by `datasets`
        return {}
    return features if isinstance(features, dict) else {}


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        names = [kind.field(i).name for i in range(kind.num_fields)]
        return "bytes" in names and _holds_bytes(kind.field("bytes").type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _holds_labels(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
    )


BATCH = 256
"""Rows that are read at once, at most."""
_BATCH_BYTES = 16 * 2**20  # at most so many bytes of one column at once: photographs are large


class Table(ABC):
    """Rows with columns.

    Attributes:
        where: Name of the table, for errors.
        schema: Its columns and the metadata that `datasets` leaves there.
        follow_paths: Whether an image may be given as a path instead of its bytes.
        path: The one file that all of it comes from; None where there is no such file.
    """

    where: str
    schema: pa.Schema
    follow_paths: bool
    path: Path | None = None

    @abstractmethod
    def batches(self, column: str) -> Iterator[list[Any]]:
        """Yield the values of one column in order, some rows at a time."""

    def columns(self) -> tuple[Column, ...]:
        """Return the columns as the schema and its metadata describe them.

        Raises:
            TaskError: A column's name is damaged.
        """
        try:
            return table_columns(self.schema)
        except UnicodeDecodeError as error:
            raise damaged_table(self.where, error) from error


class ParquetTable(Table):
    """One parquet file, never in memory as a whole."""

    follow_paths = False  # a file from elsewhere must not name files of this machine

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self.path = path
        self._file = path
        if not is_file(path):
            raise TaskError(path, found="no regular file", expected="a parquet file")
        try:
            self.schema = pq.read_schema(path)
        except (OSError, pa.ArrowException) as error:
            raise damaged_table(self.where, error) from error

    def batches(self, column: str) -> Iterator[list[Any]]:
        """Yield the values of one column in order, some rows at a time."""
        try:
            with pq.ParquetFile(self._file, memory_map=True) as file:
                rows = rows_at_once(_row_groups(file.metadata, column))
                for batch in file.iter_batches(batch_size=rows, columns=[column]):
                    yield batch.column(0).to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise damaged_table(self.where, error) from error


def rows_at_once(chunks: Iterable[tuple[int, int]]) -> int:
    """Return the number of rows of a column to read at once, by their mean size.

    Args:
        chunks: Rows and bytes of each part of the column.
    """
    fitting = (_BATCH_BYTES * rows // max(size, 1) for rows, size in chunks)
    return max(min((BATCH, *fitting)), 1)


def _row_groups(metadata: Any, column: str) -> Iterator[tuple[int, int]]:
    """Yield rows and bytes of a column in each row group of a parquet file."""
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        chunks = [group.column(i) for i in range(group.num_columns)]
        own = [c for c in chunks if f"{c.path_in_schema}.".startswith(f"{column}.")]
        yield group.num_rows, sum(chunk.total_uncompressed_size for chunk in own)


def damaged_table(where: str, error: Exception) -> TaskError:
    """Return the error for a table that Arrow cannot read."""
    reason = " ".join(str(error).split())
    return TaskError(
        f"{where} cannot be read ({reason})",
        expected="whole parquet or Arrow data with an image and a label column",
        hint="download or write it again",
    )


class TableSource(ImageSource):
    """The rows of one or several tables with equal columns, one after another.

    Args:
        tables: At least one.
        name: Their common name.
        options: See ``choose_columns``.
        parts: The part of a given split that each table is; None where there is no such split.
    """

    def __init__(
        self,
        tables: Sequence[Table],
        *,
        name: str,
        options: DataOptions,
        parts: Sequence[GivenPart] | None = None,
    ) -> None:
        choice = [choose_columns(t.columns(), options, t.where) for t in tables]
        image, label = choice[0]
        for table, (other_image, other_label) in zip(tables, choice, strict=True):
            found = (other_image.name, other_label.name, other_label.class_names)
            if found != (image.name, label.name, label.class_names):
                raise TaskError(
                    f"{table.where} has other image and label columns or class names than "
                    f"{tables[0].where}",
                    expected="tables of one dataset",
                    hint="load them one by one",
                )
        self._tables = tables
        self._image = image.name
        files = [str(resolved(table.path)) for table in tables if table.path is not None]
        self.location = f"column {image.name} of {files}" if files else None
        class_names, by_table = _labels(tables, label)
        self._starts = np.cumsum([0, *(len(values) for values in by_table)])
        super().__init__(
            name=name, class_names=class_names, labels=np.concatenate(by_table), encoded=True
        )
        if parts is not None:
            self.given = given_codes(parts, [len(values) for values in by_table])
        if (column := options.get("split_column")) is not None:
            self.given = codes_of_values(*self._values(column, "split"))
        if isinstance(groups := options.get("groups"), str):
            self.groups = named_groups(*self._values(groups, "group"))

    def _values(self, name: str, role: str) -> tuple[list[Any], str]:
        """Return the values of a column in all tables, and its name for errors."""
        for table in self._tables:
            check_column(table.columns(), name, role, table.where)
        values = [v for table in self._tables for batch in table.batches(name) for v in batch]
        return values, f"column {name!r} of {', '.join(table.where for table in self._tables)}"

    def images(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, Read]]:
        """Yield the encoded images; whole tables are read, and wanted rows passed on."""
        wanted = np.zeros(len(self.labels), dtype=np.bool_)
        wanted[rows] = True
        for table, start, end in zip(
            self._tables, self._starts[:-1].tolist(), self._starts[1:].tolist(), strict=True
        ):
            if not wanted[start:end].any():
                continue
            row = start
            for batch in table.batches(self._image):
                for value in batch:
                    if wanted[row]:
                        yield row, functools.partial(_content, value, table.follow_paths)
                    row += 1

    def file_stats(self) -> NDArray[np.void]:
        """Return the stat of each row: its table's file, and its number in there."""
        stats = np.zeros(len(self.labels), dtype=FILE_STAT)
        for table, start, end in zip(
            self._tables, self._starts[:-1], self._starts[1:], strict=True
        ):
            if table.path is not None:
                stats[start:end] = file_stats([table.path])
                stats["row"][start:end] = np.arange(end - start)
        return stats

    def describe(self, row: int) -> str:
        """Return the row's number in its table."""
        table = int(np.searchsorted(self._starts, row, side="right")) - 1
        return f"row {row - int(self._starts[table])} of {self._tables[table].where}"


def parts_of_files(root: Path, files: Sequence[Path]) -> tuple[GivenPart, ...] | None:
    """Return the part of a split that each file is named as, such as ``train-00000-of-00002``.

    A file may also lie in a folder of the part's name. A held-out part alone is for validation.

    Args:
        root: The folder that was named.
        files: The files below it.

    Returns:
        One part for each file; None where none is named as train or none as held out.

    Raises:
        TaskError: Both are, but a file is named as no part.
    """
    parts = []
    for file in files:
        *folders, _ = file.relative_to(root).parts
        names = (re.split(r"[-._]", file.stem)[0], *reversed(folders))
        parts.append(next(filter(None, map(part_named, names)), None))
    if not has_train_and_held_out(parts):
        return None
    if None in parts:
        raise TaskError(
            f"{files[parts.index(None)]} lies beside files of a train and a held-out part and is "
            "named as none of them",
            expected="a name that begins with train, validation or test",
            hint="rename it, or name the file that is meant",
        )
    return with_validation([part for part in parts if part is not None])


def _labels(
    tables: Sequence[Table], label: Column
) -> tuple[tuple[str, ...], list[NDArray[np.int64]]]:
    """Return the class names, and the labels of each table."""
    by_table: list[list[Any]] = [
        [value for batch in table.batches(label.name) for value in batch] for table in tables
    ]
    if label.class_names is not None and not any(
        isinstance(value, str) for values in by_table for value in values[:1]
    ):
        names = label.class_names
        where = [f"column {label.name!r} of {table.where}" for table in tables]
        return names, [checked_labels(v, names, w) for v, w in zip(by_table, where, strict=True)]
    together = [value for values in by_table for value in values]
    where_all = f"column {label.name!r} of {', '.join(table.where for table in tables)}"
    names, labels = named_labels(together, where_all)
    bounds = np.cumsum([len(values) for values in by_table])[:-1]
    return names, np.split(labels, bounds)


def _content(value: Any, follow_paths: bool) -> Content | CorruptImage:
    if isinstance(value, dict):
        path = value.get("path")
        value = value.get("bytes")
        if value is None and path and follow_paths:
            try:
                with open_regular(Path(path)) as file:
                    return file.read()
            except OSError as error:
                return CorruptImage(f"{path} cannot be read ({error.strerror})")
    if value is None:
        return CorruptImage("the row has no image bytes")
    return bytes(value)
