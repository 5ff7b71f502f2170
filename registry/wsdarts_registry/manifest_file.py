"""Reading the manifest of an artifact without the rest of it, and so without numpy."""

import hashlib
import re
from pathlib import Path

from wsdarts_registry.checked_files import read_limited
from wsdarts_registry.errors import ArtifactError
from wsdarts_registry.manifest import CHECKSUM, MANIFEST, Manifest
from wsdarts_registry.records import MAX_RECORD_BYTES

_MAX_CHECKSUM_BYTES = 200
_CHECKSUM_LINE = re.compile(rb"([0-9a-f]{64})  artifact\.json\n")


def read_manifest(
    directory: str | Path, expected_digest: str | None = None
) -> tuple[Manifest, str]:
    """Read and verify ``artifact.json`` alone.

    Returns:
        The manifest and its digest.

    Raises:
        ArtifactError: It is missing, does not match ``artifact.sha256`` or
            ``expected_digest``, or is of an unknown format version or malformed.
    """
    root = Path(directory)
    content = read_limited(root, MANIFEST, MAX_RECORD_BYTES)
    found = hashlib.sha256(content).hexdigest()
    expected = read_limited(root, CHECKSUM, _MAX_CHECKSUM_BYTES)
    if expected != checksum_line(found):
        raise ArtifactError(
            f"{root / MANIFEST} has sha256 {found}, which is not what {CHECKSUM} says; the "
            "artifact is damaged or was changed: fetch it again"
        )
    digest = f"sha256:{found}"
    if expected_digest is not None and digest != expected_digest:
        raise ArtifactError(
            f"the artifact in {root} has digest {digest}; expected {expected_digest}: it is "
            "another artifact than was asked for"
        )
    return Manifest.from_bytes(content, what=str(root / MANIFEST)), digest


def claimed_digest(directory: Path) -> str | None:
    """The digest that ``artifact.sha256`` claims; None if it cannot be read.

    What is wrong with it is said by ``read_manifest``.
    """
    try:
        line = read_limited(directory, CHECKSUM, _MAX_CHECKSUM_BYTES)
    except ArtifactError:
        return None
    match = _CHECKSUM_LINE.fullmatch(line)
    return f"sha256:{match[1].decode()}" if match else None


def checksum_line(hexadecimal: str) -> bytes:
    """Content of ``artifact.sha256``, as ``sha256sum`` writes and checks it."""
    return f"{hexadecimal}  {MANIFEST}\n".encode()
