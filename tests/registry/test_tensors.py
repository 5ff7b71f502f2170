import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from wsdarts_registry._tensors import read_header, read_tensors, write_tensors
from wsdarts_registry.errors import ArtifactError

_TYPES = [np.float64, np.float32, np.float16, np.int64, np.int32, np.uint8, np.bool_]
_ARRAYS = st.sampled_from(_TYPES).flatmap(
    lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
)


def _file(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    claimed = len(text) if length is None else length
    return claimed.to_bytes(8, "little") + text + data


def _entry(dtype: str = "U8", shape: Any = (2,), offsets: Any = (0, 2)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1, max_size=9), _ARRAYS))
def test_round_trip(tensors: dict[str, NDArray[Any]]) -> None:
    tensors.pop("__metadata__", None)
    content = write_tensors(tensors, {"format": 1})
    found, metadata = read_tensors(content, what="file")
    assert metadata == {"format": 1}
    assert set(found) == set(tensors)
    for name, array in tensors.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    assert write_tensors(dict(reversed(tensors.items())), {"format": 1}) == content


def test_a_file_without_our_metadata_has_none() -> None:
    assert read_tensors(_file({"a": _entry()}, b"12"), what="file")[1] is None
    foreign = _file({"__metadata__": {"format": "pt"}, "a": _entry()}, b"12")
    assert read_tensors(foreign, what="file")[1] is None


def test_every_truncation_is_refused() -> None:
    content = write_tensors({"a": np.arange(5.0), "b": np.ones(3, dtype=np.bool_)}, {"x": 1})
    for length in range(len(content)):
        with pytest.raises(ArtifactError, match=r"^weights\.safetensors|header of weights"):
            read_tensors(content[:length], what="weights.safetensors")


def test_trailing_bytes_are_refused() -> None:
    with pytest.raises(ArtifactError, match="end to end"):
        read_tensors(write_tensors({"a": np.ones(2)}) + b"\0", what="file")


@given(st.data())
def test_any_changed_byte_is_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(write_tensors({"a": np.ones(3), "b": np.zeros((2, 2), np.uint8)}, [1]))
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    _read_or_refuse(bytes(content))


@given(st.binary(max_size=200), st.integers(0, 300))
def test_any_bytes_are_read_or_refused(content: bytes, length: int) -> None:
    _read_or_refuse(content)
    _read_or_refuse(length.to_bytes(8, "little") + content)


def _read_or_refuse(content: bytes) -> None:
    try:
        arrays, metadata = read_tensors(content, what="file")
    except ArtifactError:
        return
    again, same = read_tensors(write_tensors(arrays, metadata), what="again")
    assert same == metadata
    assert {n: (a.dtype, a.shape, a.tobytes()) for n, a in again.items()} == {
        n: (a.dtype, a.shape, a.tobytes()) for n, a in arrays.items()
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 bytes .*no safetensors"),
        (_file({}, length=2**63), "claims 9223372036854775816 bytes"),
        (_file(b"[" * 5000), "not valid JSON"),
        (_file(b'{"a":1,"a":2}'), "a key stands twice"),
        (_file(b"[]"), "is no JSON object"),
        (_file({"a": _entry(dtype="BF16")}, b"12"), "dtype of F64, F32"),
        (_file({"a": _entry(dtype="U8", shape=[-2], offsets=[0, 2])}, b"12"), "is malformed"),
        (_file({"a": _entry(offsets=[-2, 0])}, b"12"), "is malformed"),
        (_file({"a": _entry(shape=[True, 2])}, b"12"), "is malformed"),
        (_file({"a": _entry(shape=[2.0])}, b"12"), "is malformed"),
        (_file({"a": _entry(shape=[1] * 9, offsets=[0, 1])}, b"1"), "is malformed"),
        (_file({"a": _entry(shape=[2**32, 2**32, 2])}, b"12"), "2 bytes"),
        (_file({"a": {**_entry(), "x": 1}}, b"12"), "is malformed"),
        (_file({"": _entry()}, b"12"), "is malformed"),
        (_file({"a": _entry(), "b": _entry()}, b"12"), "end to end .* 2 bytes"),
        (_file({"a": _entry(), "b": _entry(offsets=[1, 3])}, b"123"), "end to end .* 3 bytes"),
        (_file({"a": _entry(), "b": _entry(offsets=[3, 5])}, b"12345"), "end to end .* 5 bytes"),
        (_file({"a": _entry(dtype="BOOL")}, b"\1\2"), "other than 0 and 1"),
        (_file({"__metadata__": {"x": 1}}), "metadata .*file is malformed"),
        (_file({"__metadata__": {"wsdarts": "{"}}), "metadata .*file .*valid JSON"),
    ],
)
def test_attack_files(content: bytes, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        read_tensors(content, what="file")


def test_a_huge_header_is_refused_before_it_is_read() -> None:
    start = (5 * 2**20).to_bytes(8, "little") + b"{"
    with pytest.raises(ArtifactError, match="expected at most 4194304"):
        read_header(start, 10 * 2**20, what="file")


def test_too_many_tensors_are_refused() -> None:
    entry = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
    content = _file({str(n): entry for n in range(32_769)})
    with pytest.raises(ArtifactError, match=r"32769 tensors; .* 32768"):
        read_tensors(content, what="file")


def test_types_that_the_format_lacks_are_refused() -> None:
    with pytest.raises(ArtifactError, match=r"'a' has type complex128"):
        write_tensors({"a": np.ones(2, dtype=np.complex128)})
