"""Folders that ``save_to_disk`` of `datasets` wrote, read as Arrow data without that library.

``state.json`` lists the files of a dataset, ``dataset_dict.json`` the splits, each a folder. Images
are in the files; a path in there is not followed, since the folder may come from elsewhere.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from wsdarts_registry import _json
from wsdarts_registry._files import is_file, read_regular, resolved
from wsdarts_registry.errors import TaskError
from wsdarts_sdk.data.sources.base import SPLITS, STATE, put_together
from wsdarts_sdk.data.sources.huggingface import chosen_splits, left_out, with_columns_of_first
from wsdarts_sdk.data.sources.table import Table, TableSource, damaged_table, rows_at_once
from wsdarts_sdk.data.split import GivenPart, parts_of_splits


class ArrowTable(Table):
    """One Arrow stream, mapped into memory while it is read."""

    follow_paths = False

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self.path = path
        if not is_file(path):
            raise TaskError(f"{path} is no regular file", expected="Arrow data. Save it again")
        try:
            with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
                self.schema = stream.schema
        except (OSError, pa.ArrowException) as error:
            raise damaged_table(self.where, error) from error

    def batches(self, column: str) -> Iterator[list[Any]]:
        """Yield the values of one column in order, some rows at a time."""
        try:
            with pa.memory_map(self.where) as file, pa.ipc.open_stream(file) as stream:
                for batch in stream:
                    values = batch.column(column)
                    values.validate(full=True)  # nothing in a file from elsewhere is believed
                    rows = rows_at_once([(len(values), values.nbytes)])
                    for start in range(0, len(values), rows):
                        yield values.slice(start, rows).to_pylist()
        except (OSError, KeyError, pa.ArrowException) as error:
            raise damaged_table(self.where, error) from error


def saved_source(
    folder: Path,
    *,
    image_column: str | None,
    label_column: str | None,
    split: str | Sequence[str] | None,
) -> TableSource:
    """Open a folder of ``save_to_disk``; a dictionary of train and held-out splits is a split.

    Raises:
        TaskError: It is damaged, a split is unknown, or the columns cannot be told.
    """
    columns = image_column, label_column
    name = resolved(folder).name
    if not is_file(folder / SPLITS):
        if split is not None:
            raise TaskError(f"{folder} has no splits", hint=f"leave out split={split!r}")
        return _source(_tables(folder), name, columns)
    listed = chosen_splits(_names(folder / SPLITS, "splits"), split, str(folder))
    splits = {key: _tables(folder / key) for key in listed}
    if split is not None:
        return _source([table for tables in splits.values() for table in tables], name, columns)
    kept = with_columns_of_first(splits, *columns)
    parts = parts_of_splits(tuple(kept), str(folder))
    files = [len(tables) for tables in kept.values()]
    source = _source(
        [table for tables in kept.values() for table in tables],
        name,
        columns,
        None
        if parts is None
        else [part for part, n in zip(parts, files, strict=True) for _ in range(n)],
    )
    source.notes = left_out(splits, kept)
    if parts is None:
        source.notes += put_together(tuple(kept))
    return source


def _source(
    tables: list[ArrowTable],
    name: str,
    columns: tuple[str | None, str | None],
    parts: Sequence[GivenPart] | None = None,
) -> TableSource:
    return TableSource(
        tables, name=name, image_column=columns[0], label_column=columns[1], parts=parts
    )


def _tables(folder: Path) -> list[ArrowTable]:
    return [ArrowTable(folder / name) for name in _names(folder / STATE, "_data_files")]


def _names(file: Path, key: str) -> tuple[str, ...]:
    """Names of files or folders beside a file of JSON that lists them."""
    remedy = "expected what save_to_disk of the library datasets writes. Save it again"
    data = _json.load(read_regular(file), what=str(file), error=TaskError, remedy=remedy)
    listed = data.get(key) if isinstance(data, dict) else None
    names = [
        str(entry.get("filename", "") if isinstance(entry, dict) else entry)
        for entry in (listed if isinstance(listed, list) else ())
    ]
    plain = all(name and Path(name).name == name for name in names)
    if not names or not plain:
        raise TaskError(f"{file} lists no files in {key!r}", hint=remedy)
    return tuple(names)
