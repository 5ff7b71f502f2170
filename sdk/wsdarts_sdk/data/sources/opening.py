"""Telling which kind of source is meant."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from wsdarts_registry._files import entries, exists, expanded, is_directory, is_file, resolved
from wsdarts_registry.errors import TaskError
from wsdarts_sdk.data.sources.base import ImageSource, is_saved, may_have_metadata, put_together
from wsdarts_sdk.data.sources.folder import FolderSource, image_files, parquet_files
from wsdarts_sdk.data.split import part_named, parts_of_splits

_EXPECTED = (
    "expected a folder of class folders, one with metadata.csv or that save_to_disk wrote, parquet "
    "or WebDataset tar files, 'hf:NAME', 'torchvision:NAME', or (images, labels) as arrays"
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
        raise TaskError(f"data of type {type(data).__name__} cannot be read", hint=_EXPECTED)
    text = os.fspath(data)
    if text.strip() in ("", "hf:", "torchvision:"):
        raise TaskError(f"{text!r} names no dataset", hint=_EXPECTED)
    if text.startswith("hf:") and not is_saved(expanded(text[3:])):
        from wsdarts_sdk.data.sources.huggingface import hub_source  # noqa: PLC0415

        return hub_source(text.removeprefix("hf:"), **columns, split=split)
    if text.startswith("torchvision:"):
        from wsdarts_sdk.data.sources.torchvision import TorchvisionSource  # noqa: PLC0415

        _refuse("torchvision's datasets", **columns)
        name = text.removeprefix("torchvision:")
        return TorchvisionSource(name, root=cache / "torchvision", split=split)
    return _path(expanded(text.removeprefix("hf:")), columns, split)


def _path(
    path: Path, columns: dict[str, str | None], split: str | Sequence[str] | None
) -> ImageSource:
    if not exists(path):
        raise TaskError(f"{path} does not exist", hint=f"{_EXPECTED}. Check the path")
    source = _of_datasets(path, columns, split)
    if source is not None:
        return source
    _refuse("local files", split=split)
    if is_directory(path):
        tables = parquet_files(path)
        if not tables:
            return _folder(path, columns)
        if image_files(path):
            raise TaskError(
                f"{path} has both parquet files and image files",
                hint=f"{_EXPECTED}. Name the folder or the file that is meant, such as {tables[0]}",
            )
    elif path.suffix.lower() == ".parquet":
        tables = [path]
    else:
        raise TaskError(f"{path} is a file, but not parquet or (uncompressed) tar", hint=_EXPECTED)
    from wsdarts_sdk.data.sources.table import (  # noqa: PLC0415
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


def _of_datasets(
    path: Path, columns: dict[str, str | None], split: str | Sequence[str] | None
) -> ImageSource | None:
    """A folder of ``save_to_disk``, WebDataset's archives, or a folder with metadata."""
    if is_saved(path):
        from wsdarts_sdk.data.sources.saved import saved_source  # noqa: PLC0415

        return saved_source(path, **columns, split=split)
    archives = _archives(path)
    # Beside images or tables they are what those came packed in.
    unpacked = archives and is_directory(path) and (image_files(path) or parquet_files(path))
    if archives and not unpacked:
        from wsdarts_sdk.data.sources.table import TableSource, parts_of_files  # noqa: PLC0415
        from wsdarts_sdk.data.sources.webdataset import TarTable  # noqa: PLC0415

        _refuse("archives", split=split)
        folder = is_directory(path)
        name = resolved(path).name if folder else path.stem
        parts = parts_of_files(path, archives) if folder else None
        return TableSource([TarTable(file) for file in archives], name=name, **columns, parts=parts)
    found = _metadata(path)
    if not found or _has_classes(path, found.values(), columns["label_column"]):
        return None
    notes: tuple[str, ...] = ()
    parts = None
    if "" in found:
        _refuse("local files without splits", split=split)
    elif split is None:
        parts = parts_of_splits(tuple(found), str(path))
        notes = put_together(tuple(found)) if parts is None else ()
    else:
        from wsdarts_sdk.data.sources.huggingface import chosen_splits  # noqa: PLC0415

        found = {name: found[name] for name in chosen_splits(tuple(found), split, str(path))}
    tables = {path / name: table for name, table in found.items()}
    from wsdarts_sdk.data.sources.metadata import MetadataSource  # noqa: PLC0415

    source = MetadataSource(path, tables, **columns, parts=parts)
    source.notes = notes
    return source


def _archives(path: Path) -> list[Path]:
    """The tar files that a path is, or that lie directly in it or in its folders for parts."""
    if not is_directory(path):
        return _tar_files((path,))
    below = [entry for entry in entries(path) if part_named(entry.name) and is_directory(entry)]
    return _tar_files(entries(path)) or [f for part in below for f in _tar_files(entries(part))]


def _tar_files(files: Iterable[Path]) -> list[Path]:
    return [
        file
        for file in files
        if file.suffix.lower() == ".tar" and not file.name.startswith(".") and is_file(file)
    ]


def _metadata(path: Path) -> dict[str, tuple[Path, Any]]:
    """The metadata of a folder under the empty name, or those of its splits, folders below it."""
    below = [entry for entry in entries(path) if is_directory(entry) and entry.name[0] != "."]
    if not any(map(may_have_metadata, (path, *below))):
        return {}
    from wsdarts_sdk.data.sources.metadata import read_metadata  # noqa: PLC0415

    own = read_metadata(path)
    if isinstance(own, tuple):
        return {"": own}
    read = {folder: read_metadata(folder) for folder in below}
    found = {folder.name: table for folder, table in read.items() if isinstance(table, tuple)}
    others = [folder for folder in below if folder.name not in found]
    return {} if any(image_files(folder) for folder in others) else found


def _folder(path: Path, columns: dict[str, str | None]) -> FolderSource:
    """A folder of class folders; without classes, metadata that cannot be used are the reason."""
    unused = _unused_metadata(path)
    try:
        _refuse("image folders", **columns)
        source = FolderSource(path)
    except TaskError:
        if unused is None:
            raise
        raise unused from None
    if unused is not None and len(source.class_names) < 2:
        raise unused
    return source


def _unused_metadata(path: Path) -> TaskError | None:
    """Why metadata of a folder, or of those of its parts, do not say what its images are."""
    below = [entry for entry in entries(path) if is_directory(entry) and entry.name[0] != "."]
    holders = [folder for folder in below if part_named(folder.name)]
    if not any(map(may_have_metadata, (path, *holders))):
        return None
    from wsdarts_sdk.data.sources.metadata import read_metadata  # noqa: PLC0415

    full = sum(bool(image_files(folder)) for folder in below)
    looked_at = [folder for folder in holders if image_files(folder)]
    if full < 2:
        looked_at.insert(0, path)
    reasons = (read_metadata(folder) for folder in looked_at if may_have_metadata(folder))
    return next((reason for reason in reasons if isinstance(reason, TaskError)), None)


def _has_classes(path: Path, tables: Iterable[tuple[Path, Any]], label_column: str | None) -> bool:
    """Whether class folders say what the metadata, such as captions, do not."""
    from wsdarts_sdk.data.sources.metadata import names_labels  # noqa: PLC0415

    if label_column is not None or any(names_labels(rows) for _, rows in tables):
        return False
    folders = [entry for entry in entries(path) if is_directory(entry)]
    return sum(bool(image_files(folder)) for folder in folders) > 1


def _tensors(data: Sequence[Any]) -> ImageSource:
    from wsdarts_sdk.data.sources.tensors import TensorSource  # noqa: PLC0415

    if len(data) not in (2, 3):
        raise TaskError(
            f"{len(data)} arrays given",
            expected="(images, labels) or (images, labels, class_names)",
        )
    images, labels = data[:2]
    return TensorSource(images, labels, data[2] if len(data) == 3 else None, name="tensors")


def _refuse(kind: str, **options: Any) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise TaskError(
            f"{' and '.join(given)} cannot be chosen for {kind}",
            expected="no such option. Leave it out",
        )
