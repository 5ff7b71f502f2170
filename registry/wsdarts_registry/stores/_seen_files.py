"""Files of what a user has seen of a registry, in the user's cache.

A file, such as ``seen/HASH.jsonl``, begins with a line that has the sha256 of the others; each of
these is a row, a JSON array that begins with its key. A damaged file is replaced, with a warning.
It is written only when there is something new, under a lock; where it cannot be written, what is
there is compared all the same.
"""

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from wsdarts_registry import _json
from wsdarts_registry._file_lock import NoLocksError, wait_for_lock
from wsdarts_registry._files import cache_directory, read_regular, status, write_atomically
from wsdarts_registry.errors import FileAccessError, RegistryWarning

_FORMAT = 1
_LOCK_TIMEOUT = 10.0  # seconds; a change takes a fraction of one
_log = logging.getLogger("wsdarts_hub.cache")

Row = bytes
"""One line of a file."""


class SeenFile:
    """Rows by key that were seen of one registry.

    Args:
        key: The registry: an absolute path, or an address and a namespace.
        suffix: Suffix of the file.
    """

    def __init__(self, key: str, suffix: str) -> None:
        self._key = key
        self._suffix = suffix
        self._kept: tuple[object, dict[str, Row]] | None = None

    @property
    def path(self) -> Path:
        """The file."""
        identity = _json.dump([_FORMAT, self._key])
        name = hashlib.sha256(identity).hexdigest()[:32]
        return cache_directory() / "seen" / f"{name}{self._suffix}"

    def rows(self) -> Mapping[str, Row]:
        """Return the rows by key; none for a registry that was not seen, or if it is damaged."""
        path = self.path
        try:
            found = status(path)
            if found is None:
                return {}
            facts = (path, found.st_ino, found.st_size, found.st_mtime_ns)
            if self._kept is None or self._kept[0] != facts:
                self._kept = facts, _load(read_regular(path))
        except (FileAccessError, ValueError) as error:
            warnings.warn(
                f"{path}, which holds what was seen of {self._key}, is damaged or cannot be read "
                f"({error}), so an older state of that registry is not noticed this time",
                RegistryWarning,
                stacklevel=6,
            )
            return {}
        return self._kept[1]

    def change(self, change: Callable[[dict[str, Row]], None]) -> None:
        """Change the rows, while no other process does."""
        path = self.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(path.with_name(f"{path.name}.lock")):
                rows = dict(self.rows())
                before = dict(rows)
                change(rows)
                if rows != before:
                    write_atomically(path, _dump(rows))
        except OSError as error:
            _log.info("what was seen of %s is not kept: %s", self._key, error)


def _dump(rows: Mapping[str, Row]) -> bytes:
    body = b"".join(rows[key] + b"\n" for key in sorted(rows))
    return _head(body) + b"\n" + body


def _load(content: bytes) -> dict[str, Row]:
    """Return the rows of a file by key.

    Raises:
        ValueError: It is not as it was written.
    """
    head, _, body = content.partition(b"\n")
    if head != _head(body):
        raise ValueError("its sha256 differs")
    return {row[2 : row.index(b'"', 2)].decode(): row for row in body.splitlines()}


def _head(body: bytes) -> bytes:
    head = {"format": _FORMAT, "sha256": hashlib.sha256(body).hexdigest()}
    return json.dumps(head).encode()


def _locked(path: Path) -> AbstractContextManager[object]:
    """Lock a file; where there are no locks, two processes may lose what one has seen.

    Raises:
        OSError: Another process does not finish a change, or the file cannot be made.
    """
    try:
        lock = wait_for_lock(path, seconds=_LOCK_TIMEOUT)
    except NoLocksError:
        return nullcontext()
    if lock is None:
        raise TimeoutError("another process does not finish a change")
    return lock
