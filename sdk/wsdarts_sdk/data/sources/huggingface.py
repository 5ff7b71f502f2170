"""Datasets that the library `datasets` finds: on the Hugging Face Hub, or in a folder."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from wsdarts_registry._files import exists
from wsdarts_registry._libraries import naming_hidden_libraries
from wsdarts_registry.artifact.manifest import is_dataset_id
from wsdarts_registry.errors import TaskError
from wsdarts_registry.stores.huggingface.location import Endpoint, is_insecure_allowed
from wsdarts_sdk.data.sources.base import put_together
from wsdarts_sdk.data.sources.table import BATCH, Table, TableSource, choose_columns, damaged_table

_Table = TypeVar("_Table", bound=Table)


class HubTable(Table):
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


def hub_source(
    reference: str,
    *,
    image_column: str | None,
    label_column: str | None,
    split: str | Sequence[str] | None,
) -> TableSource:
    """Open ``NAME`` or ``NAME:CONFIG`` with ``datasets.load_dataset``.

    Args:
        reference: Name of a dataset on the Hub, or a local folder, and its configuration.
        image_column: See ``choose_columns``.
        label_column: See ``choose_columns``.
        split: Which splits to put together; without it, all that have those columns, and a note
            says so.

    Raises:
        TaskError: The dataset is missing, gated or cannot be reached; a split is unknown;
            the columns cannot be told.
    """
    name, _, config = reference.partition(":")
    splits = _load(name, config or None)
    wanted = chosen_splits(tuple(splits), split, f"dataset {name}")
    tables = {key: [HubTable(splits[key], f"split {key!r} of {name}")] for key in wanted}
    kept = (
        tables if split is not None else with_columns_of_first(tables, image_column, label_column)
    )
    source = TableSource(
        [table for found in kept.values() for table in found],
        name=reference.rstrip("/").rpartition("/")[2],
        image_column=image_column,
        label_column=label_column,
    )
    source.dataset = _id_on_hub(name, splits.values())
    if split is None:
        source.notes = left_out(tables, kept) + put_together(tuple(kept))
    return source


def _id_on_hub(name: str, splits: Iterable[Any]) -> str | None:
    """The id that was loaded from the Hub; None for a local folder and for files by a builder."""
    # `datasets` takes what exists here before it asks the Hub, and its builders, such as
    # "imagefolder", for neither.
    builders = {split.info.builder_name for split in splits}
    if exists(Path(name)) or name in builders or not is_dataset_id(name):
        return None
    return name


def chosen_splits(
    existing: Sequence[str], split: str | Sequence[str] | None, where: str
) -> tuple[str, ...]:
    """Return the names of the splits to use, ``"train+test"`` and lists taken apart.

    Raises:
        TaskError: A name is unknown or given twice, or there is none.
    """
    if split is None:
        return tuple(existing)
    wanted = tuple(split.split("+")) if isinstance(split, str) else tuple(split)
    unknown = [name for name in wanted if name not in existing]
    if unknown or not wanted or len(set(wanted)) < len(wanted):
        raise TaskError(
            f"splits {'+'.join(wanted)!r} cannot be taken from {where}",
            expected=f"some of {', '.join(existing)}, each once, such as split={existing[0]!r}",
        )
    return wanted


def _load(name: str, config: str | None) -> dict[str, Any]:
    with naming_hidden_libraries():
        return _load_with_datasets(name, config)


def _load_with_datasets(name: str, config: str | None) -> dict[str, Any]:
    # These take seconds to import, so only those who need them pay.
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
                "folder. Check the name ('hf:NAME:CONFIG'), the connection, and for gated "
                "datasets `hf auth login`"
            ),
        ) from error
    return dict(loaded)


def with_columns_of_first(
    splits: Mapping[str, list[_Table]], image_column: str | None, label_column: str | None
) -> dict[str, list[_Table]]:
    """Return the splits that have the image and the label column of the first; see ``left_out``.

    What is in the columns is for ``TableSource`` to compare.

    Raises:
        TaskError: The columns of the first cannot be told.
    """
    first = next(table for tables in splits.values() for table in tables)
    chosen = choose_columns(first.columns(), image_column, label_column, first.where)
    needed = {column.name for column in chosen}
    return {
        name: tables
        for name, tables in splits.items()
        if all(needed <= {column.name for column in table.columns()} for table in tables)
    }


def left_out(splits: Mapping[str, object], kept: Mapping[str, object]) -> tuple[str, ...]:
    """Return the note that splits were left out by ``with_columns_of_first``, if any were."""
    names = [name for name in splits if name not in kept]
    if not names:
        return ()
    note = (
        f"left out the splits {', '.join(names)}, which do not have the image and the label column "
        f"of {next(iter(splits))}"
    )
    return (note,)
