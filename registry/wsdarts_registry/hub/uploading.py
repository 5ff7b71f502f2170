"""One commit on a Hub: which files go by LFS, their upload, and the commit itself.

This is what the client's ``create_commit`` does without Xet. It is done here because that sends
the token wherever the answer says that an upload is confirmed, waits as long as an answer asks it
to, and reads answers of any length and form.
"""

import base64
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsdarts_registry.errors import ArtifactError
from wsdarts_registry.hub.answers import (
    BATCH,
    MODES,
    LfsAction,
    LfsObject,
    Repository,
    checked,
)
from wsdarts_registry.hub.connection import Connection, shown
from wsdarts_registry.hub.errors import Problem, ProblemError, harmless

_AT_ONCE = 4
_BLOCK = 2**20
_SAMPLE = 512
# Files of one question to the Hub, as many as its own client asks about.
_GROUP = 256
# What is sent within the commit, and so is held in memory.
_LARGEST_REGULAR = 16 * 2**20
_MAX_PARTS = 10_000
_LFS = {
    "Accept": "application/vnd.git-lfs+json",
    "Content-Type": "application/vnd.git-lfs+json",
}
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, kw_only=True)
class Addition:
    """A file to commit.

    Attributes:
        path: Where it goes.
        source: Its content, or the file that holds it.
        size: Bytes.
        sha256: Its hash; the Hub stores an LFS file by it, and refuses another content.
    """

    path: str
    source: bytes | Path
    size: int
    sha256: str

    @classmethod
    def of(cls, path: str, content: bytes) -> "Addition":
        """The addition of a content that is in memory."""
        digest = hashlib.sha256(content).hexdigest()
        return cls(path=path, source=content, size=len(content), sha256=digest)

    def blocks(self, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield the content, or a part of it.

        Raises:
            ArtifactError: The file has become shorter.
        """
        left = self.size - start if length is None else length
        if isinstance(self.source, bytes):
            yield self.source[start : start + left]
            return
        with self.source.open("rb") as file:
            file.seek(start)
            while left > 0:
                block = file.read(min(_BLOCK, left))
                if not block:
                    raise ArtifactError(f"{self.source} changed while it was pushed")
                left -= len(block)
                yield block


def upload(
    connection: Connection, repository: Repository, additions: Sequence[Addition]
) -> frozenset[str]:
    """Upload what the Hub wants by LFS, unless it is there; may be done twice.

    Returns:
        The paths of the files that went by LFS.

    Raises:
        ProblemError: The Hub refuses, or what it answers cannot be used.
        ArtifactError: A file changed.
    """
    wanted = _wanted_by_lfs(connection, repository, additions)
    by_lfs = {a.sha256: a for a in additions if a.path in wanted}
    objects = [
        found
        for group in _groups(list(by_lfs.values()))
        for found in _addresses(connection, repository, group)
    ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(lambda found: _upload(connection, by_lfs[found.oid], found), objects):
            pass
    return wanted


def payload(
    title: str,
    parent: str,
    additions: Sequence[Addition],
    by_lfs: frozenset[str],
    deletions: Sequence[str] = (),
) -> bytes:
    """The body of a commit, one JSON object in each line."""
    lines: list[dict[str, Any]] = [
        {
            "key": "header",
            "value": {"summary": title, "description": "", "parentCommit": parent},
        }
    ]
    for addition in additions:
        if addition.path in by_lfs:
            value = {"algo": "sha256", "oid": addition.sha256, "size": addition.size}
            lines.append({"key": "lfsFile", "value": {"path": addition.path, **value}})
        else:
            content = base64.b64encode(b"".join(addition.blocks())).decode()
            value = {"content": content, "encoding": "base64"}
            lines.append({"key": "file", "value": {"path": addition.path, **value}})
    lines += [{"key": "deletedFile", "value": {"path": path}} for path in deletions]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def _wanted_by_lfs(
    connection: Connection, repository: Repository, additions: Sequence[Addition]
) -> frozenset[str]:
    modes: dict[str, str] = {}
    for group in _groups(additions):
        files = [
            {
                "path": addition.path,
                "size": addition.size,
                "sample": base64.b64encode(_sample(addition)).decode(),
            }
            for addition in group
        ]
        url = connection.url(f"{repository.api}/preupload/main")
        reply = connection.ask("POST", url, _body({"files": files}), headers=_JSON)
        modes |= {file.path: file.mode for file in checked(MODES, reply.content).files}
    for addition in additions:
        if addition.path not in modes:
            raise _garbled(f"it does not say how to upload {addition.path}")
        if modes[addition.path] == "regular" and addition.size > _LARGEST_REGULAR:
            said = f"it wants {addition.path}, {addition.size} bytes, within a commit"
            raise ProblemError(Problem(kind="refused", said=said))
    # The Hub's storage takes no empty file.
    return frozenset(a.path for a in additions if modes[a.path] == "lfs" and a.size)


def _addresses(
    connection: Connection, repository: Repository, additions: Sequence[Addition]
) -> list[LfsObject]:
    asked = {
        "operation": "upload",
        "transfers": ["basic", "multipart"],
        "objects": [{"oid": a.sha256, "size": a.size} for a in additions],
        "hash_algo": "sha256",
        "ref": {"name": "main"},
    }
    url = connection.url(f"/{repository.path}.git/info/lfs/objects/batch")
    reply = connection.ask("POST", url, _body(asked), headers=_LFS)
    found = {item.oid: item for item in checked(BATCH, reply.content).objects}
    for addition in additions:
        item = found.get(addition.sha256)
        if item is None:
            raise _garbled(f"it does not say where to upload {addition.path}")
        if item.error is not None:
            raise ProblemError(Problem(kind="other", said=harmless(item.error.message)))
    return [found[addition.sha256] for addition in additions]


def _upload(connection: Connection, addition: Addition, found: LfsObject) -> None:
    if found.actions is None or found.actions.upload is None:
        return  # it is there
    action = found.actions.upload
    parts = action.header or {}
    if "chunk_size" in parts:
        _upload_parts(connection, addition, action, parts)
    else:
        _put(connection, action.href, addition, 0, addition.size)
    if found.actions.verify is not None:
        body = _body({"oid": addition.sha256, "size": addition.size})
        connection.ask("POST", found.actions.verify.href, body, headers=_JSON)


def _upload_parts(
    connection: Connection, addition: Addition, action: LfsAction, parts: Mapping[str, object]
) -> None:
    size = str(parts["chunk_size"])
    length = int(size) if size.isascii() and size.isdigit() and len(size) < 16 else 0
    count = math.ceil(addition.size / length) if length else 0
    numbers = [str(number) for number in range(1, min(count, _MAX_PARTS) + 1)]
    addresses = [address for n in numbers if isinstance(address := parts.get(n), str)]
    if not 0 < count == len(addresses):
        raise _garbled(f"it does not say where to upload each part of {addition.path}")
    tags = []
    for index, address in enumerate(addresses):
        start = index * length
        left = min(length, addition.size - start)
        tags.append(_put(connection, address, addition, start, left))
    done = [{"partNumber": number, "etag": tag} for number, tag in enumerate(tags, 1)]
    body = _body({"oid": addition.sha256, "parts": done})
    connection.ask("POST", action.href, body, headers=_LFS)


def _put(connection: Connection, url: str, addition: Addition, start: int, length: int) -> str:
    def body() -> Iterator[bytes]:
        return shown(addition.blocks(start, length), length, addition.path)

    return connection.ask("PUT", url, body, size=length).headers.get("ETag", "")


def _sample(addition: Addition) -> bytes:
    return b"".join(addition.blocks(0, min(_SAMPLE, addition.size)))


def _groups(additions: Sequence[Addition]) -> Iterator[Sequence[Addition]]:
    for start in range(0, len(additions), _GROUP):
        yield additions[start : start + _GROUP]


def _body(value: object) -> bytes:
    return json.dumps(value).encode()


def _garbled(said: str) -> ProblemError:
    return ProblemError(Problem(kind="garbled", said=said))
