"""File contents on disk: small ones by their git hash, LFS objects by SHA-256."""

import hashlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .messages import HubError


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """A file of a commit.

    ``oid`` is the git hash of what git would store (an LFS file's pointer), ``size`` the
    file's own size in bytes, ``sha256`` is set for LFS files alone.
    """

    oid: str
    size: int
    sha256: str | None = None

    @property
    def etag(self) -> str:
        """What the client names the file in its cache."""
        return self.sha256 or self.oid

    def lfs(self) -> dict[str, object] | None:
        """Describe the LFS object as the tree's listing does."""
        if self.sha256 is None:
            return None
        size = len(_pointer(self.sha256, self.size))
        return {"oid": self.sha256, "size": self.size, "pointerSize": size}


class Objects:
    """The contents of one repository's files."""

    def __init__(self, directory: Path) -> None:
        self._blobs = directory / "blobs"
        self._lfs = directory / "lfs"
        for folder in (self._blobs, self._lfs):
            folder.mkdir(parents=True, exist_ok=True)

    def path(self, entry: FileEntry) -> Path:
        """Where the content of a file lies."""
        return self._blobs / entry.oid if entry.sha256 is None else self._lfs / entry.sha256

    def add(self, content: bytes) -> FileEntry:
        """Store a regular file."""
        entry = FileEntry(oid=_git_hash(content), size=len(content))
        write(self.path(entry), [content])
        return entry

    def has(self, sha256: str) -> bool:
        """Whether an LFS object has been uploaded."""
        return (self._lfs / sha256).is_file()

    def link(self, sha256: str) -> FileEntry:
        """Return the entry of an uploaded LFS object.

        Raises:
            HubError: It was not uploaded (400).
        """
        if not self.has(sha256):
            raise HubError(400, f"LFS pointer pointed to a file that does not exist: {sha256}")
        size = (self._lfs / sha256).stat().st_size
        return FileEntry(oid=_git_hash(_pointer(sha256, size)), size=size, sha256=sha256)

    def upload(self, sha256: str, chunks: Iterable[bytes]) -> int:
        """Store an LFS object and return its size, if it has the hash that it is named by.

        Raises:
            HubError: It has another hash (400); nothing is stored.
        """
        return write(self._lfs / sha256, chunks, sha256=sha256)


def write(path: Path, chunks: Iterable[bytes], *, sha256: str | None = None) -> int:
    """Write a file under a temporary name, rename it, and return its size in bytes.

    Raises:
        HubError: ``sha256`` is given and the content has another one (400).
    """
    handle, name = tempfile.mkstemp(prefix=".", dir=path.parent)
    found = hashlib.sha256()
    size = 0
    try:
        with os.fdopen(handle, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
                found.update(chunk)
                size += len(chunk)
        if sha256 is not None and found.hexdigest() != sha256:
            raise HubError(400, f"The content has SHA-256 {found.hexdigest()}, not {sha256}")
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
    return size


def _git_hash(content: bytes) -> str:
    # Git names contents by SHA-1; nothing here relies on it against an attacker.
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _pointer(sha256: str, size: int) -> bytes:
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
    )
