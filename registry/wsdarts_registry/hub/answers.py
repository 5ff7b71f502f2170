"""What is asked about on the Hub, and what it answers."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wsdarts_registry.files import resolved

_HASH = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A repository on the Hub, a model or a dataset, by its id ``"lab/flowers"``."""

    id: str
    kind: Literal["model", "dataset"] = "model"

    @property
    def path(self) -> str:
        """Its address on the Hub, without the server."""
        return self.id if self.kind == "model" else f"datasets/{self.id}"


@dataclass(frozen=True, kw_only=True)
class Head:
    """The newest commit of a repository's main branch.

    Attributes:
        commit: Its hash.
        files: Paths of all files.
        private: Whether only some may see it.
    """

    commit: str
    files: tuple[str, ...]
    private: bool


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """What the Hub says of a file before it is fetched; sha256 for LFS files only."""

    size: int
    sha256: str | None


def is_intact(cached: Path, content: bytes) -> bool:
    """Whether a file of the client's cache still is what it was called when it was fetched.

    The client calls it by the Hub's ETag: the sha256 of an LFS file, the git hash of another one.
    It checks neither. Where it cannot make links, the name says nothing.
    """
    name = resolved(cached).name
    if len(name) == 64:
        return hashlib.sha256(content).hexdigest() == name
    header = f"blob {len(content)}\0".encode()
    found = hashlib.sha1(header + content, usedforsecurity=False).hexdigest()
    return found == name or _HASH.fullmatch(name) is None
