"""Commits: a whole tree each, one JSON file each, chained by their parents."""

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .messages import HubError
from .objects import FileEntry, Objects, write


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A state of a repository's files, and where it came from.

    ``number`` counts the commits before it on its branch; ``date`` is ISO 8601 in UTC.
    """

    oid: str
    parent: str | None
    number: int
    title: str
    message: str
    author: str
    date: str
    files: Mapping[str, FileEntry]

    def folder_id(self, path: str) -> str:
        """Return a hash of all that a folder holds."""
        inside = {name: entry.etag for name, entry in _below(self.files, path).items()}
        return hashlib.sha1(json.dumps(inside).encode(), usedforsecurity=False).hexdigest()


class Commits:
    """The commits of one repository."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read: dict[str, Commit] = {}
        directory.mkdir(parents=True, exist_ok=True)

    def has(self, oid: str) -> bool:
        """Whether there is a commit of this name."""
        return oid.isalnum() and (self._directory / f"{oid}.json").is_file()

    def read(self, oid: str) -> Commit:
        """Read a commit that exists."""
        if (known := self._read.get(oid)) is not None:
            return known
        value = json.loads((self._directory / f"{oid}.json").read_bytes())
        files = {path: FileEntry(**entry) for path, entry in value.pop("files").items()}
        return self._read.setdefault(oid, Commit(oid=oid, files=files, **value))

    def add(
        self,
        files: Mapping[str, FileEntry],
        *,
        parent: Commit | None,
        title: str,
        message: str,
        author: str,
        date: str,
    ) -> Commit:
        """Store a commit, named by the hash of all that it holds."""
        value = {
            "parent": None if parent is None else parent.oid,
            "number": 0 if parent is None else parent.number + 1,
            "title": title,
            "message": message,
            "author": author,
            "date": date,
            "files": {path: asdict(files[path]) for path in sorted(files)},
        }
        content = json.dumps(value).encode()
        oid = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        write(self._directory / f"{oid}.json", [content])
        return self.read(oid)

    def history(self, oid: str) -> Iterator[Commit]:
        """Yield a commit and those before it, newest first."""
        following: str | None = oid
        while following is not None:
            commit = self.read(following)
            yield commit
            following = commit.parent


def changed(
    files: Mapping[str, FileEntry], operations: Iterable[dict[str, Any]], objects: Objects
) -> dict[str, FileEntry]:
    """Return the files after the operations of a commit, in their order.

    Raises:
        HubError: An operation is unknown or malformed, a path leaves the repository or an LFS
            object was not uploaded (400), or a file to delete is missing (404).
    """
    result = dict(files)
    for operation in operations:
        try:
            _apply(operation["key"], operation["value"], result, objects)
        except (KeyError, TypeError, ValueError) as error:
            raise HubError(400, f"Malformed operation: {error!r}") from error
    return result


def _apply(key: str, value: dict[str, Any], files: dict[str, FileEntry], objects: Objects) -> None:
    path = _inside(value["path"])
    if key in {"file", "lfsFile"}:
        _make_room(files, path)
    if key == "file":
        content = value["content"]
        is_coded = value.get("encoding", "utf-8") == "base64"
        data = base64.b64decode(content, validate=True) if is_coded else content.encode()
        files[path] = objects.add(data)
    elif key == "lfsFile":
        files[path] = objects.link(value["oid"])
    elif key in {"deletedFile", "deletedFolder"}:
        gone = list(_below(files, path)) if key == "deletedFolder" else [path]
        if not gone or not set(gone) <= set(files):
            raise HubError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
        for name in gone:
            del files[name]
    else:
        raise ValueError(f"unknown key {key}")


def _make_room(files: dict[str, FileEntry], path: str) -> None:
    """Let go of a file where a folder is to be, and of a folder where a file is to be."""
    for name in [*files]:
        if path.startswith(f"{name}/") or name.startswith(f"{path}/"):
            del files[name]


def _below(files: Mapping[str, FileEntry], path: str) -> dict[str, FileEntry]:
    """The file of this path, or all files in the folder of this path."""
    inside = f"{path}/"
    return {name: entry for name, entry in files.items() if name == path or name.startswith(inside)}


def _inside(path: str) -> str:
    parts = path.rstrip("/").split("/")
    if any(part in {"", ".", "..", ".git"} for part in parts) or "\0" in path:
        raise HubError(400, f"Invalid path in a commit: {path!r}")
    return "/".join(parts)
