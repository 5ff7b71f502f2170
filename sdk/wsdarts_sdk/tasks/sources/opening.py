"""Telling which kind of source is meant."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wsdarts_registry.errors import TaskError
from wsdarts_registry.files import exists, expanded, is_directory, resolved
from wsdarts_sdk.tasks.sources.base import ImageSource
from wsdarts_sdk.tasks.sources.folder import FolderSource, image_files, parquet_files

_EXPECTED = (
    "expected a folder of class folders, a parquet file or a folder of them, 'hf:NAME', "
    "'torchvision:NAME', or (images, labels) as arrays"
)


def open_source(
    data: Any,
    *,
    image_column: str | None,
    label_column: str | None,
    split: str | Sequence[str] | None,
    cache: Path,
) -> ImageSource:
    """Open what ``ImageTask.load`` was given.

    Raises:
        TaskError: It is none of the known kinds, or cannot be read as its kind, or an
            option is given that its kind does not have.
    """
    columns = {"image_column": image_column, "label_column": label_column}
    if isinstance(data, tuple | list):
        _refuse("arrays", **columns, split=split)
        return _tensors(data)
    if not isinstance(data, str | os.PathLike):
        raise TaskError(f"data of type {type(data).__name__} cannot be read; {_EXPECTED}")
    text = os.fspath(data)
    if text.strip() in ("", "hf:", "torchvision:"):
        raise TaskError(f"{text!r} names no dataset; {_EXPECTED}")
    if text.startswith("hf:"):
        from wsdarts_sdk.tasks.sources.hub import hub_source  # noqa: PLC0415

        return hub_source(text.removeprefix("hf:"), **columns, split=split)
    if text.startswith("torchvision:"):
        from wsdarts_sdk.tasks.sources.torchvision_sets import TorchvisionSource  # noqa: PLC0415

        _refuse("torchvision's datasets", **columns)
        name = text.removeprefix("torchvision:")
        return TorchvisionSource(name, root=cache / "torchvision", split=split)
    return _path(expanded(text), columns, split)


def _path(
    path: Path, columns: dict[str, str | None], split: str | Sequence[str] | None
) -> ImageSource:
    if not exists(path):
        raise TaskError(f"{path} does not exist; {_EXPECTED}. Check the path")
    _refuse("local files", split=split)
    if is_directory(path):
        tables = parquet_files(path)
        if not tables:
            _refuse("image folders", **columns)
            return FolderSource(path)
        if image_files(path):
            raise TaskError(
                f"{path} has both parquet files and image files; {_EXPECTED}. Name the folder "
                f"or the file that is meant, such as {tables[0]}"
            )
    elif path.suffix.lower() == ".parquet":
        tables = [path]
    else:
        raise TaskError(f"{path} is a file, but not parquet; {_EXPECTED}")
    from wsdarts_sdk.tasks.sources.table import (  # noqa: PLC0415
        ParquetTable,
        TableSource,
        parts_of_files,
    )

    folder = is_directory(path)
    return TableSource(
        [ParquetTable(table) for table in tables],
        name=resolved(path).name if folder else path.stem,
        parts=parts_of_files(path, tables) if folder else None,
        **columns,
    )


def _tensors(data: Sequence[Any]) -> ImageSource:
    from wsdarts_sdk.tasks.sources.tensors import TensorSource  # noqa: PLC0415

    if len(data) not in (2, 3):
        raise TaskError(
            f"{len(data)} arrays given; expected (images, labels) or (images, labels, class_names)"
        )
    images, labels = data[:2]
    return TensorSource(images, labels, data[2] if len(data) == 3 else None, name="tensors")


def _refuse(kind: str, **options: Any) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise TaskError(
            f"{' and '.join(given)} cannot be chosen for {kind}; expected no such option. "
            "Leave it out"
        )
