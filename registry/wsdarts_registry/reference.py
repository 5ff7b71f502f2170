"""How artifacts are named: ``NAME``, ``NAME@3`` or ``NAME@sha256:…``."""

import re
from dataclasses import dataclass

from wsdarts_registry.errors import RegistryError

# As strict as the strictest place that a name has to live in: a Hub repository, a Windows folder.
_NAME = re.compile(r"(?!.*(?:--|\.\.))[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_PREFIX = re.compile(r"[0-9a-f]{12,64}")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A name, and perhaps an exact version or digest.

    Law: ``Reference.parse(str(reference)) == reference``.

    Attributes:
        name: Name of the artifact.
        version: Exact version, or None.
        digest: ``"sha256:"`` and the first 12 to 64 hex digits of a digest, or None.

    Raises:
        RegistryError: A part is malformed, or both a version and a digest are given.
    """

    name: str
    version: int | None = None
    digest: str | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.version is not None and self.digest is not None:
            raise RegistryError(
                f"a reference to {self.name} has a version and a digest; give one of them"
            )
        if self.version is not None and not _VERSION.fullmatch(str(self.version)):
            raise RegistryError(f"version {self.version} of {self.name}; expected 1 to 999999999")
        if self.digest is not None and not _is_digest(self.digest):
            raise RegistryError(
                f"digest {self.digest[:80]!r} of {self.name}; expected 'sha256:' and 12 to 64 "
                "lower-case hex digits"
            )

    def __str__(self) -> str:
        exact = self.digest if self.version is None else self.version
        return self.name if exact is None else f"{self.name}@{exact}"

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Read ``NAME``, ``NAME@VERSION`` or ``NAME@sha256:HEX`` (12 digits or more).

        Raises:
            RegistryError: The text is none of these.
        """
        name, at, exact = text.partition("@")
        if not at:
            return cls(name=name)
        if exact.startswith("sha256:"):
            return cls(name=name, digest=exact)
        if _VERSION.fullmatch(exact):
            return cls(name=name, version=int(exact))
        raise RegistryError(
            f"reference {text[:120]!r} is malformed; expected NAME, NAME@3 or NAME@sha256:HEX with "
            "12 to 64 hex digits"
        )


def check_name(name: str) -> None:
    """Refuse what cannot name an artifact.

    Raises:
        RegistryError: The name breaks a rule.
    """
    if not _NAME.fullmatch(name):
        raise RegistryError(
            f"artifact name {name[:80]!r} is not allowed; expected 1 to 64 lower-case letters, "
            "digits, '-', '_' and '.', a letter or digit first and last, no '--' or '..'"
        )


def is_name(text: str) -> bool:
    """Whether ``text`` can name an artifact."""
    return _NAME.fullmatch(text) is not None


def _is_digest(text: str) -> bool:
    return text.startswith("sha256:") and _PREFIX.fullmatch(text[7:]) is not None
