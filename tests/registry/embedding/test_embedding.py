import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from tests.error_fields import assert_fields
from tests.registry.factories import digest_of, make_embedding, make_space
from wsdarts_registry._tensors import read_tensors, write_tensors
from wsdarts_registry._text import is_plain_line
from wsdarts_registry.embedding.distance import symmetric_distance
from wsdarts_registry.embedding.embedding import EmbeddingSpace, TaskEmbedding, mean_task_digest
from wsdarts_registry.errors import EmbeddingError

_NAMES = st.text(
    st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=30
).filter(lambda text: is_plain_line(text, 30))
_SETTINGS = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True),
    _NAMES | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False),
    max_size=5,
)
_SPACES = st.builds(
    EmbeddingSpace,
    probe=_NAMES,
    probe_digest=st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:{}".format),
    estimator=_NAMES,
    version=st.integers(1, 99),
    settings=_SETTINGS.map(lambda settings: tuple(settings.items())),
)
_VALUES = arrays(np.float32, 6, elements=st.floats(0, 2.0**100, width=32)).filter(
    lambda v: bool(v.any())
)


@given(_SPACES)
def test_space_round_trip(space: EmbeddingSpace) -> None:
    found = EmbeddingSpace.from_json(json.loads(json.dumps(space.to_json())))
    assert found == space
    assert found.key == space.key
    assert hash(found) == hash(space)
    assert set(space.key) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")


def test_whole_floats_and_integers_are_one_space() -> None:
    first, second = make_space(head_l2=10.0), make_space(head_l2=10)
    assert first == second
    assert first.key == second.key
    assert make_space(a=1, b=2) == make_space(b=2, a=1)


def test_each_field_makes_another_space() -> None:
    space = make_space(head_l2=10)
    others = [
        replace(space, probe="other"),
        replace(space, probe_digest=digest_of("other")),
        replace(space, estimator="variational"),
        replace(space, version=2),
        make_space(head_l2=1),
    ]
    assert len({space, *others}) == 6
    assert len({s.key for s in (space, *others)}) == 6


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"probe": ""}, {"what": "the probe", "found": "''"}),
        ({"probe": "a\x1b[31m"}, {"what": "the probe", "expected": "one line"}),
        ({"estimator": "x" * 201}, {"what": "the estimator", "expected": "1 to 200"}),
        ({"probe_digest": "sha256:ABC"}, {"what": "digest", "expected": ("'sha256:'", 64)}),
        ({"version": 0}, {"what": "version 0", "expected": "1 or more"}),
        ({"version": True}, {"what": "version True"}),
        ({"settings": (("a", 1), ("a", 2))}, {"what": ["a", "a"], "expected": "each name once"}),
        ({"settings": (("a", float("nan")),)}, {"what": "setting 'a'", "found": "'nan'"}),
        ({"settings": (("a", True),)}, {"what": "setting 'a'", "found": "'True'"}),
        ({"settings": (("A b", 1),)}, {"what": "setting 'A b'", "expected": "a name of a-z"}),
    ],
)
def test_bad_spaces(change: dict[str, Any], fields: dict[str, Any]) -> None:
    with pytest.raises(EmbeddingError) as caught:
        replace(make_space(), **change)
    assert_fields(caught.value, **fields)


def test_bad_space_json() -> None:
    for data in (None, [], {"probe": "x"}, {**make_space().to_json(), "more": 1}):
        with pytest.raises(EmbeddingError, match="the keys probe"):
            EmbeddingSpace.from_json(data)


@given(_SPACES, _VALUES)
def test_round_trip(space: EmbeddingSpace, values: NDArray[np.float32]) -> None:
    embedding = make_embedding(space=space, values=values.astype(np.float64))
    content = embedding.to_bytes()
    found = TaskEmbedding.from_bytes(content)
    np.testing.assert_array_equal(found.values, embedding.values)
    assert found.to_bytes() == content
    assert found.values.dtype == np.float64
    for field in ("space", "task_digest", "task_name", "images", "classes"):
        assert getattr(found, field) == getattr(embedding, field)


def with_error(*errors: float) -> TaskEmbedding:
    values = np.arange(1.0, len(errors) + 1)
    return replace(make_embedding(values=values), standard_error=np.array(errors))


def test_the_standard_error_is_kept_and_may_be_missing() -> None:
    without = make_embedding()
    known = replace(without, standard_error=without.values / 8)
    found = TaskEmbedding.from_bytes(known.to_bytes())
    assert found.standard_error is not None
    np.testing.assert_array_equal(found.standard_error, (without.values / 8).astype(np.float32))
    assert found.to_bytes() == known.to_bytes()
    assert TaskEmbedding.from_bytes(without.to_bytes()).standard_error is None
    assert without.relative_error is None
    assert without.distance_error is None
    arrays, _ = read_tensors(without.to_bytes(), what="it", error=EmbeddingError)
    assert set(arrays) == {"fisher"}  # so files without one are those of before


def test_relative_error_by_hand() -> None:
    # Values 1, 2: relative errors 3/10 and 4/10, so √((0.09 + 0.16) / 2), and half its square.
    embedding = with_error(0.3, 0.8)
    assert embedding.relative_error == pytest.approx(0.125**0.5)
    assert embedding.distance_error == pytest.approx(0.0625)
    # A filter that nothing was seen at has no relative error.
    silent = replace(embedding, values=np.array([1.0, 0.0]), standard_error=np.array([0.3, 0.0]))
    assert silent.relative_error == pytest.approx(0.3)


def test_the_error_adds_half_its_square_to_a_distance() -> None:
    rng = np.random.default_rng(0)
    true = rng.lognormal(0, 1, (2, 4000))
    errors = 0.1 * true
    noisy = true + errors * rng.normal(size=true.shape)
    embedding = replace(make_embedding(values=true[0]), standard_error=errors[0])
    near = true[0] * rng.lognormal(0, 0.2, 4000)
    before = symmetric_distance(near, true[:1])[0]
    after = symmetric_distance(near, noisy[:1])[0]
    assert embedding.distance_error == pytest.approx(0.005)
    assert after - before == pytest.approx(0.005, rel=0.15)


@pytest.mark.parametrize(
    ("errors", "what", "expected"),
    [
        ([0.1], "shape (1,)", "(2,)"),
        ([0.1, -1.0], "-1.0 at filter 1", "finite numbers >= 0"),
        ([np.nan, 1.0], "nan at filter 0", "finite numbers >= 0"),
    ],
)
def test_bad_standard_errors(errors: list[float], what: str, expected: str) -> None:
    with pytest.raises(EmbeddingError) as caught:
        replace(make_embedding("query", values=np.ones(2)), standard_error=np.array(errors))
    assert_fields(caught.value, what=("standard error of query", what), expected=expected)


def test_another_tensor_is_refused() -> None:
    space = make_embedding().space.to_json()
    task = {"name": "x", "digest": digest_of("x"), "images": 1, "classes": 1}
    arrays = {"fisher": np.ones(2, np.float32), "more": np.ones(2, np.float32)}
    content = write_tensors(arrays, {"format": 1, "space": space, "task": task})
    with pytest.raises(EmbeddingError, match="float32 tensor 'fisher'"):
        TaskEmbedding.from_bytes(content)


def test_the_error_of_a_mean() -> None:
    # Independent errors: √(3² + 4²) / 2; one unknown, all unknown.
    first = with_error(3.0, 0.0)
    second = replace(with_error(4.0, 1.0), task_digest=digest_of("second"))
    mean = TaskEmbedding.mean([first, second])
    assert mean.standard_error is not None
    np.testing.assert_allclose(mean.standard_error, [2.5, 0.5])
    unknown = replace(second, standard_error=None)
    assert TaskEmbedding.mean([first, unknown]).standard_error is None


def test_files(tmp_path: Path) -> None:
    embedding = make_embedding()
    path = embedding.save(tmp_path / "new" / "flowers.safetensors")
    found = TaskEmbedding.load(path)
    np.testing.assert_array_equal(found.values, embedding.values.astype(np.float32))
    with pytest.raises(EmbeddingError, match="No such file"):
        TaskEmbedding.load(tmp_path / "absent")


def test_values_cannot_be_changed() -> None:
    given_values = np.ones(3)
    embedding = make_embedding(values=given_values)
    given_values[0] = 9
    assert embedding.values[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        embedding.values[0] = 2


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ([1.0, np.nan], {"what": "nan at filter 1", "expected": "finite numbers >= 0"}),
        ([np.inf, 1.0], {"what": "inf at filter 0", "expected": "finite numbers >= 0"}),
        ([1.0, -0.5], {"what": "-0.5 at filter 1", "expected": "finite numbers >= 0"}),
        ([0.0, 0.0], {"what": "zero at every filter", "hint": "probe"}),
        ([], {"what": "shape (0,)", "expected": "(filters,)"}),
        ([[1.0]], {"what": "shape (1, 1)", "expected": "(filters,)"}),
    ],
)
def test_bad_values(values: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(EmbeddingError) as caught:
        make_embedding(values=np.array(values))
    assert_fields(caught.value, **fields)


def _metadata() -> dict[str, Any]:
    task = {"name": "x", "digest": digest_of("x"), "images": 1, "classes": 1}
    return {"format": 1, "space": make_space().to_json(), "task": task}


@pytest.mark.parametrize(
    ("tensors", "metadata", "message"),
    [
        ({"fisher": np.array([1, np.nan], np.float32)}, _metadata(), "is nan at filter 1"),
        ({"fisher": np.ones(2)}, _metadata(), "float64.*one float32 tensor 'fisher'"),
        ({"fisher": np.ones((2, 2), np.float32)}, _metadata(), "of one dimension"),
        ({"other": np.ones(2, np.float32)}, _metadata(), "expected one float32 tensor"),
        ({}, _metadata(), "expected one float32 tensor"),
        ({"fisher": np.ones(2, np.float32)}, None, "has no embedding metadata"),
        ({"fisher": np.ones(2, np.float32)}, [1], "has no embedding metadata"),
        ({"fisher": np.ones(2, np.float32)}, {**_metadata(), "x": 1}, "has no embedding metadata"),
        ({"fisher": np.ones(2, np.float32)}, {**_metadata(), "format": 2}, "update with `git pull"),
        ({"fisher": np.ones(2, np.float32)}, {**_metadata(), "space": 1}, "the embedding space"),
    ],
)
def test_bad_files(tensors: dict[str, NDArray[Any]], metadata: Any, message: str) -> None:
    with pytest.raises(EmbeddingError, match=message):
        TaskEmbedding.from_bytes(write_tensors(tensors, metadata))


def test_truncated_files() -> None:
    content = make_embedding().to_bytes()
    for length in range(len(content)):
        with pytest.raises(EmbeddingError):
            TaskEmbedding.from_bytes(content[:length], what="file")
    with pytest.raises(EmbeddingError, match="end to end"):
        TaskEmbedding.from_bytes(content + b"\0")


def test_values_beyond_float32_are_not_stored() -> None:
    for value in (1e39, 1e-60):
        with pytest.raises(EmbeddingError, match="expected at most 3e38"):
            make_embedding(values=np.array([value, 0.0])).to_bytes()


def test_mean_by_hand() -> None:
    first = make_embedding("a", values=np.array([1.0, 0, 3]))
    second = make_embedding("b", values=np.array([3.0, 4, 0]))
    mean = TaskEmbedding.mean([first, second])
    np.testing.assert_array_equal(mean.values, [2, 2, 1.5])
    assert (mean.images, mean.classes, mean.task_name) == (240, 20, "mean of a, b")
    assert mean.task_digest == TaskEmbedding.mean([second, first]).task_digest
    assert mean.task_digest == mean_task_digest([digest_of("b"), digest_of("a")])
    assert TaskEmbedding.mean([first]) is first


def test_means_of_nothing_and_of_two_spaces() -> None:
    with pytest.raises(EmbeddingError, match="no embeddings"):
        TaskEmbedding.mean([])
    with pytest.raises(EmbeddingError, match=r"probe tiny .* probe big"):
        TaskEmbedding.mean([make_embedding("a"), make_embedding("b", space=make_space("big"))])
    with pytest.raises(EmbeddingError, match=r"7 filters, .*b has 2"):
        TaskEmbedding.mean([make_embedding("a"), make_embedding("b", values=np.ones(2))])
