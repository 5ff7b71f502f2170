"""One dataset made of several, each a part of the split: what the user trains on, and holds out."""

from collections.abc import Iterator, Mapping
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry.errors import TaskError
from wsdarts_sdk.data.decoding import Read
from wsdarts_sdk.data.sources.base import ImageSource
from wsdarts_sdk.data.split import GIVEN_CODES, GivenPart, given_codes, with_validation


class JoinedSource(ImageSource):
    """Images of one source, with those of others as held-out parts of its split.

    Classes are matched by their names.

    Args:
        main: The source to train on; it may hold out a validation part of its own, if ``others``
            does not.
        others: The validation part, the test part, or both.

    Raises:
        TaskError: A part is there twice, or has a class that ``main`` has not; only some have
            groups.
    """

    def __init__(self, main: ImageSource, others: Mapping[GivenPart, ImageSource]) -> None:
        _check_parts(main, others)
        self._sources = (main, *others.values())
        self._starts = np.cumsum([0, *(len(source.labels) for source in self._sources)])
        labels = [main.labels, *(_labels(each, main) for each in others.values())]
        locations = [source.location for source in self._sources if source.location is not None]
        if len(locations) == len(self._sources):
            self.location = f"parts {' | '.join(locations)}"
        super().__init__(
            name=main.name,
            class_names=main.class_names,
            labels=np.concatenate(labels),
            encoded=any(source.encoded for source in self._sources),
        )
        self.dataset = main.dataset
        self.given = _given(main, others)
        self.groups = _groups(self._sources)
        passed_over: dict[str, int] = {}
        for source in self._sources:
            for suffix, number in source.passed_over.items():
                passed_over[suffix] = passed_over.get(suffix, 0) + number
        self.passed_over = passed_over
        told = ([f"{part} part: {note}" for note in each.notes] for part, each in others.items())
        self.notes = (*main.notes, *chain.from_iterable(told))

    def images(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, Read]]:
        """Yield the images of each source in turn."""
        for source, start, end in self._ranges():
            inside = rows[(rows >= start) & (rows < end)] - start
            if len(inside):
                yield from ((start + row, read) for row, read in source.images(inside))

    def file_stats(self) -> NDArray[np.void]:
        """Return the stats of each source, one after another."""
        return np.concatenate([source.file_stats() for source in self._sources])

    def describe(self, row: int) -> str:
        """Return the image's name at its source."""
        source, start, _ = next(each for each in self._ranges() if row < each[2])
        return source.describe(row - start)

    def _ranges(self) -> Iterator[tuple[ImageSource, int, int]]:
        starts = self._starts.tolist()
        return zip(self._sources, starts[:-1], starts[1:], strict=True)


def _check_parts(main: ImageSource, others: Mapping[GivenPart, ImageSource]) -> None:
    if main.given is not None and (GivenPart.VALIDATION in others or _has_test(main)):
        raise TaskError(
            f"{main.name} comes with a split of its own, beside which "
            f"{' and '.join(f'a {part} part' for part in others)} cannot be given",
            hint="name the folder of its train part alone, or leave the other out",
        )
    for part, source in others.items():
        if source.given is not None:
            raise TaskError(
                f"{source.name}, which is to be the {part} part, comes with a split of its own",
                hint="name the folder or the file of one part",
            )


def _has_test(source: ImageSource) -> bool:
    return source.given is not None and GIVEN_CODES[GivenPart.TEST] in source.given


def _labels(source: ImageSource, main: ImageSource) -> NDArray[np.int64]:
    """Return the labels by the class names of the main source."""
    label_of = {name: label for label, name in enumerate(main.class_names)}
    present = [source.class_names[label] for label in np.unique(source.labels).tolist()]
    unknown = [name for name in present if name not in label_of]
    if unknown:
        raise TaskError(
            f"{source.name} has the class {unknown[0]!r}, which {main.name} does not have",
            expected=f"the classes {', '.join(main.class_names[:6])}"
            + (" …" if len(main.class_names) > 6 else ""),
            hint="name the classes alike, or leave it out",
        )
    table = np.array([label_of.get(name, -1) for name in source.class_names], dtype=np.int64)
    return np.asarray(table[source.labels])


def _given(main: ImageSource, others: Mapping[GivenPart, ImageSource]) -> NDArray[np.int8]:
    if main.given is not None:
        held_out = given_codes(tuple(others), [len(source.labels) for source in others.values()])
        return np.concatenate([main.given, held_out])
    sources = {GivenPart.TRAIN: main, **others}
    parts = with_validation(tuple(sources))
    return given_codes(parts, [len(source.labels) for source in sources.values()])


def _groups(sources: tuple[ImageSource, ...]) -> tuple[str, ...] | None:
    lacking = [source for source in sources if source.groups is None]
    if len(lacking) == len(sources):
        return None
    if lacking:
        raise TaskError(
            f"{lacking[0].name} has no groups, but {sources[0].name} has",
            hint="give all parts or none",
        )
    return tuple(chain.from_iterable(source.groups or () for source in sources))
