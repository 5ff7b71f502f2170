"""The identity of a task embedding (probe, estimator and settings), and what is near in its space.

Near is what lies within a measured threshold; distances become text that agrees with the verdict.
"""

import hashlib
import math
import re
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from wsdarts_registry import _json
from wsdarts_registry._text import is_plain_line
from wsdarts_registry.errors import EmbeddingError

Setting = str | int | float
MAX_NAME = 200
MAX_INTEGER = 2**53
_MAX_SETTINGS = 64
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_SETTING_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
ROUNDING = 1e-10
"""The most that a distance may lie above a threshold that it equals.

The order in which the terms of a distance are summed differs between processors and in browsers
and moves it by less than this; a task that is embedded again moves by much more.
"""
_DIGITS = 4
_MOST_DIGITS = 17  # a float64 has no more


@dataclass(frozen=True, kw_only=True)
class EmbeddingSpace:
    """The probe, the estimator and the settings of an embedding.

    Equal spaces are comparable, others are not. Laws:
    ``EmbeddingSpace.from_json(space.to_json()) == space``, and equal spaces have equal keys.

    Attributes:
        probe: Name of the probe network, for people.
        probe_digest: ``"sha256:…"`` of the probe's weights and preprocessing.
        estimator: Name of the estimator of the Fisher information, such as ``"fisher"``.
        version: Version of that estimator, from 1; it grows when its numbers change.
        settings: Everything else that changes the numbers, as ``(name, value)``; kept sorted.

    Raises:
        EmbeddingError: A field is empty, malformed or not finite, or a setting stands twice.
    """

    probe: str
    probe_digest: str
    estimator: str
    version: int
    settings: tuple[tuple[str, Setting], ...] = ()

    def __post_init__(self) -> None:
        for field, text in (("probe", self.probe), ("estimator", self.estimator)):
            if not is_plain_line(text, MAX_NAME):
                raise EmbeddingError(
                    f"the {field} of an embedding",
                    found=f"{text[:MAX_NAME]!r}",
                    expected=f"one line of 1 to {MAX_NAME} plain characters",
                )
        check_digest("probe", self.probe_digest)
        if type(self.version) is not int or not 1 <= self.version <= MAX_INTEGER:
            raise EmbeddingError(
                f"the estimator has version {self.version!r}", expected="1 or more"
            )
        names = [name for name, _ in self.settings]
        if len(set(names)) != len(names) or len(names) > _MAX_SETTINGS:
            raise EmbeddingError(
                f"the settings of an embedding are {reprlib.repr(names)}",
                expected=f"each name once and at most {_MAX_SETTINGS}",
            )
        checked = sorted((name, _check_setting(name, value)) for name, value in self.settings)
        object.__setattr__(self, "settings", tuple(checked))

    def __str__(self) -> str:
        settings = "".join(f", {name}={value}" for name, value in self.settings)
        return (
            f"probe {self.probe} ({self.probe_digest[:19]}), estimator {self.estimator} "
            f"v{self.version}{settings}"
        )

    @property
    def key(self) -> str:
        """Short name of the space that is safe as a file name: ``PROBE-xxxxxxxx``."""
        probe = re.sub(r"[^a-z0-9_]+", "-", self.probe.lower())[:40].strip("-")
        digest = hashlib.sha256(_json.dump(self.to_json())).hexdigest()
        return f"{probe or 'probe'}-{digest[:8]}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "probe": self.probe,
            "probe_digest": self.probe_digest,
            "estimator": self.estimator,
            "version": self.version,
            "settings": dict(self.settings),
        }

    @classmethod
    def from_json(cls, data: Any) -> "EmbeddingSpace":
        """Read what ``to_json`` wrote.

        Raises:
            EmbeddingError: The data is not of that form.
        """
        match data:
            case {
                "probe": str(probe),
                "probe_digest": str(digest),
                "estimator": str(estimator),
                "version": int(version),
                "settings": dict(settings),
            } if len(data) == 5:
                return cls(
                    probe=probe,
                    probe_digest=digest,
                    estimator=estimator,
                    version=version,
                    settings=tuple(settings.items()),
                )
        raise EmbeddingError(
            "the embedding space in JSON",
            found=reprlib.repr(data),
            expected=(
                "an object with the keys probe, probe_digest, estimator, version and settings alone"
            ),
        )


def check_digest(what: str, digest: str) -> None:
    """Refuse what is not ``"sha256:"`` and 64 lower-case hex digits.

    Raises:
        EmbeddingError: Names what the digest is of.
    """
    if not _DIGEST.fullmatch(digest):
        raise EmbeddingError(
            f"the digest of the {what}",
            found=f"{digest[:80]!r}",
            expected="'sha256:' and 64 hex digits",
        )


def _check_setting(name: str, value: Any) -> Setting:
    """Check a setting; whole floats become integers: 10 and 10.0 are equal and need equal keys."""
    if type(name) is str and _SETTING_NAME.fullmatch(name):
        match value:
            case str() if is_plain_line(value, MAX_NAME):
                return value
            case int() if type(value) is int and abs(value) <= MAX_INTEGER:
                return value
            case float() if math.isfinite(value):
                whole = value.is_integer() and abs(value) <= MAX_INTEGER
                return int(value) if whole else float(value)
    raise EmbeddingError(
        f"setting {str(name)[:80]!r} of an embedding",
        found=f"{str(value)[:80]!r}",
        expected="a name of a-z, 0-9 and _, and a finite number or one line of text",
    )


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
