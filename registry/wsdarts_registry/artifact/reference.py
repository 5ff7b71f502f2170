"""References to artifacts: ``NAME``, ``NAME@3``, ``NAME@stable`` or ``NAME@sha256:…``."""

import re
from dataclasses import dataclass

from wsdarts_registry._arguments import check_text
from wsdarts_registry.errors import RegistryError

# As strict as the strictest place that a name has to live in: a Hub repository, a Windows folder.
_NAME = re.compile(r"(?!.*(?:--|\.\.))[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_PREFIX = re.compile(r"[0-9a-f]{12,64}")
_ALIAS = re.compile(r"(?!v[0-9])[a-z][a-z0-9-]{0,31}")
# What `NAME` alone means already.
_NO_ALIAS = ("latest",)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A name, and perhaps an exact version, a digest or an alias.

    Law: ``Reference.parse(str(reference)) == reference``.

    Attributes:
        name: Name of the artifact.
        version: Exact version, or None.
        digest: ``"sha256:"`` and the first 12 to 64 hex digits of a digest, or None.
        alias: What its publisher calls a version, such as ``"stable"``, or None.

    Raises:
        RegistryError: A part is malformed, or more than one of version, digest and alias is
            given.
    """

    name: str
    version: int | None = None
    digest: str | None = None
    alias: str | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if [self.version, self.digest, self.alias].count(None) < 2:
            raise RegistryError(
                f"a reference to {self.name} has several of version, digest and alias",
                hint="give one",
            )
        if self.alias is not None:
            check_alias(self.alias)
        if self.version is not None and not _VERSION.fullmatch(str(self.version)):
            raise RegistryError(
                f"the version of {self.name}", found=self.version, expected="1 to 999999999"
            )
        if self.digest is not None and not _is_digest(self.digest):
            raise RegistryError(
                f"the digest of {self.name}",
                found=repr(self.digest[:80]),
                expected="'sha256:' and 12 to 64 lower-case hex digits",
            )

    def __str__(self) -> str:
        exact = self.version or self.digest or self.alias
        return self.name if exact is None else f"{self.name}@{exact}"

    @property
    def is_exact(self) -> bool:
        """Whether it can only ever mean one content: by its version or digest."""
        return self.version is not None or self.digest is not None

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Read ``NAME``, ``NAME@VERSION``, ``NAME@ALIAS`` or ``NAME@sha256:HEX`` (12 digits up).

        Raises:
            RegistryError: The text is none of these.
        """
        check_text(text, "the reference")
        name, at, exact = text.partition("@")
        if not at:
            return cls(name=name)
        if exact.startswith("sha256:"):
            return cls(name=name, digest=exact)
        if _VERSION.fullmatch(exact):
            return cls(name=name, version=int(exact))
        if is_alias(exact):
            return cls(name=name, alias=exact)
        raise RegistryError(
            f"reference {text[:120]!r} is malformed",
            expected=(
                "NAME, NAME@3, an alias such as NAME@stable, or NAME@sha256:HEX with 12 to 64 "
                "hex digits"
            ),
        )


def check_name(name: str) -> None:
    """Refuse an invalid name of an artifact.

    Raises:
        RegistryError: The name breaks a rule.
    """
    check_text(name, "the name")
    if not _NAME.fullmatch(name):
        raise RegistryError(
            f"artifact name {name[:80]!r} is not allowed",
            expected=(
                "1 to 64 lower-case letters, digits, '-', '_' and '.', a letter or digit first "
                "and last, no '--' or '..'"
            ),
        )


def check_alias(alias: str) -> None:
    """Refuse an invalid alias.

    Raises:
        RegistryError: The alias breaks a rule.
    """
    check_text(alias, "the alias")
    if not is_alias(alias):
        raise RegistryError(
            f"alias {alias[:80]!r} is not allowed",
            expected=(
                "1 to 32 lower-case letters, digits and '-', a letter first, not like a version "
                "(v3) and not 'latest', which NAME alone means"
            ),
        )


def is_alias(text: str) -> bool:
    """Return whether ``text`` can be another word for a version."""
    return _ALIAS.fullmatch(text) is not None and text not in _NO_ALIAS


def is_name(text: str) -> bool:
    """Return whether ``text`` can name an artifact."""
    return _NAME.fullmatch(text) is not None


def _is_digest(text: str) -> bool:
    return text.startswith("sha256:") and _PREFIX.fullmatch(text[7:]) is not None
