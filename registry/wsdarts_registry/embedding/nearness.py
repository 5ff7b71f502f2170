"""The rule for "near": a measured threshold, and distances as text that agrees with the verdict."""

from collections.abc import Iterable
from dataclasses import dataclass

from wsdarts_registry.embedding.embedding_space import EmbeddingSpace
from wsdarts_registry.errors import EmbeddingError

ROUNDING = 1e-10
"""The most that a distance may lie above a threshold that it equals.

The order in which the terms of a distance are summed differs between processors and in browsers
and moves it by less than this; a task that is embedded again moves by much more.
"""
_DIGITS = 4
_MOST_DIGITS = 17  # a float64 has no more


@dataclass(frozen=True, kw_only=True)
class NearThreshold:
    """The largest distance at which a task counts as near, in one embedding space.

    Attributes:
        space: The embedding space that it was measured in.
        distance: Largest distance that is near, in (0, 1).
        measured: On which measurement it rests, in words.

    Raises:
        EmbeddingError: The distance is outside of (0, 1).
    """

    space: EmbeddingSpace
    distance: float
    measured: str

    def __post_init__(self) -> None:
        if not 0 < self.distance < 1:
            raise EmbeddingError(
                "the threshold", found=self.distance, expected="above 0 and below 1"
            )


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Distances and a threshold as text whose order is that of the verdicts.

    Attributes:
        distances: In the order given.
        threshold: None where there is none.
    """

    distances: tuple[str, ...]
    threshold: str | None


def is_near(distance: float, threshold: float) -> bool:
    """Return whether a distance counts as near: up to the threshold, which is near itself."""
    return distance <= threshold + ROUNDING


def figures(
    distances: Iterable[float], threshold: float | None, *, digits: int = _DIGITS
) -> Figures:
    """Write distances beside their threshold, each with as many digits as its verdict needs.

    A distance that is near is written as a number that is at most the threshold's, any other
    as a greater one.

    Args:
        distances: Each in [0, 1].
        threshold: Largest distance that is near; None where none was measured.
        digits: Digits behind the point that a distance has at least; the threshold has four.

    >>> figures((0.3470823, 0.3471001), 0.3470823)
    Figures(distances=('0.34708', '0.34710'), threshold='0.34708')
    """
    values = tuple(distances)
    if threshold is None:
        return Figures(distances=tuple(f"{v:.{digits}f}" for v in values), threshold=None)
    own = [_digits(v, threshold, None, digits) for v in values]
    limit = f"{threshold:.{max([_DIGITS, *own])}f}"
    return Figures(
        distances=tuple(
            _text(v, threshold, _digits(v, threshold, limit, least))
            for v, least in zip(values, own, strict=True)
        ),
        threshold=limit,
    )


def _digits(distance: float, threshold: float, limit: str | None, least: int) -> int:
    """Return the fewest digits that order a distance as its verdict does, beside a threshold."""
    near = is_near(distance, threshold)
    for digits in range(least, _MOST_DIGITS):
        beside = float(limit if limit is not None else f"{threshold:.{digits}f}")
        if (float(_text(distance, threshold, digits)) <= beside) is near:
            return digits
    return _MOST_DIGITS


def _text(distance: float, threshold: float, digits: int) -> str:
    # What is above the threshold by no more than the order of sums is the threshold.
    shown = min(distance, threshold) if is_near(distance, threshold) else distance
    return f"{shown:.{digits}f}"
