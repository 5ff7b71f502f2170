"""The identity of a task embedding: probe, estimator and settings."""

import hashlib
import math
import re
import reprlib
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
