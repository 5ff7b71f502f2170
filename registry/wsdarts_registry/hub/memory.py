"""What the Hub said last, for when it may not be asked."""

import hashlib
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import constants

from wsdarts_registry import strict_json
from wsdarts_registry.cache import cache_directory
from wsdarts_registry.errors import RegistryError, WsdartsError
from wsdarts_registry.files import read_whole

_MAX_BYTES = 64 * 2**20
_T = TypeVar("_T")


class Memory:
    """Answers of one Hub by question, each a JSON file in the cache."""

    def __init__(self, url: str) -> None:
        self._url = url

    def recall(self, question: str, ask: Callable[[], _T], unknown: RegistryError) -> _T:
        """Ask the Hub and remember the answer; where HF_HUB_OFFLINE is set, recall it.

        Args:
            question: What is asked.
            ask: Asks the Hub; the answer is JSON.
            unknown: What to raise where the Hub may not be asked and never was.
        """
        path = self._path(question)
        if constants.is_offline_mode():
            known: _T = _read(path, unknown)
            return known
        answer = ask()
        if answer is None:  # what is not there may be there by the time that it is recalled
            return answer
        content = strict_json.dump(answer)
        try:
            if not path.is_file() or read_whole(path) != content:
                _write(path, content)
        except OSError:
            pass  # A cache that cannot be written makes offline use impossible, not this answer.
        return answer

    def _path(self, question: str) -> Path:
        name = hashlib.sha256(f"{self._url} {question}".encode()).hexdigest()
        return cache_directory() / "hub" / f"{name}.json"


def _write(path: Path, content: bytes) -> None:
    """Replace a file in one step; after a power cut it may be lost, and is asked for again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _read(path: Path, unknown: RegistryError) -> Any:
    try:
        content = read_whole(path)
        return strict_json.load(content, what=str(path), max_bytes=_MAX_BYTES)
    except (OSError, WsdartsError) as error:
        raise unknown from error
