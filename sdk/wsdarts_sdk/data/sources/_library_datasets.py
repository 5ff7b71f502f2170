"""Datasets that a library brings: of the Hugging Face Hub, saved by `datasets`, of torchvision.

Those of the Hub are loaded by `datasets`. Folders that its ``save_to_disk`` wrote are read as Arrow
data without that library: ``state.json`` lists the files of a dataset, ``dataset_dict.json`` the
splits, each a folder. Images are in the files; paths in there are not followed, since the folder
may come from elsewhere. torchvision downloads its datasets, and decodes their images itself.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from wsdarts_registry import _json
from wsdarts_registry._arguments import did_you_mean, nearest_names
from wsdarts_registry._files import exists, is_file, read_regular, resolved
from wsdarts_registry._libraries import naming_hidden_libraries
from wsdarts_registry.artifact.manifest import is_dataset_id
from wsdarts_registry.errors import TaskError
from wsdarts_registry.stores.huggingface.location import Endpoint, is_insecure_allowed
from wsdarts_sdk.data.decoding import Content, CorruptImage, Read, pillow_pixels
from wsdarts_sdk.data.options import DataOptions
from wsdarts_sdk.data.sources._table import (
    BATCH,
    Table,
    TableSource,
    choose_columns,
    damaged_table,
    rows_at_once,
)
from wsdarts_sdk.data.sources.base import (
    GIVEN_SPLIT,
    ImageSource,
    checked_labels,
    chosen_splits,
    joined_splits_note,
    kept_parts,
    named_labels,
)
from wsdarts_sdk.data.sources.listing import SPLITS_FILE, STATE_FILE
from wsdarts_sdk.data.split import given_codes, parts_of_splits

_Table = TypeVar("_Table", bound=Table)


class HuggingFaceTable(Table):
    """One split of a dataset."""

    follow_paths = True  # `datasets` wrote these paths on this machine

    def __init__(self, dataset: Any, where: str) -> None:
        self.where = where
        self.schema: pa.Schema = dataset.features.arrow_schema
        self._dataset = dataset.with_format("arrow")

    def batches(self, column: str) -> Iterator[list[Any]]:
        """Yield the values of one column in order, some rows at a time."""
        try:
            for batch in self._dataset.select_columns([column]).iter(batch_size=BATCH):
                yield batch.column(0).to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise damaged_table(self.where, error) from error


def huggingface_source(reference: str, options: DataOptions) -> TableSource:
    """Open ``NAME`` or ``NAME:CONFIG`` with ``datasets.load_dataset``.

    Args:
        reference: Name of a dataset on the Hub, or a local folder, and its configuration.
        options: Without ``split``, all splits that have the columns are joined, with a note; as
            ``"given"`` they are the parts that they are named as.

    Raises:
        TaskError: The dataset is missing, gated or cannot be reached; a split is unknown;
            the columns cannot be told.
    """
    name, _, config = reference.partition(":")
    splits = _load(name, config or None)
    wanted = chosen_splits(tuple(splits), options.get("split"), f"dataset {name}")
    tables = {key: [HuggingFaceTable(splits[key], f"split {key!r} of {name}")] for key in wanted}
    chosen = options.get("split") not in (None, GIVEN_SPLIT)
    kept = tables if chosen else with_columns_of_first(tables, options)
    source = TableSource(
        [table for found in kept.values() for table in found],
        name=reference.rstrip("/").rpartition("/")[2],
        options=options,
        parts=kept_parts(tuple(kept), options, f"dataset {name}"),
    )
    source.dataset = _id_on_hub(name, splits.values())
    if not chosen:
        source.notes = dropped_splits_note(tables, kept)
    if options.get("split") is None:
        source.notes += joined_splits_note(tuple(kept))
    return source


def _id_on_hub(name: str, splits: Iterable[Any]) -> str | None:
    """Return the id of a dataset of the Hub; None for a local folder and for a builder."""
    # `datasets` prefers local paths and its builders, such as "imagefolder", to the Hub.
    builders = {split.info.builder_name for split in splits}
    if exists(Path(name)) or name in builders or not is_dataset_id(name):
        return None
    return name


def _load(name: str, config: str | None) -> dict[str, Any]:
    with naming_hidden_libraries():
        return _load_with_datasets(name, config)


def _load_with_datasets(name: str, config: str | None) -> dict[str, Any]:
    # These take seconds to import.
    import datasets  # noqa: PLC0415
    import huggingface_hub.constants  # noqa: PLC0415
    import huggingface_hub.errors  # noqa: PLC0415

    if not exists(Path(name)):  # the token goes there, too
        Endpoint(url=huggingface_hub.constants.ENDPOINT, insecure=is_insecure_allowed())
    hub: Any = huggingface_hub.errors  # its HTTPError is httpx's, or that of httpx2
    library: Any = datasets
    refused = (OSError, RuntimeError, ValueError, hub.HTTPError, library.exceptions.DatasetsError)
    try:
        loaded = library.load_dataset(name, config)
    except refused as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TaskError(
            f"dataset {name!r} cannot be loaded: {reason}",
            expected=(
                "a dataset on the Hub that this machine can reach, in its cache, or in a local "
                "folder"
            ),
            hint=(
                "check the name ('hf:NAME:CONFIG'), the connection, and for gated datasets "
                "`hf auth login`"
            ),
        ) from error
    return dict(loaded)


def with_columns_of_first(
    splits: Mapping[str, list[_Table]], options: DataOptions
) -> dict[str, list[_Table]]:
    """Return the splits that have the image and the label column of the first.

    Raises:
        TaskError: The columns of the first cannot be told.
    """
    first = next(table for tables in splits.values() for table in tables)
    chosen = choose_columns(first.columns(), options, first.where)
    needed = {column.name for column in chosen}
    return {
        name: tables
        for name, tables in splits.items()
        if all(needed <= {column.name for column in table.columns()} for table in tables)
    }


def dropped_splits_note(
    splits: Mapping[str, object], kept: Mapping[str, object]
) -> tuple[str, ...]:
    """Return the note that ``with_columns_of_first`` left out splits, if it did."""
    names = [name for name in splits if name not in kept]
    if not names:
        return ()
    note = (
        f"left out the splits {', '.join(names)}, which do not have the image and the label column "
        f"of {next(iter(splits))}"
    )
    return (note,)


class ArrowTable(Table):
    """One Arrow stream, mapped into memory while it is read."""

    follow_paths = False

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self.path = path
        if not is_file(path):
            raise TaskError(path, found="no regular file", expected="Arrow data")
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
                    values.validate(full=True)  # the file may come from elsewhere
                    rows = rows_at_once([(len(values), values.nbytes)])
                    for start in range(0, len(values), rows):
                        yield values.slice(start, rows).to_pylist()
        except (OSError, KeyError, pa.ArrowException) as error:
            raise damaged_table(self.where, error) from error


def saved_source(folder: Path, options: DataOptions) -> TableSource:
    """Open a folder of ``save_to_disk``; a dictionary of train and held-out splits is a split.

    Raises:
        TaskError: It is damaged, a split is unknown, or the columns cannot be told.
    """
    name = resolved(folder).name
    split = options.get("split")
    split = None if split == GIVEN_SPLIT else split  # kept anyway
    if not is_file(folder / SPLITS_FILE):
        if split is not None:
            raise TaskError(f"{folder} has no splits", hint=f"leave out split={split!r}")
        return TableSource(_tables(folder), name=name, options=options)
    listed = chosen_splits(_names(folder / SPLITS_FILE, "splits"), split, str(folder))
    splits = {key: _tables(folder / key) for key in listed}
    kept = splits if split is not None else with_columns_of_first(splits, options)
    parts = None if split is not None else parts_of_splits(tuple(kept), str(folder))
    by_file = None
    if parts is not None:
        by_file = [part for part, key in zip(parts, kept, strict=True) for _ in kept[key]]
    source = TableSource(
        [table for tables in kept.values() for table in tables],
        name=name,
        options=options,
        parts=by_file,
    )
    if split is None:
        source.notes = dropped_splits_note(splits, kept)
        if parts is None:
            source.notes += joined_splits_note(tuple(kept))
    return source


def _tables(folder: Path) -> list[ArrowTable]:
    return [ArrowTable(folder / name) for name in _names(folder / STATE_FILE, "_data_files")]


def _names(file: Path, key: str) -> tuple[str, ...]:
    """Return the names of files or folders that a JSON file beside them lists."""
    remedy = "save it again with save_to_disk of the library datasets"
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


_Arguments = Mapping[str, Any]
_TRAIN_TEST: Mapping[str, _Arguments] = {"train": {"train": True}, "test": {"train": False}}


def _named(*names: str) -> Mapping[str, _Arguments]:
    return {name: {"split": name} for name in names}


# Arguments for each split; a split that repeats images of another is left out.
_IN_TORCHVISION: Mapping[str, Mapping[str, _Arguments]] = MappingProxyType(
    {
        "Caltech101": {"all": {}},
        "Caltech256": {"all": {}},
        "CIFAR10": _TRAIN_TEST,
        "CIFAR100": _TRAIN_TEST,
        "Country211": _named("train", "valid", "test"),
        "DTD": _named("train", "val", "test"),
        "EuroSAT": {"all": {}},
        "FGVCAircraft": _named("trainval", "test"),
        "FashionMNIST": _TRAIN_TEST,
        "Flowers102": _named("train", "val", "test"),
        "Food101": _named("train", "test"),
        "GTSRB": _named("train", "test"),
        "Imagenette": _named("train", "val"),
        "KMNIST": _TRAIN_TEST,
        "MNIST": _TRAIN_TEST,
        "OxfordIIITPet": _named("trainval", "test"),
        "PCAM": _named("train", "val", "test"),
        "RenderedSST2": _named("train", "val", "test"),
        "SEMEION": {"all": {}},
        "STL10": _named("train", "test"),
        "SUN397": {"all": {}},
        "SVHN": _named("train", "test"),
        "USPS": _TRAIN_TEST,
    }
)


class TorchvisionSource(ImageSource):
    """A dataset of torchvision, its splits joined.

    torchvision decodes the images itself, so they are identified by their pixels, and every
    load has to decode them.
    """

    def __init__(self, name: str, *, root: Path, split: str | Sequence[str] | None) -> None:
        name = _known_name(name)
        splits = _IN_TORCHVISION[name]
        wanted = chosen_splits(tuple(splits), split, f"torchvision's {name}")
        self._name = name
        self._splits = wanted
        self._parts = [_open_in_torchvision(name, root, splits[key]) for key in wanted]
        self._starts = np.cumsum([0, *(len(part) for part in self._parts)])
        class_names, labels = _torchvision_labels(name, self._parts)
        super().__init__(name=name, class_names=class_names, labels=labels, encoded=False)
        if split is None:
            self.notes = joined_splits_note(wanted)
        plain = ["train" if key == "trainval" else key for key in wanted]
        parts = kept_parts(plain, {"split": split}, f"torchvision's {name}")
        if parts is not None:
            self.given = given_codes(parts, [len(part) for part in self._parts])

    def images(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, Read]]:
        """Yield the images, fetched one after another: not every dataset can be shared."""
        for row in rows.tolist():
            part, index = self._locate(row)
            yield row, _returning(_decoded(self._parts[part], index))

    def describe(self, row: int) -> str:
        """Return the image's number in its split."""
        part, index = self._locate(row)
        return f"image {index} of {self._splits[part]!r} of torchvision's {self._name}"

    def _locate(self, row: int) -> tuple[int, int]:
        part = int(np.searchsorted(self._starts, row, side="right")) - 1
        return part, row - int(self._starts[part])


def _known_name(name: str) -> str:
    by_lower = {known.lower(): known for known in _IN_TORCHVISION}
    if name.lower() in by_lower:
        return by_lower[name.lower()]
    close = did_you_mean(nearest_names(name, _IN_TORCHVISION, least=0.5))
    raise TaskError(
        f"torchvision has no classification dataset {name!r} that is known here",
        expected=f"one of {', '.join(_IN_TORCHVISION)}",
        hint=close.strip(),
    )


def _open_in_torchvision(name: str, root: Path, arguments: _Arguments) -> Any:
    with naming_hidden_libraries():
        import torchvision  # noqa: PLC0415  (imports torch, which takes seconds)

        kind = getattr(torchvision.datasets, name)
    root.mkdir(parents=True, exist_ok=True)
    try:
        # Some classes download although the files exist, so try without first.
        with contextlib.suppress(RuntimeError, FileNotFoundError):
            return kind(root, **arguments, download=False)
        return kind(root, **arguments, download=True)
    except (OSError, RuntimeError, ImportError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TaskError(
            f"torchvision's {name} cannot be loaded: {reason}",
            expected=f"its files in {root}, or a connection to download them",
        ) from error


def _torchvision_labels(
    name: str, parts: Sequence[Any]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    where = f"the labels of torchvision's {name}"
    values = [int(label) for part in parts for label in _targets(part)]
    class_names = getattr(parts[0], "classes", None) or getattr(parts[0], "categories", None)
    if class_names is None:
        return named_labels(values, where)
    names = tuple(n if isinstance(n, str) else ", ".join(n) for n in class_names)
    return names, checked_labels(values, names, where)


def _targets(part: Any) -> Sequence[Any]:
    """Return the labels, from the attribute that holds them if there is one."""
    for attribute in ("targets", "labels", "_labels", "y"):
        found = getattr(part, attribute, None)
        if found is not None and len(found) == len(part):
            return found if isinstance(found, list) else np.asarray(found).tolist()
    samples = getattr(part, "samples", None) or getattr(part, "_samples", None)
    if samples:
        return [label for _, label in samples]
    return [part[index][1] for index in range(len(part))]


def _returning(content: Content | CorruptImage) -> Read:
    return lambda: content


def _decoded(part: Any, index: int) -> Content | CorruptImage:
    try:
        image = part[index][0]
        if not isinstance(image, Image.Image):
            return CorruptImage(f"torchvision gave a {type(image).__name__}, not an image")
        return pillow_pixels(image)
    except (OSError, SyntaxError, ValueError) as error:
        return CorruptImage(" ".join(str(error).split()))
