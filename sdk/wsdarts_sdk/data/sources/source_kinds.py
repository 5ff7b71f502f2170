"""The choice of the kind of source for what a user hands in, and one source made of several."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry._files import entries, exists, expanded, is_directory, is_file, resolved
from wsdarts_registry.errors import TaskError
from wsdarts_sdk.data.decoding import Read
from wsdarts_sdk.data.options import DataOptions, given_options
from wsdarts_sdk.data.sources.base import (
    GIVEN_SPLIT,
    ImageSource,
    chosen_splits,
    joined_splits_note,
)
from wsdarts_sdk.data.sources.folder import FolderSource, image_files, parquet_files
from wsdarts_sdk.data.sources.listing import is_saved, may_have_metadata
from wsdarts_sdk.data.split import (
    GIVEN_CODES,
    GivenPart,
    given_codes,
    part_named,
    parts_of_splits,
    with_validation,
)

if TYPE_CHECKING:
    from wsdarts_sdk.data.sources._table import Table, TableSource

_KINDS = (
    "a folder of class folders, one with metadata.csv or that save_to_disk wrote, parquet "
    "or WebDataset tar files, 'hf:NAME', 'torchvision:NAME', or (images, labels) as arrays"
)


def open_source(data: Any, options: DataOptions, *, cache: Path) -> ImageSource:
    """Open a dataset of any kind that ``ImageTask.load`` takes.

    Raises:
        TaskError: It is of no known kind, cannot be read as its kind, or an option is given that
            its kind does not have.
    """
    held_out = {part: options.get(part.value) for part in (GivenPart.VALIDATION, GivenPart.TEST)}
    given = {part: each for part, each in held_out.items() if each is not None}
    main = _open(data, options, cache)
    if not given:
        return main
    common: DataOptions = {
        "image_column": options.get("image_column"),
        "label_column": options.get("label_column"),
        "groups": options.get("groups"),
    }
    return JoinedSource(main, {part: _open(each, common, cache) for part, each in given.items()})


def _open(data: Any, options: DataOptions, cache: Path) -> ImageSource:
    if isinstance(data, tuple | list):
        _refuse("arrays", options, "image_column", "label_column", "split", "split_column")
        return _tensors(data, options.get("groups"))
    if not isinstance(options.get("groups"), str | None):
        raise TaskError("groups", found="a list", expected="the name of a column")
    if not isinstance(data, str | os.PathLike):
        raise TaskError("data", found=f"of type {type(data).__name__}", expected=_KINDS)
    text = os.fspath(data)
    if text.strip() in ("", "hf:", "torchvision:"):
        raise TaskError(f"{text!r} names no dataset", expected=_KINDS)
    if text.startswith("hf:") and not is_saved(expanded(text[3:])):
        from wsdarts_sdk.data.sources._library_datasets import huggingface_source  # noqa: PLC0415

        return huggingface_source(text.removeprefix("hf:"), options)
    if text.startswith("torchvision:"):
        from wsdarts_sdk.data.sources._library_datasets import TorchvisionSource  # noqa: PLC0415

        unknown = ("image_column", "label_column", "split_column", "groups")
        _refuse("torchvision's datasets", options, *unknown)
        name = text.removeprefix("torchvision:")
        return TorchvisionSource(name, root=cache / "torchvision", split=options.get("split"))
    return _path(expanded(text.removeprefix("hf:")), options)


def _path(path: Path, options: DataOptions) -> ImageSource:
    if not exists(path):
        raise TaskError(f"{path} does not exist", expected=_KINDS, hint="check the path")
    source = _of_datasets(path, options)
    if source is not None:
        return source
    _refuse("local files", options, "split")
    if is_directory(path):
        tables = parquet_files(path)
        if not tables:
            return _folder(path, options)
        if image_files(path):
            raise TaskError(
                f"{path} has both parquet files and image files",
                expected=_KINDS,
                hint=f"name the folder or the file that is meant, such as {tables[0]}",
            )
    elif path.suffix.lower() == ".parquet":
        tables = [path]
    else:
        raise TaskError(path, found="neither parquet nor (uncompressed) tar", expected=_KINDS)
    from wsdarts_sdk.data.sources._table import ParquetTable  # noqa: PLC0415

    return _table_source(path, tables, ParquetTable, options)


def _table_source(
    path: Path, files: Sequence[Path], kind: "Callable[[Path], Table]", options: DataOptions
) -> "TableSource":
    """Open the tables that a path is or that lie below it, with the split of their names."""
    from wsdarts_sdk.data.sources._table import TableSource, parts_of_files  # noqa: PLC0415

    folder = is_directory(path)
    return TableSource(
        [kind(file) for file in files],
        name=resolved(path).name if folder else path.stem,
        parts=parts_of_files(path, files) if folder else None,
        options=options,
    )


def _of_datasets(path: Path, options: DataOptions) -> ImageSource | None:
    """Open a folder of ``save_to_disk``, WebDataset's archives, or a folder with metadata."""
    if is_saved(path):
        from wsdarts_sdk.data.sources._library_datasets import saved_source  # noqa: PLC0415

        return saved_source(path, options)
    archives = _archives(path)
    # Beside images or tables, archives are what those were unpacked from.
    unpacked = archives and is_directory(path) and (image_files(path) or parquet_files(path))
    if archives and not unpacked:
        from wsdarts_sdk.data.sources._webdataset import TarTable  # noqa: PLC0415

        _refuse("archives", options, "split")
        return _table_source(path, archives, TarTable, options)
    found = _metadata(path)
    if not found or _has_classes(path, found.values(), options.get("label_column")):
        return None
    notes: tuple[str, ...] = ()
    parts = None
    if "" in found:
        _refuse("local files without splits", options, "split")
    elif options.get("split") in (None, GIVEN_SPLIT):
        parts = parts_of_splits(tuple(found), str(path))
        notes = joined_splits_note(tuple(found)) if parts is None else ()
    else:
        chosen = chosen_splits(tuple(found), options.get("split"), str(path))
        found = {name: found[name] for name in chosen}
    tables = {path / name: table for name, table in found.items()}
    from wsdarts_sdk.data.sources._metadata import MetadataSource  # noqa: PLC0415

    source = MetadataSource(path, tables, options=options, parts=parts)
    source.notes = notes
    return source


def _archives(path: Path) -> list[Path]:
    """Return the tar file at a path, or those directly in it or in its folders for parts."""
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
    """Return the metadata of a folder, under the empty name, or of its folders by their names."""
    below = _visible_folders(path)
    if not any(map(may_have_metadata, (path, *below))):
        return {}
    from wsdarts_sdk.data.sources._metadata import read_metadata  # noqa: PLC0415

    own = read_metadata(path)
    if isinstance(own, tuple):
        return {"": own}
    read = {folder: read_metadata(folder) for folder in below}
    found = {folder.name: table for folder, table in read.items() if isinstance(table, tuple)}
    others = [folder for folder in below if folder.name not in found]
    return {} if any(image_files(folder) for folder in others) else found


def _visible_folders(path: Path) -> list[Path]:
    return [entry for entry in entries(path) if is_directory(entry) and entry.name[0] != "."]


def _folder(path: Path, options: DataOptions) -> FolderSource:
    """Open a folder of class folders; without classes, raise the error of unusable metadata."""
    unused = _unused_metadata(path)
    try:
        _refuse("image folders", options, "image_column", "label_column")
        source = FolderSource(path)
        _take_columns(source, path, options)
    except TaskError:
        if unused is None:
            raise
        raise unused from None
    if unused is not None and len(source.class_names) < 2:
        raise unused
    return source


def _take_columns(source: FolderSource, path: Path, options: DataOptions) -> None:
    """Take the parts and the groups of class folders from metadata beside them."""
    names = [options.get("split_column"), options.get("groups")]
    if names == [None, None]:
        return
    found = _metadata(path)
    if not found:
        column = next(name for name in names if name is not None)
        raise TaskError(
            f"{path} has no column {column!r}",
            expected="a metadata.csv or metadata.jsonl beside the class folders, with file_name "
            "and that column",
        )
    from wsdarts_sdk.data.sources._metadata import take_columns  # noqa: PLC0415

    take_columns(source, {path / name: table for name, table in found.items()}, options)


def _unused_metadata(path: Path) -> TaskError | None:
    """Return the error of metadata, of a folder or its folders for parts, that name no images."""
    below = _visible_folders(path)
    holders = [folder for folder in below if part_named(folder.name)]
    if not any(map(may_have_metadata, (path, *holders))):
        return None
    from wsdarts_sdk.data.sources._metadata import read_metadata  # noqa: PLC0415

    full = sum(bool(image_files(folder)) for folder in below)
    looked_at = [folder for folder in holders if image_files(folder)]
    if full < 2:
        looked_at.insert(0, path)
    reasons = (read_metadata(folder) for folder in looked_at if may_have_metadata(folder))
    return next((reason for reason in reasons if isinstance(reason, TaskError)), None)


def _has_classes(path: Path, tables: Iterable[tuple[Path, Any]], label_column: str | None) -> bool:
    """Return whether class folders have the labels that the metadata lack."""
    from wsdarts_sdk.data.sources._metadata import names_labels  # noqa: PLC0415

    if label_column is not None or any(names_labels(rows) for _, rows in tables):
        return False
    folders = [entry for entry in entries(path) if is_directory(entry)]
    return sum(bool(image_files(folder)) for folder in folders) > 1


def _tensors(data: Sequence[Any], groups: Any) -> ImageSource:
    from wsdarts_sdk.data.sources.tensors import TensorSource  # noqa: PLC0415

    if len(data) not in (2, 3):
        raise TaskError(
            "the number of arrays",
            found=len(data),
            expected="(images, labels) or (images, labels, class_names)",
        )
    images, labels = data[:2]
    names = data[2] if len(data) == 3 else None
    return TensorSource(images, labels, names, groups=groups, name="tensors")


def _refuse(kind: str, options: DataOptions, *names: str) -> None:
    present = given_options(options)
    given = [name for name in names if name in present]
    if given:
        raise TaskError(f"{' and '.join(given)} cannot be chosen for {kind}", hint="leave it out")


class JoinedSource(ImageSource):
    """Images of one source, with those of others as held-out parts of its split.

    Classes are matched by their names.

    Args:
        main: The source to train on; it may hold out a validation part of its own, if ``others``
            does not.
        others: The validation part, the test part, or both.

    Raises:
        TaskError: A part is there twice, or has a class that ``main`` has not; only some have
            groups.
    """

    def __init__(self, main: ImageSource, others: Mapping[GivenPart, ImageSource]) -> None:
        _check_parts(main, others)
        self._sources = (main, *others.values())
        self._starts = np.cumsum([0, *(len(source.labels) for source in self._sources)])
        labels = [main.labels, *(_labels(each, main) for each in others.values())]
        locations = [source.location for source in self._sources if source.location is not None]
        if len(locations) == len(self._sources):
            self.location = f"parts {' | '.join(locations)}"
        super().__init__(
            name=main.name,
            class_names=main.class_names,
            labels=np.concatenate(labels),
            encoded=any(source.encoded for source in self._sources),
        )
        self.dataset = main.dataset
        self.given = _given(main, others)
        self.groups = _groups(self._sources)
        passed_over: dict[str, int] = {}
        for source in self._sources:
            for suffix, number in source.passed_over.items():
                passed_over[suffix] = passed_over.get(suffix, 0) + number
        self.passed_over = passed_over
        told = ([f"{part} part: {note}" for note in each.notes] for part, each in others.items())
        self.notes = (*main.notes, *chain.from_iterable(told))

    def images(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, Read]]:
        """Yield the images of each source in turn."""
        for source, start, end in self._ranges():
            inside = rows[(rows >= start) & (rows < end)] - start
            if len(inside):
                yield from ((start + row, read) for row, read in source.images(inside))

    def file_stats(self) -> NDArray[np.void]:
        """Return the stats of each source, one after another."""
        return np.concatenate([source.file_stats() for source in self._sources])

    def describe(self, row: int) -> str:
        """Return the image's name at its source."""
        source, start, _ = next(each for each in self._ranges() if row < each[2])
        return source.describe(row - start)

    def _ranges(self) -> Iterator[tuple[ImageSource, int, int]]:
        starts = self._starts.tolist()
        return zip(self._sources, starts[:-1], starts[1:], strict=True)


def _check_parts(main: ImageSource, others: Mapping[GivenPart, ImageSource]) -> None:
    if main.given is not None and (GivenPart.VALIDATION in others or _has_test(main)):
        raise TaskError(
            f"{main.name} comes with a split of its own, beside which "
            f"{' and '.join(f'a {part} part' for part in others)} cannot be given",
            hint="name the folder of its train part alone, or leave the other out",
        )
    for part, source in others.items():
        if source.given is not None:
            raise TaskError(
                f"{source.name}, which is to be the {part} part, comes with a split of its own",
                hint="name the folder or the file of one part",
            )


def _has_test(source: ImageSource) -> bool:
    return source.given is not None and GIVEN_CODES[GivenPart.TEST] in source.given


def _labels(source: ImageSource, main: ImageSource) -> NDArray[np.int64]:
    """Return the labels by the class names of the main source."""
    label_of = {name: label for label, name in enumerate(main.class_names)}
    present = [source.class_names[label] for label in np.unique(source.labels).tolist()]
    unknown = [name for name in present if name not in label_of]
    if unknown:
        raise TaskError(
            f"{source.name} has the class {unknown[0]!r}, which {main.name} does not have",
            expected=f"the classes {', '.join(main.class_names[:6])}"
            + (" …" if len(main.class_names) > 6 else ""),
            hint="name the classes alike, or leave it out",
        )
    table = np.array([label_of.get(name, -1) for name in source.class_names], dtype=np.int64)
    return np.asarray(table[source.labels])


def _given(main: ImageSource, others: Mapping[GivenPart, ImageSource]) -> NDArray[np.int8]:
    if main.given is not None:
        held_out = given_codes(tuple(others), [len(source.labels) for source in others.values()])
        return np.concatenate([main.given, held_out])
    sources = {GivenPart.TRAIN: main, **others}
    parts = with_validation(tuple(sources))
    return given_codes(parts, [len(source.labels) for source in sources.values()])


def _groups(sources: tuple[ImageSource, ...]) -> tuple[str, ...] | None:
    lacking = [source for source in sources if source.groups is None]
    if len(lacking) == len(sources):
        return None
    if lacking:
        raise TaskError(
            f"{lacking[0].name} has no groups, but {sources[0].name} has",
            hint="give all parts or none",
        )
    return tuple(chain.from_iterable(source.groups or () for source in sources))
