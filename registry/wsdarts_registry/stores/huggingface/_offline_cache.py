"""What the cache keeps of a Hub: what it answered last, and the files that were fetched.

Answers are for when the Hub may not be asked, and are checked again when they are recalled. Files
are kept by their sha256 and verified whenever they are taken.
"""

import hashlib
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from huggingface_hub import constants
from pydantic import TypeAdapter, ValidationError

from wsdarts_registry import _json
from wsdarts_registry._files import cache_directory, exists, read_regular, temporary_file
from wsdarts_registry.artifact.checked_files import check_file, read_checked
from wsdarts_registry.artifact.manifest import FileRecord
from wsdarts_registry.errors import RegistryError, WsdartsError

_MAX_BYTES = 64 * 2**20
_T = TypeVar("_T")


class Memory:
    """Answers of one Hub by question, each a JSON file in the cache."""

    def __init__(self, url: str) -> None:
        self._url = url

    def recall(
        self,
        question: str,
        kind: TypeAdapter[_T],
        ask: Callable[[], _T | None],
        unknown: RegistryError,
    ) -> _T | None:
        """Ask the Hub and remember the answer; where HF_HUB_OFFLINE is set, recall it.

        Args:
            question: What is asked.
            kind: What the answer has to be.
            ask: Asks the Hub.
            unknown: What to raise where the Hub may not be asked and never was.
        """
        if constants.is_offline_mode():
            found = self.known(question, kind)
            if found is None:
                raise unknown
            return found
        answer = ask()
        if answer is not None:  # what is not there may be there by the time that it is recalled
            self.remember(question, kind, answer)
        return answer

    def known(self, question: str, kind: TypeAdapter[_T]) -> _T | None:
        """An answer that was remembered; None if there is none, or it is damaged."""
        path = self._path(question)
        try:
            content = read_regular(path)
            _json.load(content, what=str(path), max_bytes=_MAX_BYTES)
            return kind.validate_json(content)
        except (WsdartsError, ValidationError):
            return None

    def remember(self, question: str, kind: TypeAdapter[_T], answer: _T) -> None:
        """Keep an answer; a cache that cannot be written makes offline use impossible, only."""
        path = self._path(question)
        content = _json.dump(kind.dump_python(answer, mode="json"))
        with suppress(OSError):
            if not path.is_file() or path.read_bytes() != content:
                _write(path, content)

    def _path(self, question: str) -> Path:
        name = hashlib.sha256(f"{self._url} {question}".encode()).hexdigest()
        return cache_directory() / "hub" / f"{name}.json"


class KeptFiles:
    """Files that were fetched, by their sha256: ``hub/files/HEX`` in the cache."""

    def find(self, record: FileRecord) -> Path | None:
        """Where a file is, verified; None if it is not there or damaged."""
        path = self._path(record)
        with suppress(WsdartsError):
            if exists(path):
                check_file(path.parent, path.name, record)
                return path
        return None

    def read(self, record: FileRecord) -> bytes | None:
        """The content of a file, verified; None if it is not there or damaged."""
        path = self._path(record)
        with suppress(WsdartsError):
            return read_checked(path.parent, path.name, record)
        return None

    def keep(
        self, record: FileRecord, fetch: Callable[[Callable[[bytes], object]], object]
    ) -> Path | None:
        """Write a file block by block; it appears once it is whole and what its record says.

        Args:
            record: Its size and sha256.
            fetch: Is given what writes a block.

        Returns:
            Where it is; None if it was not what its record says.

        Raises:
            OSError: The cache cannot be written.
        """
        path = self._path(record)
        path.parent.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0

        def write(block: bytes) -> None:
            nonlocal size
            size += len(block)
            digest.update(block)
            file.write(block)

        with temporary_file(path) as (file, temporary):
            fetch(write)
            file.flush()
            if (size, digest.hexdigest()) != (record.size, record.sha256):
                return None
            return temporary.replace(path)

    def _path(self, record: FileRecord) -> Path:
        return cache_directory() / "hub" / "files" / record.sha256


def _write(path: Path, content: bytes) -> None:
    """Replace a file in one step; after a power cut it may be lost, and is asked for again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
