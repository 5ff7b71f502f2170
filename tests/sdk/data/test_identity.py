import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wsdarts_sdk.data.split import canonical_order, class_digests, image_digest, task_digest

# Three images in two classes; what follows is the definition, written out.
_A, _B, _C = (hashlib.sha256(name).hexdigest().encode() for name in (b"a", b"b", b"c"))


def test_an_encoded_image_is_its_bytes() -> None:
    assert image_digest(b"abc") == hashlib.sha256(b"abc").hexdigest().encode()


def test_a_decoded_image_is_its_shape_and_pixels() -> None:
    pixels = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    expected = hashlib.sha256(b"pixels 2x4x3\n" + bytes(range(24))).hexdigest().encode()
    assert image_digest(pixels) == expected
    assert image_digest(pixels.reshape(4, 2, 3)) != expected


def test_strided_pixels_count_by_their_values() -> None:
    pixels = np.arange(96, dtype=np.uint8).reshape(4, 8, 3)[:, ::2]
    assert image_digest(pixels) == image_digest(pixels.copy())


def test_task_digest_by_hand() -> None:
    labels, digests = np.array([0, 0, 1]), np.array([*sorted([_B, _A]), _C])
    first = hashlib.sha256(b"".join(d + b"\n" for d in sorted([_A, _B]))).hexdigest().encode()
    second = hashlib.sha256(_C + b"\n").hexdigest().encode()
    whole = hashlib.sha256(b"".join(d + b"\n" for d in sorted([first, second]))).hexdigest()
    found = class_digests(labels, digests)
    assert found.tolist() == [first, second]
    assert task_digest(found) == f"sha256:{whole}"


def test_digest_of_a_given_split_by_hand() -> None:
    # Behind the digest of each image stands the name of its part.
    labels, digests = np.array([0, 0, 1]), np.array([*sorted([_A, _B]), _C])
    parts = ["train", "validation", "train"]
    low, high = sorted([_A, _B])
    lines = low + b" train\n" + high + b" validation\n"
    first = hashlib.sha256(lines).hexdigest().encode()
    second = hashlib.sha256(_C + b" train\n").hexdigest().encode()
    found = class_digests(labels, digests, parts)
    assert found.tolist() == [first, second]
    swapped = class_digests(labels, digests, ["validation", "train", "train"])
    plain = class_digests(labels, digests)
    assert len({task_digest(classes) for classes in (found, swapped, plain)}) == 3


def test_copies_count() -> None:
    once = class_digests(np.array([0, 1]), np.array([_A, _C]))
    twice = class_digests(np.array([0, 0, 1]), np.array([_A, _A, _C]))
    assert task_digest(once) != task_digest(twice)


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([_A, _B, _C])), min_size=1))
def test_canonical_order_sorts_by_class_then_digest(images: list[tuple[int, bytes]]) -> None:
    labels = np.array([label for label, _ in images])
    digests = np.array([digest for _, digest in images])
    order = canonical_order(labels, digests)
    assert sorted(order.tolist()) == list(range(len(images)))
    found = list(zip(labels[order].tolist(), digests[order].tolist(), strict=True))
    assert found == sorted(images)
