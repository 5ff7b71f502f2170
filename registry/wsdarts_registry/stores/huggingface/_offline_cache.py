"""The offline cache: the last API responses of a Hub, and the files that were fetched from it.

Responses are used where the Hub may not be asked, and are checked again when they are read. Files
are stored by their sha256 and verified whenever they are read.
"""

import hashlib
import logging
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
_log = logging.getLogger("wsdarts_hub.cache")


class OfflineCache:
    """API responses of one Hub by key, each a JSON file in the cache directory."""

    def __init__(self, url: str) -> None:
        self._url = url

    def fetch(
        self,
        key: str,
        kind: TypeAdapter[_T],
        request: Callable[[], _T | None],
        missing: RegistryError,
    ) -> _T | None:
        """Send a request and store its response; where HF_HUB_OFFLINE is set, return the stored.

        Args:
            key: Name of the response.
            kind: Type of the response.
            request: Asks the Hub.
            missing: Raised offline where no response is stored.
        """
        if constants.is_offline_mode():
            found = self.get(key, kind)
            if found is None:
                raise missing
            return found
        response = request()
        if response is not None:  # what does not exist yet may exist later
            self.put(key, kind, response)
        return response

    def get(self, key: str, kind: TypeAdapter[_T]) -> _T | None:
        """Return a stored response; None if there is none, or it is damaged."""
        path = self._path(key)
        try:
            content = read_regular(path)
            _json.load(content, what=str(path), max_bytes=_MAX_BYTES)
            return kind.validate_json(content)
        except (WsdartsError, ValidationError):
            return None

    def put(self, key: str, kind: TypeAdapter[_T], response: _T) -> None:
        """Store a response; a cache that cannot be written only makes offline use impossible."""
        path = self._path(key)
        content = _json.dump(kind.dump_python(response, mode="json"))
        with suppress(OSError):
            if not path.is_file() or path.read_bytes() != content:
                _replace(path, content)

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(f"{self._url} {key}".encode()).hexdigest()
        return cache_directory() / "hub" / f"{name}.json"


class FileCache:
    """Fetched files by their sha256: ``hub/files/HEX`` in the cache directory."""

    def find(self, record: FileRecord) -> Path | None:
        """Return the path of a file, verified; None if it is missing or damaged."""
        path = self._path(record)
        with suppress(WsdartsError):
            if exists(path):
                check_file(path.parent, path.name, record)
                _log.info("found in the cache: sha256:%s", record.sha256)
                return path
        return None

    def read(self, record: FileRecord) -> bytes | None:
        """Return the content of a file, verified; None if it is missing or damaged."""
        path = self._path(record)
        with suppress(WsdartsError):
            return read_checked(path.parent, path.name, record)
        return None

    def add(
        self, record: FileRecord, fetch: Callable[[Callable[[bytes], object]], object]
    ) -> Path | None:
        """Write a file block by block; it appears once it is complete and verified.

        Args:
            record: Its size and sha256.
            fetch: Takes a function that writes a block.

        Returns:
            Its path; None if the content does not match the record.

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


def _replace(path: Path, content: bytes) -> None:
    """Replace a file in one step; a power cut may lose it, as it can be fetched again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
