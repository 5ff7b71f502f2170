"""Which column of a table holds the images, and which the labels."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from wsdarts_registry.errors import TaskError

_LABEL_NAMES = frozenset({"label", "labels", "class", "cls", "target", "category"})


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table, as far as it matters for a task.

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
    columns: Sequence[Column], image_column: str | None, label_column: str | None, where: str
) -> tuple[Column, Column]:
    """Find the image column and the label column.

    Without a choice the image column is the only one that the metadata call an image, or
    else the only one that holds bytes; the label column is the only one with class names,
    or else the only one called label, labels, class, cls, target or category.

    Raises:
        TaskError: A chosen column is not there or cannot hold what it should, or there is
            none or more than one to choose from.
    """
    holders = [c for c in columns if c.can_hold_images]
    declared = [c for c in holders if c.declared_image]
    image = _choose(columns, image_column, declared or holders, holders, "image", where)
    labelled = [c for c in columns if c.can_hold_labels and c.name != image.name]
    classes = [c for c in labelled if c.class_names]
    usual = [c for c in labelled if c.name.lower() in _LABEL_NAMES]
    return image, _choose(columns, label_column, classes or usual, labelled, "label", where)


def _choose(
    columns: Sequence[Column],
    chosen: str | None,
    candidates: Sequence[Column],
    usable: Sequence[Column],
    role: str,
    where: str,
) -> Column:
    existing = ", ".join(f"{c.name} ({c.type})" for c in columns)
    how = f"choose with --{role}-column NAME ({role}_column=…)"
    if chosen is not None:
        for column in columns:
            if column.name == chosen:
                if column in usable:
                    return column
                raise TaskError(
                    f"column {chosen!r} of {where} is of type {column.type} and cannot be the "
                    f"{role} column; expected {_EXPECTED[role]}. The columns are: {existing}"
                )
        raise TaskError(f"{where} has no column {chosen!r}; the columns are: {existing}; {how}")
    if not candidates:
        raise TaskError(
            f"{where} has no {role} column that can be told; expected {_EXPECTED[role]}. "
            f"The columns are: {existing}; {how}"
        )
    if len(candidates) > 1:
        names = ", ".join(c.name for c in candidates)
        raise TaskError(
            f"{where} has several columns that may be the {role} column: {names}; {how}. "
            f"The columns are: {existing}"
        )
    return candidates[0]


_EXPECTED = {
    "image": "encoded images (datasets.Image, or bytes)",
    "label": "one label for each image (datasets.ClassLabel, integers or strings)",
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
    except (ValueError, KeyError, TypeError):  # not what `datasets` writes: go by the types
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
