from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from wsdarts_registry.errors import TaskError
from wsdarts_sdk.data.task import ImageTask

LABELS = [0, 1] * 4


def _noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_every_layout_and_type_is_the_same_task() -> None:
    images = _noise(8, 10, 9, 3)  # height 10, width 9
    first = np.ascontiguousarray(np.moveaxis(images, -1, 1))
    same: list[Any] = [
        images,
        first,
        torch.from_numpy(images.copy()),
        torch.from_numpy(first),
        images / np.float32(255),
        images / np.float64(255),
        torch.from_numpy(first).double() / 255,
    ]
    tasks = [ImageTask.load((each, LABELS)) for each in same]
    assert len({task.digest for task in tasks}) == 1
    assert (tasks[0].pixels(8) == tasks[-1].pixels(8)).all()


def test_half_precision_is_read() -> None:
    images = torch.from_numpy(_noise(8, 3, 8, 8)).bfloat16() / 256
    expected = (images.float() * 255).round().byte()
    found = ImageTask.load((images, torch.tensor(LABELS)))
    assert found.digest == ImageTask.load((expected, LABELS)).digest


def test_grey_is_repeated() -> None:
    images = _noise(8, 8, 8)
    rgb = ImageTask.load((np.repeat(images[..., None], 3, axis=-1), LABELS))
    for grey in (images, images[:, None], images[..., None], torch.from_numpy(images)):
        assert ImageTask.load((grey, LABELS)).digest == rgb.digest


def test_alpha_is_laid_over_white() -> None:
    images = np.zeros((8, 8, 8, 4), dtype=np.uint8)
    images[..., 0] = 255
    images[..., 3] = 51 * (np.arange(8) % 6)[:, None, None]  # 0, 1/5, 2/5, …
    images[..., 1] = 0
    images[6:, 0, 0, 0] = [1, 2]
    task = ImageTask.load((images, [0, 1, 0, 1, 0, 1, 0, 1]))
    found = {tuple(image[-1, -1].tolist()) for image in task.pixels(8)}
    assert (255, 204, 204) in found
    assert (255, 255, 255) in found


def test_floats_are_rounded_not_cut() -> None:
    images = np.full((8, 8, 8), 0.999, dtype=np.float64)  # 254.7 is 255
    images[:, 0, 0] = np.arange(8) / 100
    assert ImageTask.load((images, LABELS)).pixels(8)[0, 7, 7].tolist() == [255] * 3


@pytest.mark.parametrize("bad", [1.01, -0.01, float("nan"), float("inf"), 255.0])
def test_floats_out_of_range_are_refused(bad: float) -> None:
    images = np.full((8, 8, 8), 0.5)
    images[7, 3, 3] = bad
    with pytest.raises(TaskError, match=r"\[0, 1\].*255"):
        ImageTask.load((images, LABELS))


@pytest.mark.parametrize("kind", [np.int64, np.uint16, np.bool_, np.complex64])
def test_other_types_are_refused(kind: type[np.generic]) -> None:
    with pytest.raises(TaskError, match=f"{np.dtype(kind)}; .*uint8"):
        ImageTask.load((np.zeros((8, 8, 8), dtype=kind), LABELS))


def test_other_objects_are_refused() -> None:
    with pytest.raises(TaskError, match=r"images .*type list; .*NumPy"):
        ImageTask.load(([[1]], [0]))
    with pytest.raises(TaskError) as caught:
        ImageTask.load((_noise(8, 8, 8),))
    assert caught.value.found == "1"


@pytest.mark.parametrize("shape", [(8, 3, 10, 3), (8, 1, 8, 4), (8, 4, 4, 4)])
def test_ambiguous_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(TaskError, match=f"{shape[1]}, {shape[2]}.* first or last"):
        ImageTask.load((_noise(*shape), LABELS))


@pytest.mark.parametrize("shape", [(8, 64), (8, 2, 8, 8), (8, 8, 8, 5), (8, 1, 3, 8, 8), (8, 0, 8)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(TaskError, match=r"shape \(8, .*\(N, C, H, W\)"):
        ImageTask.load((_noise(*shape), LABELS))


def test_counts_must_agree() -> None:
    with pytest.raises(TaskError, match=r"8 images .*\(8, 8, 8\).* 7 labels"):
        ImageTask.load((_noise(8, 8, 8), LABELS[:7]))


def test_labels_of_every_kind() -> None:
    images = _noise(8, 8, 8)
    for labels in (
        np.array(LABELS, dtype=np.uint8),
        torch.tensor(LABELS),
        tuple(np.int32(label) for label in LABELS),
        np.array(["a", "b"] * 4),
    ):
        assert ImageTask.load((images, labels)).labels.tolist() == [0] * 4 + [1] * 4
    task = ImageTask.load((images, [7, 10] * 4))
    assert task.class_names == ("7", "10")


def test_class_names_name_the_ids() -> None:
    images = _noise(8, 8, 8)
    assert ImageTask.load((images, LABELS, ["z", "a"])).class_names == ("z", "a")
    with pytest.raises(TaskError, match=r"row 1 .*class id 1.*1 class name"):
        ImageTask.load((images, LABELS, ["z"]))


@pytest.mark.parametrize(
    "labels",
    [
        np.array(LABELS)[:, None],
        torch.tensor(LABELS)[:, None],
        [[label] for label in LABELS],
        [torch.tensor(label) for label in LABELS],
        [np.array([label]) for label in LABELS],
        np.array([np.int64(label) for label in LABELS], dtype=object),
        pd.Series(LABELS),
        np.array(LABELS, dtype=bool),
    ],
)
def test_labels_in_a_column_of_their_own(labels: Any) -> None:
    task = ImageTask.load((_noise(8, 8, 8), labels, ["z", "a"]))
    assert task.labels.tolist() == [0] * 4 + [1] * 4
    assert task.digest == ImageTask.load((_noise(8, 8, 8), LABELS)).digest


@pytest.mark.parametrize(
    "class_names",
    [
        {1: "dog", 0: "cat"},
        {np.int64(1): np.str_("dog"), np.int64(0): np.str_("cat")},
        {"1": "dog", "0": "cat"},  # keys of JSON
        {"dog": 1, "cat": 0},  # as torchvision's class_to_idx
        np.array(["cat", "dog"]),
        pd.Index(["cat", "dog"]),
        ("cat", "dog"),
    ],
)
def test_class_names_are_read_by_id(class_names: Any) -> None:
    task = ImageTask.load((_noise(8, 8, 8), LABELS, class_names))
    assert task.class_names == ("cat", "dog")
    assert task.labels.tolist() == [0] * 4 + [1] * 4


def test_ids_of_class_names_need_not_follow_each_other() -> None:
    images, labels = _noise(8, 8, 8), [70, 5] * 4
    task = ImageTask.load((images, labels, {70: "dog", 5: "cat", 6: "none of these"}))
    assert task.class_names == ("cat", "dog")
    with pytest.raises(TaskError, match=r"row 0 .*70.*5, 7"):
        ImageTask.load((images, labels, {5: "cat", 7: "dog"}))


@pytest.mark.parametrize(
    ("class_names", "named"),
    [
        ("ab", "'ab'"),
        (b"ab", "b'ab'"),
        (2, "2"),
        ({"cat", "dog"}, "cat"),
        ({0: 1, 1: 0}, "{0: 1, 1: 0}"),
        ({"a": "b"}, "{'a': 'b'}"),
        ({-1: "cat", 0: "dog"}, "-1"),
        ({0: None, 1: "dog"}, "None"),
        ([None, "dog"], "None"),
        ([["cat", "feline"], ["dog"]], "feline"),
        ([0.5, 1.5], "0.5"),
        ({"0": "cat", "00": "dog"}, "one id two names"),
        ({}, "{}"),
        (["cat", "cat"], "2 classes called 'cat'"),
        (["caf\u00e9", "cafe\u0301"], "2 classes called 'caf\u00e9'"),
        ({"cat": 0, "dog": 0}, "one id two names"),
    ],
)
def test_class_names_that_are_none(class_names: Any, named: str) -> None:
    with pytest.raises(TaskError) as caught:
        ImageTask.load((_noise(8, 8, 8), LABELS, class_names))
    assert named in str(caught.value)


def test_labels_that_name_themselves_take_no_class_names() -> None:
    with pytest.raises(TaskError, match=r"strings .*class_names"):
        ImageTask.load((_noise(8, 8, 8), ["a", "b"] * 4, ["a", "b"]))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0.0, 1.0] * 4, r"0\.0; .*labels\.astype\(int\)"),
        ([0.5, 1.0] * 4, "type float"),
        ([0, float("nan")] * 4, "4 of 8 rows .*first 1"),
        ([0, -1] * 4, "row 1 .*class id -1"),
        ([0, None] * 4, "4 of 8 rows .*first 1"),
        ([0, "a"] * 4, "type int, str"),
        (np.eye(8), r"labels .*\(8, 8\).*argmax"),
        (np.ones((8, 2)), r"labels .*\(8, 2\).*one column"),
        (np.full((8, 3), 1 / 3), r"labels .*\(8, 3\).*one column"),
        (np.zeros((8, 1, 1), dtype=int), r"labels .*\(8, 1, 1\)"),
        ("01010101", "labels .*type str"),
        ({0: 1}, "labels .*type dict"),
    ],
)
def test_labels_that_are_none(labels: Any, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        ImageTask.load((_noise(8, 8, 8), labels))


def test_later_changes_do_not_reach_the_task() -> None:
    images = _noise(8, 8, 8, 3)
    before = images.copy()
    task = ImageTask.load((images, LABELS))
    images[:] = 0
    assert (task.pixels(8) == ImageTask.load((before, LABELS)).pixels(8)).all()


def test_two_thousand_classes() -> None:
    images = _noise(6000, 8, 8)
    task = ImageTask.load((images, np.arange(6000) % 2000))
    task.pixels(8)
    assert task.classes == 2000
    assert len(task.train_indices) == 4000


@settings(max_examples=25)
@given(
    hnp.arrays(np.uint8, (8, 9, 8), elements=st.integers(0, 255), unique=False),
    st.permutations(range(8)),
)
def test_order_does_not_matter(images: NDArray[np.uint8], order: list[int]) -> None:
    images[:, 0, 0] = np.arange(8)  # all different
    task = ImageTask.load((images, LABELS))
    other = ImageTask.load((images[order], [LABELS[i] for i in order]))
    assert task.digest == other.digest
    assert (task.image_digests == other.image_digests).all()
    assert (task.parts == other.parts).all()
