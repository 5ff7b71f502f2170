"""Finding the images that do not decode, once for each content."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from wsdarts_registry.files import open_regular, write_atomically
from wsdarts_sdk.tasks.decoding import DECODER_VERSION
from wsdarts_sdk.tasks.identity import list_digest
from wsdarts_sdk.tasks.pixels import unusable_cache


class _Record(BaseModel):
    """What is kept: the images that did not decode; all others did."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    format: Literal[1] = 1
    failed: tuple[str, ...]


def record_path(cache: Path, digests: NDArray[np.bytes_]) -> Path:
    """Return the file that says which of these images decode."""
    key = list_digest(np.unique(digests))
    return cache / "checked" / f"{key}.v{DECODER_VERSION}.json"


def read_record(path: Path) -> frozenset[bytes] | None:
    """Return the digests of the images that failed; None where nothing (valid) is recorded.

    Raises:
        TaskError: The cache cannot be read.
    """
    try:
        with open_regular(path) as file:
            record = _Record.model_validate_json(file.read(), strict=True)
    except (FileNotFoundError, ValidationError):  # a damaged record is made again
        return None
    except OSError as error:
        raise unusable_cache(path, error) from error
    return frozenset(digest.encode() for digest in record.failed)


def write_record(path: Path, failed: Iterable[bytes]) -> None:
    """Record that these images failed and all others decoded.

    Raises:
        TaskError: The cache cannot be written.
    """
    content = {"format": 1, "failed": sorted({digest.decode() for digest in failed})}
    try:
        write_atomically(path, json.dumps(content).encode())
    except OSError as error:
        raise unusable_cache(path, error) from error
