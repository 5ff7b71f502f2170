"""Safetensors bytes, read only after every claim of their header was checked.

A header is a claim by the author of the file. Everything that it claims (lengths, shapes,
types, offsets) is checked against the bytes that are really there before memory is claimed
for it; only then does the safetensors library parse the file.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as parse
from safetensors.numpy import save as serialize

from wsdarts_registry import _json
from wsdarts_registry.errors import ArtifactError, WsdartsError

MAX_HEADER_BYTES = 4 * 2**20
MAX_TENSORS = 32_768
_MAX_DIMENSIONS = 8
_MAX_NAME = 256
_MAX_ELEMENTS = 2**48
_METADATA_KEY = "wsdarts"
_LENGTH_BYTES = 8
_ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}
_WRITABLE = {"float64", "float32", "float16", "int64", "int32", "uint8", "bool"}


@dataclass(frozen=True, kw_only=True)
class TensorRecord:
    """The entry of one tensor in a checked header.

    Attributes:
        dtype: Name in the safetensors format: F64, F32, F16, I64, I32, U8 or BOOL.
        shape: Sizes of the dimensions; empty for a scalar.
        begin: First byte, counted from the end of the header.
        end: The byte after the last one.
    """

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Header:
    """A checked safetensors header.

    Attributes:
        tensors: Every tensor by name.
        metadata: The JSON data that ``write_tensors`` was given; None if the file has none.
        length: Bytes before the first tensor.
    """

    tensors: dict[str, TensorRecord]
    metadata: Any
    length: int


def write_tensors(tensors: Mapping[str, NDArray[Any]], metadata: Any = None) -> bytes:
    """Write arrays as safetensors bytes; equal arrays give equal bytes.

    Args:
        tensors: Arrays by name, of type float64, float32, float16, int64, int32, uint8 or bool.
        metadata: JSON data, kept as text under the one metadata key ``wsdarts`` (the library
            writes several keys in random order, and the digest would change with them).

    Raises:
        ArtifactError: A type that the format does not allow, or a name that is too long.
    """
    for name, array in tensors.items():
        if array.dtype.name not in _WRITABLE:
            raise ArtifactError(
                f"tensor {name!r} has type {array.dtype.name}",
                expected=f"one of {', '.join(sorted(_WRITABLE))}",
                hint="convert it first",
            )
    dense = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    shaped = {name: array.reshape(tensors[name].shape) for name, array in dense.items()}
    text = None if metadata is None else {_METADATA_KEY: _json.dump(metadata).decode()}
    content = serialize(shaped, metadata=text)
    read_header(content, len(content), what="the tensors to write")
    return content


def read_tensors(
    content: bytes, *, what: str, error: type[WsdartsError] = ArtifactError
) -> tuple[dict[str, NDArray[Any]], Any]:
    """Read safetensors bytes.

    Args:
        content: The whole file.
        what: Name of the file, for the message.
        error: Class of the error to raise.

    Returns:
        The arrays by name, and the JSON data that ``write_tensors`` was given (or None).

    Raises:
        WsdartsError: Of class ``error``; the file is truncated, longer than its header says,
            of a type that is not allowed, or malformed in another way.
    """
    header = read_header(content, len(content), what=what, error=error)
    try:
        arrays = parse(content)
    except (SafetensorError, ValueError, KeyError) as problem:
        raise error(
            f"{what} is not a safetensors file: {problem}", hint="fetch it again"
        ) from problem
    for name, record in header.tensors.items():
        if record.dtype == "BOOL" and (arrays[name].view(np.uint8) > 1).any():
            raise error(f"{what}: BOOL tensor {name!r} holds bytes other than 0 and 1")
    return arrays, header.metadata


def read_header(
    start: bytes, size: int, *, what: str, error: type[WsdartsError] = ArtifactError
) -> Header:
    """Check a safetensors header against the size of its file.

    Args:
        start: At least the header of the file; tensor data may follow or be missing.
        size: Bytes of the whole file.
        what: Name of the file, for the message.
        error: Class of the error to raise.

    Raises:
        WsdartsError: Of class ``error``; a claim of the header does not hold.
    """
    length = header_length(start, size, what=what, error=error)
    raw = _json.load(bytes(start[_LENGTH_BYTES:length]), what=f"the header of {what}", error=error)
    if not isinstance(raw, dict):
        raise error(f"the header of {what} is no JSON object", hint="fetch the file again")
    metadata = _read_metadata(raw.pop("__metadata__", None), what, error)
    if len(raw) > MAX_TENSORS:
        raise error(f"{what} has {len(raw)} tensors", expected=f"at most {MAX_TENSORS}")
    tensors = {name: _read_record(name, entry, what, error) for name, entry in raw.items()}
    _check_layout(tensors.values(), size - length, what, error)
    return Header(tensors=tensors, metadata=metadata, length=length)


def header_length(
    start: bytes, size: int, *, what: str, error: type[WsdartsError] = ArtifactError
) -> int:
    """Return the number of bytes before the first tensor, from the first eight of a file.

    Raises:
        WsdartsError: Of class ``error``; the file is too short for it, or it is too long.
    """
    if size < _LENGTH_BYTES or len(start) < _LENGTH_BYTES:
        raise error(f"{what} has {size} bytes and is no safetensors file", hint="fetch it again")
    length = _LENGTH_BYTES + int.from_bytes(start[:_LENGTH_BYTES], "little")
    if length > size:
        raise error(
            f"{what} is truncated or damaged: its header claims {length} bytes of {size}",
            hint="fetch it again",
        )
    if length - _LENGTH_BYTES > MAX_HEADER_BYTES:
        raise error(
            f"the header of {what} claims {length} bytes", expected=f"at most {MAX_HEADER_BYTES}"
        )
    return length


def _read_metadata(data: Any, what: str, error: type[WsdartsError]) -> Any:
    if data is None:
        return None
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise error(f"the metadata of {what} is malformed", expected="texts by name")
    if _METADATA_KEY not in data:
        return None
    return _json.load(data[_METADATA_KEY].encode(), what=f"the metadata of {what}", error=error)


def _read_record(name: str, entry: Any, what: str, error: type[WsdartsError]) -> TensorRecord:
    if not _well_formed(name, entry):
        raise error(
            f"{what}: the header entry of tensor {name[:_MAX_NAME]!r} is malformed",
            expected=(
                f"a dtype of {', '.join(_ITEM_BYTES)}, a shape of at most {_MAX_DIMENSIONS} sizes, "
                "and two offsets"
            ),
        )
    dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if end - begin != math.prod(shape) * _ITEM_BYTES[dtype]:
        raise error(
            f"{what} is damaged: tensor {name!r} of type {dtype} and shape {shape} has "
            f"{end - begin} bytes",
            hint="fetch it again",
        )
    # A tensor without elements takes no bytes, whatever its other sizes claim.
    if math.prod(max(size, 1) for size in shape) >= _MAX_ELEMENTS:
        raise error(
            f"{what}: tensor {name!r} claims the shape {shape}",
            expected="sizes whose product, without zeros, is below 2^48",
        )
    return TensorRecord(dtype=dtype, shape=tuple(shape), begin=begin, end=end)


def _well_formed(name: str, entry: Any) -> bool:
    if not 0 < len(name) <= _MAX_NAME or not isinstance(entry, dict):
        return False
    if entry.keys() != {"dtype", "shape", "data_offsets"}:
        return False
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    return (
        isinstance(dtype, str)
        and dtype in _ITEM_BYTES
        and _natural(shape)
        and _natural(offsets)
        and len(shape) <= _MAX_DIMENSIONS
        and len(offsets) == 2
    )


def _natural(values: Any) -> bool:
    return isinstance(values, list) and all(
        type(value) is int and 0 <= value < 2**48 for value in values
    )


def _check_layout(
    records: Iterable[TensorRecord], size: int, what: str, error: type[WsdartsError]
) -> None:
    """Check that tensors lie end to end and fill the file: no gap, overlap or trailing byte."""
    spans = sorted((record.begin, record.end) for record in records)
    edges = [(0, 0), *spans, (size, size)]
    if any(before[1] != after[0] for before, after in pairwise(edges)):
        raise error(
            f"{what} is truncated or damaged: its tensors do not lie end to end in its {size} "
            "bytes of data",
            hint="fetch it again",
        )
