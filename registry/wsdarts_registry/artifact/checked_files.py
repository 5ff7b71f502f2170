"""The files of an artifact, read and copied against size and sha256, and its manifest alone.

Nothing here follows a link, waits at a pipe, reads more than was announced, or needs numpy.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from wsdarts_registry._files import inside, open_regular
from wsdarts_registry._json import MAX_RECORD_BYTES
from wsdarts_registry.artifact.manifest import CHECKSUM, MANIFEST, MAX_FILES, FileRecord, Manifest
from wsdarts_registry.errors import ArtifactError, UnreadableError

_BLOCK = 2**20


def read_limited(root: Path, path: str, limit: int) -> bytes:
    """Read a file of an artifact that has at most ``limit`` bytes.

    Raises:
        ArtifactError: The file is missing, no regular file, or longer.
    """
    with _open(root, path) as file:
        content = _read(root, path, file, limit + 1)
    if len(content) > limit:
        raise ArtifactError(f"{root / path} is too long", expected=f"at most {limit} bytes")
    return content


def read_start(root: Path, path: str, length: int, *, size: int | None = None) -> bytes:
    """Read the first ``length`` bytes of a file, or all of a shorter one.

    Args:
        root: Directory of the artifact.
        path: The file, within that.
        length: How much to read.
        size: The size that the file must have.

    Raises:
        ArtifactError: The file is missing, no regular file, or of another size.
    """
    with _open(root, path) as file:
        if size is not None:
            _check_size(root, path, size, file)
        return _read(root, path, file, length)


def read_checked(root: Path, path: str, record: FileRecord) -> bytes:
    """Read a whole file of an artifact and check it against its record.

    Raises:
        ArtifactError: The file is missing, or has another size or sha256.
    """
    with _open(root, path) as file:
        _check_size(root, path, record.size, file)
        content = _read(root, path, file, record.size + 1)
    if file_record(content) != record:
        raise _damaged(root, path)
    return content


def check_file(root: Path, path: str, record: FileRecord) -> None:
    """Check a file against its record, block by block.

    Raises:
        ArtifactError: The file is missing, or has another size or sha256.
    """
    for _ in _checked_blocks(root, path, record):
        pass


def copy_checked(root: Path, path: str, record: FileRecord, target: Path) -> None:
    """Copy a file block by block to a new file, flush that, and check what was copied.

    Raises:
        ArtifactError: The file is missing, or has another size or sha256.
        OSError: ``target`` exists or cannot be written.
    """
    with target.open("xb") as copy:
        for block in _checked_blocks(root, path, record):
            copy.write(block)
        copy.flush()
        os.fsync(copy.fileno())


def _checked_blocks(root: Path, path: str, record: FileRecord) -> Iterator[bytes]:
    """Yield the blocks of a file; raise after the last one if they were not as recorded."""
    digest = hashlib.sha256()
    left = record.size
    with _open(root, path) as file:
        _check_size(root, path, record.size, file)
        while block := _read(root, path, file, min(_BLOCK, left + 1)):
            left -= len(block)
            if left < 0:
                break
            digest.update(block)
            yield block
    if left or digest.hexdigest() != record.sha256:
        raise _damaged(root, path)


def file_record(content: bytes) -> FileRecord:
    """Return the record of a file with that content."""
    return FileRecord(size=len(content), sha256=hashlib.sha256(content).hexdigest())


def list_files(root: Path) -> set[str]:
    """Return the POSIX paths of all files below a directory.

    Raises:
        ArtifactError: The directory is missing, holds a link or a special file, or holds
            far more than an artifact may.
    """
    found: set[str] = set()
    waiting = [""]
    directories = 0
    while waiting:
        below = waiting.pop()
        directories += 1
        try:
            with os.scandir(root / below) as entries:
                for entry in entries:
                    path = below + entry.name
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(f"{path}/")
                    elif entry.is_file(follow_symlinks=False):
                        found.add(path)
                    else:
                        raise ArtifactError(
                            f"{root / path} is a link or a special file", expected="a regular file"
                        )
                    if len(found) + len(waiting) + directories > 4 * MAX_FILES:
                        raise ArtifactError(
                            f"{root} holds too many files for an artifact",
                            expected=f"at most {MAX_FILES}",
                        )
        except OSError as error:
            if isinstance(error, PermissionError):
                raise _unreadable(root, below, error) from error
            raise ArtifactError(
                f"cannot read the artifact {root}: {error.strerror}",
                expected="a directory with artifact.json",
            ) from error
    return found


def _open(root: Path, path: str) -> BinaryIO:
    try:
        return open_regular(inside(root, path), follow_links=False)
    except OSError as error:
        raise _unreadable(root, path, error) from error


def _read(root: Path, path: str, file: BinaryIO, limit: int) -> bytes:
    try:
        return file.read(limit)
    except OSError as error:
        raise _unreadable(root, path, error) from error


def _check_size(root: Path, path: str, expected: int, file: BinaryIO) -> None:
    size = os.fstat(file.fileno()).st_size
    if size != expected:
        raise ArtifactError(
            f"{root / path} has {size} bytes",
            expected=f"{expected}, as its manifest says",
            hint="the artifact is damaged: fetch it again",
        )


def _unreadable(root: Path, path: str, error: OSError) -> ArtifactError:
    if isinstance(error, PermissionError):
        return UnreadableError(
            f"cannot read {root / path}: {error.strerror}",
            hint="ask its owner for permission to read it and to enter the directories above it",
        )
    return ArtifactError(
        f"cannot read {root / path}: {error.strerror}",
        hint="the artifact is incomplete: fetch it again",
    )


def _damaged(root: Path, path: str) -> ArtifactError:
    return ArtifactError(
        f"{root / path} has another sha256 than its manifest says",
        hint="the artifact is damaged or was changed: fetch it again",
    )


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
            f"{root / MANIFEST} has sha256 {found}, which is not what {CHECKSUM} says",
            hint="the artifact is damaged or was changed: fetch it again",
        )
    digest = f"sha256:{found}"
    if expected_digest is not None and digest != expected_digest:
        raise ArtifactError(
            f"the artifact in {root} has digest {digest}",
            expected=expected_digest,
            hint="it is another artifact than was asked for",
        )
    return Manifest.from_bytes(content, what=str(root / MANIFEST)), digest


def claimed_digest(directory: Path) -> str | None:
    """Return the digest that ``artifact.sha256`` claims; None if it cannot be read.

    What is wrong with it is said by ``read_manifest``.
    """
    try:
        line = read_limited(directory, CHECKSUM, _MAX_CHECKSUM_BYTES)
    except ArtifactError:
        return None
    match = _CHECKSUM_LINE.fullmatch(line)
    return f"sha256:{match[1].decode()}" if match else None


def checksum_line(hexadecimal: str) -> bytes:
    """Return the content of ``artifact.sha256``, as ``sha256sum`` writes and checks it."""
    return f"{hexadecimal}  {MANIFEST}\n".encode()
