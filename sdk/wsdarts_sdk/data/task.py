"""Image classification tasks: images with classes, a digest and a split."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsdarts_registry._arguments import check_text
from wsdarts_registry._files import as_path, cache_directory
from wsdarts_registry._format import count, pluralize
from wsdarts_registry._text import sanitize, sanitize_name
from wsdarts_registry.errors import TaskError
from wsdarts_sdk.data._images import TaskImages, corrupt_images, read_digests
from wsdarts_sdk.data.decoding import Resize
from wsdarts_sdk.data.options import DataOptions, check_options, spells_out_options
from wsdarts_sdk.data.sources.base import ImageSource
from wsdarts_sdk.data.sources.source_kinds import open_source
from wsdarts_sdk.data.split import (
    GIVEN_CODES,
    PART_CODES,
    STOPPING_SHARE,
    GivenPart,
    Part,
    canonical_order,
    class_digests,
    given_parts,
    in_train_part,
    keys_of_groups,
    split_parts,
    stopping_images,
    task_digest,
)
from wsdarts_sdk.progress import Progress


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageTask:
    """A labelled image dataset with its split.

    Images are in canonical order: by class, then by digest, whatever the order of the files.

    **Identity.** An image is identified by the SHA-256 of its encoded bytes; an image that
    comes decoded (tensors, torchvision), by that of its shape and RGB pixels. The digest of
    a class is the SHA-256 of its sorted image digests, and ``digest`` that of the sorted
    class digests. So it does not change with the order of the files, the names of the
    folder and the classes, or the machine; and the same files in a folder, in parquet or in
    a dataset of the Hub are the same task. The split follows from the digests, too.

    **A split of its own.** Where files come with a split (named ``train`` and ``val``, say), that
    is kept, and ``digest`` covers it: each image's part stands behind its digest. ``train``
    is the train part, ``val`` (or ``test``, where it is alone) the validation part; with both,
    ``test`` is what a training is evaluated on.

    **Groups.** Images of one group are in one part. ``digest`` covers which images belong together,
    but not what the groups are called.

    Attributes:
        name: Name of the folder or dataset, for display only.
        digest: ``"sha256:…"``, the identity of the task.
        class_names: Names by label. Labels follow the alphabet for folders and plain label
            columns, and the source's own order where it has one.
        labels: Label of each image, shape ``(images,)``.
        image_digests: Digest of each image, 64 hexadecimal digits, shape ``(images,)``.
        parts: Position in ``Part`` of each image's part, shape ``(images,)``.
        given_split: Whether the images came with that split.
        groups: Key of the group of each image, by which a split keeps images together, shape
            ``(images,)``; None where no images belong together.
        skipped: Images that do not decode and were left out, with the reason.
        images: The images at their source; ``pixels`` reads them.
    """

    name: str
    digest: str
    class_names: tuple[str, ...]
    labels: NDArray[np.int64]
    image_digests: NDArray[np.bytes_] = field(repr=False)
    parts: NDArray[np.int8]
    given_split: bool = False
    groups: NDArray[np.bytes_] | None = field(default=None, repr=False)
    skipped: tuple[str, ...] = ()
    images: TaskImages = field(repr=False)

    @classmethod
    @spells_out_options("ImageTask.load")
    def load(
        cls,
        data: Any,
        *,
        name: str | None = None,
        cache_dir: str | Path | None = None,
        progress: Progress | None = None,
        **reading: Unpack[DataOptions],
    ) -> "ImageTask":
        """Read a task, and decode all its images unless these very images were decoded before.

        Args:
            data: Path of a folder of class folders (or of the folders ``train`` and ``val``, or
                ``test``, of such), of one with ``metadata.csv`` or ``metadata.jsonl``, or of one
                that ``save_to_disk`` of `datasets` wrote; of a parquet file, of a WebDataset tar
                file or of a folder of either; ``"hf:NAME"`` or ``"hf:NAME:CONFIG"``;
                ``"torchvision:NAME"``;
                or ``(images, labels)`` or ``(images, labels, class_names)``, as NumPy arrays
                or torch tensors: images uint8 or floating point in [0, 1], shape
                ``(N, C, H, W)``, ``(N, H, W, C)`` or ``(N, H, W)``; class names a list, or a
                dict from or to the labels.
            name: Another name for display.
            cache_dir: Directory of decoded pixels; else ``cache_directory()``.
            progress: Called with (what, done, total).
            reading: Options of reading it, see ``DataOptions``.

        Raises:
            TaskError: There is no such data, or it is no classification task with at least
                two classes of at least three distinct images, or an image is corrupt.
        """
        return read_task(data, reading, name=name, cache_dir=cache_dir, progress=progress)

    def __repr__(self) -> str:
        split = f", split as given ({self.part_sizes})" if self.given_split else ""
        skipped = f", {len(self.skipped)} more left out" if self.skipped else ""
        return (
            f"<ImageTask {sanitize(self.name, 80)}: {pluralize(len(self), 'image')} of "
            f"{self.classes} classes{split}{skipped}, {self.digest[:19]}…>"
        )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        return len(self.class_names)

    @property
    def dataset(self) -> str | None:
        """Return the id on the Hugging Face Hub of the dataset; None for other sources.

        For display, as ``name``: the digest does not cover it.
        """
        return self.images.source.dataset

    @property
    def passed_over(self) -> Mapping[str, int]:
        """Return the number of images at the source that are not read, by suffix in lower case.

        These are of a format that is not decoded, have another suffix than that of an image
        (``""`` for none), or lie in no class folder.
        """
        return self.images.source.passed_over

    @property
    def group_count(self) -> int | None:
        """Return how many groups of images the split keeps together; None without groups."""
        return None if self.groups is None else len(np.unique(self.groups))

    @property
    def notes(self) -> tuple[str, ...]:
        """Return sentences for the user about how the task was read."""
        found = list(self.images.source.notes)
        if self.group_count is not None:
            found.append(f"{pluralize(self.group_count, 'group')} kept together")
        if self.given_split:
            found.append(f"split as given: {self.part_sizes}")
            repeated = self._held_out_copies()
            if repeated:
                found.append(
                    f"the train part has copies of {pluralize(repeated, 'held-out image')}, so "
                    "what is measured on these flatters"
                )
            repeated = self._test_copies()
            if repeated:
                found.append(
                    f"the validation part, by which a training is chosen, has copies of "
                    f"{pluralize(repeated, 'test image')}, so what is measured on these flatters"
                )
        return tuple(found)

    @property
    def part_sizes(self) -> str:
        """Return the number of images of each part, such as ``train 12, validation 6``."""
        given = [GIVEN_CODES[part] for part in GivenPart]
        sizes = np.bincount(given_parts(self.parts), minlength=len(given)).tolist()
        shown = zip(GivenPart, sizes, strict=True)
        return ", ".join(f"{part} {count(size)}" for part, size in shown if size)

    @property
    def held_out(self) -> Part:
        """Return the part that a training is evaluated on: ``test`` if there is one."""
        return Part.TEST if len(self.indices(Part.TEST)) else Part.VALIDATION

    def indices(self, part: Part) -> NDArray[np.int64]:
        """Return the indices of a part's images, increasing."""
        return np.flatnonzero(self.parts == PART_CODES[part]).astype(np.int64)

    @property
    def train_indices(self) -> NDArray[np.int64]:
        """Return the indices of the train part (``weights`` and ``alpha``), increasing."""
        return np.flatnonzero(in_train_part(self.parts)).astype(np.int64)

    def stopping_split(
        self, share: float = STOPPING_SHARE
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the images to train on, and those that stop a training and choose its epoch.

        The latter are never those that the training is evaluated on: the validation part where
        the task has a test part, too, and else a share of each class of the train part.

        Args:
            share: Share of each class of the train part, in (0, 1).

        Returns:
            Indices of the images, increasing.
        """
        train = self.train_indices
        if self.held_out is Part.TEST:
            return train, self.indices(Part.VALIDATION)
        groups = None if self.groups is None else self.groups[train]
        chosen = stopping_images(self.labels[train], self.image_digests[train], groups, share)
        return train[~chosen], train[chosen]

    @functools.cached_property
    def canonical_labels(self) -> NDArray[np.int64]:
        """Return labels with classes numbered by the digests of their train images.

        Neither the names of the classes nor a held-out image changes the numbers, so a search
        depends on the train part alone, to the last bit. Shape ``(images,)``.
        """
        train = self.train_indices
        digests = class_digests(self.labels[train], self.image_digests[train])
        order = np.argsort(digests, kind="stable")
        number = np.empty(self.classes, dtype=np.int64)
        number[order] = np.arange(self.classes)
        return number[self.labels]

    def in_canonical_order(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return indices sorted by digest, then ``canonical_labels``, which no name changes."""
        keys = (self.canonical_labels[indices], self.image_digests[indices])
        return indices[np.lexsort(keys)]

    def pixels(
        self, size: int, *, resize: Resize = "squash", progress: Progress | None = None
    ) -> NDArray[np.uint8]:
        """Return all images as RGB squares from the cache.

        Args:
            size: Pixels a side, 8 to 4000.
            resize: ``"squash"`` them, or ``"crop"``: keep the aspect, and the middle.
            progress: Called with (what, done, total) while images are decoded.

        Returns:
            Shape ``(images, size, size, 3)``, in canonical order; memory-mapped, read-only.

        Raises:
            TaskError: The size is out of range, the cache cannot be written, or the source
                has changed since the task was loaded.
        """
        _check_size(size)
        return self.images.pixels(size, progress, resize)

    def read(
        self,
        indices: ArrayLike,
        size: int,
        *,
        resize: Resize = "squash",
        progress: Progress | None = None,
    ) -> NDArray[np.uint8]:
        """Decode some images as RGB squares, and keep nothing in the cache.

        For few images at a large size, such as a probe's.

        Args:
            indices: The images, integers of shape ``(chosen,)``.
            size: Pixels a side, 8 to 4000.
            resize: As for ``pixels``.
            progress: Called with (what, done, total) while images are decoded.

        Returns:
            Shape ``(chosen, size, size, 3)``, in the order of ``indices``.

        Raises:
            TaskError: The size is out of range, or the source has changed since the task was
                loaded.
        """
        _check_size(size)
        return self.images.read(np.asarray(indices), size, progress, resize)

    def subset(self, indices: ArrayLike) -> "ImageTask":
        """Return some of the images as a task of its own, with its own digest and split.

        Of a given split every image keeps its part.

        Args:
            indices: The images, integers of shape ``(chosen,)``, each at most once.

        Raises:
            TaskError: An index is out of range or given twice, or the images are no task.
        """
        chosen = np.asarray(indices)
        valid = (
            chosen.ndim == 1
            and chosen.dtype.kind in "iu"
            and ((chosen >= 0) & (chosen < len(self))).all()
            and len(np.unique(chosen)) == len(chosen)
        )
        if not valid:
            raise TaskError(
                f"the indices of a subset of {self.name} do not fit",
                expected=f"integers from 0 to {len(self) - 1}, each once",
            )
        arranged = _arrange(
            self.labels[chosen],
            self.image_digests[chosen],
            class_names=self.class_names,
            source=self.images.source,
            rows=self.images.rows[chosen],
            cache=self.images.cache,
            given=given_parts(self.parts[chosen]) if self.given_split else None,
            groups=None if self.groups is None else self.groups[chosen].tolist(),
            whole=self.images.whole or self.images,
        )
        return _split(arranged, self.name, ())

    def _held_out_copies(self) -> int:
        """Return the number of held-out images that are copies of train images."""
        train = in_train_part(self.parts)
        return int(np.isin(self.image_digests[~train], self.image_digests[train]).sum())

    def _test_copies(self) -> int:
        """Return the number of test images that are copies of validation images."""
        test, validation = self.indices(Part.TEST), self.indices(Part.VALIDATION)
        return int(np.isin(self.image_digests[test], self.image_digests[validation]).sum())


def read_task(
    data: Any,
    options: DataOptions,
    *,
    name: str | None = None,
    cache_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> ImageTask:
    """Read a task as ``ImageTask.load`` does, with its options as one object.

    Raises:
        TaskError: As for ``ImageTask.load``.
    """
    check_text(name, "name", optional=True)
    check_options(options)
    cache = cache_directory() if cache_dir is None else as_path(cache_dir, "cache_dir")
    source = open_source(data, options, cache=cache)
    name = sanitize_name(name) if name else source.name
    _check_groups_apart(source)
    _check_classes(name, [source.class_names[label] for label in np.unique(source.labels)])
    digests, failed = read_digests(source, cache, progress)

    def arrange(left_out: Iterable[int]) -> _Arranged:
        rows = np.setdiff1d(np.arange(len(digests)), list(left_out)).astype(np.int64)
        return _arrange(
            source.labels[rows],
            digests[rows],
            class_names=source.class_names,
            source=source,
            rows=rows,
            cache=cache,
            given=None if source.given is None else source.given[rows],
            groups=None if source.groups is None else [source.groups[row] for row in rows],
        )

    arranged = arrange(failed)
    if source.encoded:
        failed = dict(sorted((failed | arranged.images.find_corrupt(progress)).items()))
    if failed and not options.get("skip_corrupt"):
        raise corrupt_images(source, failed)
    skipped = tuple(f"{source.describe(row)}: {f.reason}" for row, f in failed.items())
    return _split(arrange(failed) if failed else arranged, name, skipped)


@dataclass(frozen=True, kw_only=True)
class _Arranged:
    """Images in canonical order, before the split."""

    class_names: tuple[str, ...]
    labels: NDArray[np.int64]
    given: NDArray[np.int8] | None
    groups: NDArray[np.bytes_] | None
    images: TaskImages


def _check_groups_apart(source: ImageSource) -> None:
    """Refuse a given split with a group in two parts, whose accuracy would flatter."""
    if source.given is None or source.groups is None:
        return
    part_of: dict[str, int] = {}
    for group, code in zip(source.groups, source.given.tolist(), strict=True):
        if part_of.setdefault(group, code) != code:
            names = [str(tuple(GivenPart)[each]) for each in (part_of[group], code)]
            raise TaskError(
                f"the group {group!r} is in the {names[0]} part and in the {names[1]} part of the "
                "given split",
                expected="each group in one part",
                hint="move its images together, or leave out the groups",
            )


def _check_size(size: int) -> None:
    if not 8 <= size <= 4000:
        raise TaskError("the size of images", found=f"{size} pixels", expected="8 to 4000")


def _check_classes(name: str, present: Sequence[str]) -> None:
    if len(present) < 2:
        found = f"one class ({present[0]!r})" if present else "no images"
        raise TaskError(
            f"{name} has {found}",
            expected="at least two classes with images (in a folder, one folder for each class)",
            hint="add a class",
        )


def _arrange(
    labels: NDArray[np.int64],
    digests: NDArray[np.bytes_],
    *,
    class_names: tuple[str, ...],
    source: ImageSource,
    rows: NDArray[np.int64],
    cache: Path,
    given: NDArray[np.int8] | None,
    groups: Sequence[object] | None,
    whole: TaskImages | None = None,
) -> _Arranged:
    """Put images into canonical order and leave out classes without images."""
    present, labels = np.unique(labels, return_inverse=True)
    order = canonical_order(labels, digests, given)
    labels, digests = labels[order].astype(np.int64), digests[order]
    given = None if given is None else given[order]
    names = None if given is None else [tuple(GivenPart)[code] for code in given]
    keys = None
    if groups is not None:
        keys = keys_of_groups([groups[row] for row in order.tolist()], digests)
    for array in (labels, digests):
        array.flags.writeable = False
    return _Arranged(
        class_names=tuple(class_names[label] for label in present.tolist()),
        labels=labels,
        given=given,
        groups=keys,
        images=TaskImages(
            source=source,
            rows=rows[order],
            digests=digests,
            cache=cache,
            task=task_digest(class_digests(labels, digests, names, keys)),
            whole=whole,
        ),
    )


def _split(arranged: _Arranged, name: str, skipped: tuple[str, ...]) -> ImageTask:
    """Return the task, if its classes allow a split."""
    _check_classes(name, arranged.class_names)
    images = arranged.images
    parts = split_parts(
        arranged.labels, images.digests, arranged.class_names, arranged.given, arranged.groups
    )
    parts.flags.writeable = False
    return ImageTask(
        name=name,
        digest=images.task,
        class_names=arranged.class_names,
        labels=arranged.labels,
        image_digests=images.digests,
        parts=parts,
        given_split=arranged.given is not None,
        groups=arranged.groups,
        skipped=skipped,
        images=images,
    )
