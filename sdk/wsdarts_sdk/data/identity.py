"""What a task is: digests of images, classes and tasks.

A task is a partition of image contents into classes, and nothing else. So its digest does
not change with the order of the files, the names of folders and classes, or the machine. Where
images come with a split of their own, the partition is one into classes and parts.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsdarts_sdk.data.decoding import Content


def image_digest(content: Content) -> bytes:
    """Return the digest of one image, 64 hexadecimal digits in ASCII.

    Args:
        content: An encoded image (a file's bytes), or the pixels of an image that comes
            decoded, RGB of shape ``(height, width, 3)``. The two never have equal digests.
    """
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest().encode()
    state = hashlib.sha256(f"pixels {'x'.join(map(str, content.shape))}\n".encode())
    state.update(np.ascontiguousarray(content).data)
    return state.hexdigest().encode()


def list_digest(digests: NDArray[np.bytes_]) -> str:
    """Return the SHA-256, in hexadecimal, of digests one a line, in the order given."""
    return hashlib.sha256(b"".join(digest + b"\n" for digest in digests.tolist())).hexdigest()


def class_digests(
    labels: NDArray[np.int64],
    digests: NDArray[np.bytes_],
    given: Sequence[str] | None = None,
) -> NDArray[np.bytes_]:
    """Return a digest for each class: that of its sorted image digests, copies included.

    Args:
        labels: Class of each image, shape ``(images,)``, non-decreasing; every class from 0
            to the last has images.
        digests: Digest of each image, shape ``(images,)``, sorted within each class.
        given: Name of each image's part in a split that the images come with, which is then
            written behind its digest; equal images sorted by it.
    """
    starts = np.flatnonzero(np.diff(labels, prepend=-1))
    lines = digests
    if given is not None:
        named = zip(digests.tolist(), given, strict=True)
        lines = np.array([digest + b" " + part.encode() for digest, part in named])
    groups = np.split(lines, starts[1:])
    return np.array([list_digest(group).encode() for group in groups if len(group)], dtype="S64")


def task_digest(classes: NDArray[np.bytes_]) -> str:
    """Return ``"sha256:…"`` of the sorted class digests: equal tasks, equal digests."""
    return f"sha256:{list_digest(np.sort(classes))}"


def canonical_order(
    labels: NDArray[np.int64],
    digests: NDArray[np.bytes_],
    given: NDArray[np.int8] | None = None,
) -> NDArray[np.int64]:
    """Return the indices that sort images by class, digest and given part, shape ``(images,)``."""
    keys = (digests, labels) if given is None else (given, digests, labels)
    return np.lexsort(keys).astype(np.int64)
