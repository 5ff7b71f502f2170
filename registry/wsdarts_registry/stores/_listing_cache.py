"""Versions of a directory registry by name, in the user's cache.

To know all versions of a registry, each name's directory has to be read, and the checksum and the
records in it. So what was read is kept with the inode, mtime and ctime of the directory, and of the
directory of its aliases: a version, a yank, an alias or a signature that comes or goes changes one
of them, as all are renamed into place. A directory counts as known only if it was unchanged for
two seconds when it was read, since it can change twice within one tick of the clock.

The file, ``listings/HASH.jsonl``, begins with a line that has the sha256 of the others; each of
these is a name, the facts of its directory, and its versions. A line is read as JSON only where its
versions are asked for: of a hundred thousand names a ranking asks for a few, and needs the digests
of the others alone. The file says only what to look at: a manifest is compared with the digest that
was listed, and verified.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from wsdarts_registry import _json
from wsdarts_registry._files import cache_directory, read_regular, write_atomically
from wsdarts_registry.artifact.reference import is_name
from wsdarts_registry.errors import WsdartsError
from wsdarts_registry.stores.records import Status, VersionInfo, Yank

_FORMAT = 2
_SETTLED = 2_000_000_000  # nanoseconds
_FEWEST_NAMES = 256  # below, reading is faster than a user notices
_FEWEST_CHANGES = 64  # below, they are read again rather than written
_NO_STATUS = Status()
_PLAIN = '"]]'  # the end of a line whose last version has a digest and no status
_DIGEST = slice(-len(_PLAIN) - 64, -len(_PLAIN))  # of that version

# Inode, mtime and ctime of the directory of a name and, if there is one, of that of its aliases.
_Facts = tuple[int, ...]
_Versions = tuple[VersionInfo, ...]


class Listing(Mapping[str, _Versions]):
    """Versions of each name that has one, by name, sorted.

    Args:
        lines: Each name's versions, or its line of the file, which is read when it is asked for.
        key: Is equal for equal listings; None where it is not known.
    """

    def __init__(self, lines: Mapping[str, str | _Versions], key: str | None = None) -> None:
        self._lines = lines
        self.key = key

    def __getitem__(self, name: str) -> _Versions:
        found = self._lines[name]
        return _versions(found) if isinstance(found, str) else found

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def latest(self) -> Iterator[tuple[str, str | None]]:
        """Yield the names with a version that is not yanked, and the digest of the last such."""
        for name, line in self._lines.items():
            if isinstance(line, str) and line.endswith(_PLAIN):
                yield name, f"sha256:{line[_DIGEST]}"
            else:
                digests = [info.digest for info in self[name] if info.yanked is None]
                if digests:
                    yield name, digests[-1]


def listed_versions(
    folder: Path, names: Sequence[str], read: Callable[[str], _Versions]
) -> Listing:
    """Return the versions of names by name; names without one are left out.

    Args:
        folder: Directory with a directory for each name.
        names: What is in it, in any order; what cannot name an artifact is passed over.
        read: Reads the versions of a name, ascending.

    Raises:
        OSError: The directory cannot be opened.
    """
    if len(names) < _FEWEST_NAMES:
        few = {name: read(name) for name in sorted(names) if is_name(name)}
        return Listing({name: versions for name, versions in few.items() if versions})
    path = _path(folder)
    key, lines = _read(path)
    with _opened(folder) as directory:
        current, empty = _current(lines, directory)
        if len(current) + len(empty) == len(names) == len(lines):
            return Listing(current, key)
        fresh, rows = _read_anew(sorted(names), {**current, **empty}, directory, read)
    changes, gone = len(rows) - len(current) - len(empty), len(lines) - len(rows)
    if changes >= _FEWEST_CHANGES or gone >= _FEWEST_CHANGES:
        with suppress(OSError):  # a cache that cannot be written makes the next listing slower
            write_atomically(path, _dump(rows))
    listed: dict[str, str | _Versions] = {**current, **fresh}
    return Listing({name: listed[name] for name in sorted(listed)})


def _read_anew(
    wanted: Iterable[str],
    current: Mapping[str, str],
    directory: int,
    read: Callable[[str], _Versions],
) -> tuple[dict[str, _Versions], dict[str, str]]:
    """Return the versions of names that are not known, and the lines to keep, sorted."""
    found: dict[str, _Versions] = {}
    rows: dict[str, str] = {}
    for name in wanted:
        if name in current:
            rows[name] = current[name]
        elif is_name(name):
            facts = _facts(name, directory, aliases=True)  # before it is read
            begun = time.time_ns()
            versions = read(name)
            if versions:
                found[name] = versions
            if facts and max(facts[1:3] + facts[4:]) + _SETTLED < begun:
                rows[name] = _line(name, facts, versions)
    return found, rows


def _path(folder: Path) -> Path:
    place = os.path.abspath(folder)  # noqa: PTH100 - links are followed when it is read
    identity = _json.dump([_FORMAT, place])
    return cache_directory() / "listings" / f"{hashlib.sha256(identity).hexdigest()[:32]}.jsonl"


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """Open a directory: from there, paths to 100,000 others are short.

    Raises:
        OSError: It cannot be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _current(lines: Iterable[str], directory: int) -> tuple[dict[str, str], dict[str, str]]:
    """Return the lines of names whose directories have not changed: with versions, and without.

    This is most of what a listing of 100,000 names takes, so it is one plain loop.
    """
    found: dict[str, str] = {}
    empty: dict[str, str] = {}
    for line in lines:
        name = line[2 : line.index('"', 2)]
        try:
            own = os.stat(name, dir_fd=directory)
        except OSError:
            continue
        # As in _start, for a name without aliases.
        start = f'["{name}",[{own.st_ino},{own.st_mtime_ns},{own.st_ctime_ns}],'
        if line.startswith(start):
            found[name] = line
        elif line.startswith(start[:-2]):  # there are aliases, or no versions
            aliases = line[len(start) - 2] == ","
            start = _start(name, _facts(name, directory, aliases=aliases))
            if line.startswith(f"{start}],"):
                found[name] = line
            elif line == f"{start}]]":
                empty[name] = line
    return found, empty


def _facts(name: str, directory: int, *, aliases: bool) -> _Facts:
    """Return the facts of the directory of a name; none if it cannot be read.

    Args:
        name: The name.
        directory: Descriptor of the directory that has it.
        aliases: Whether to look for aliases: where there were none, the directory itself changes.
    """
    try:
        own = os.stat(name, dir_fd=directory)
    except OSError:
        return ()
    facts = (own.st_ino, own.st_mtime_ns, own.st_ctime_ns)
    if not aliases:
        return facts
    try:
        inner = os.stat(f"{name}{os.sep}aliases", dir_fd=directory)
    except FileNotFoundError:
        return facts
    except OSError:
        return ()
    return (*facts, inner.st_ino, inner.st_mtime_ns, inner.st_ctime_ns)


def _start(name: str, facts: _Facts) -> str:
    """Return how a line of a name with these facts begins, up to the end of the last one."""
    return f'["{name}",[{",".join(map(str, facts))}'


def _line(name: str, facts: _Facts, versions: _Versions) -> str:
    """Return a line; names and facts need no escapes."""
    more = "".join(f",{_version_json(info)}" for info in versions)
    return f"{_start(name, facts)}]{more}]"


def _version_json(info: VersionInfo) -> str:
    digest = info.digest and info.digest.removeprefix("sha256:")
    row: list[Any] = [info.version, digest]
    status = info.status
    if status != _NO_STATUS:
        yank = status.yank and status.yank.model_dump(mode="json")
        row += [yank, status.aliases, status.signed]
    return json.dumps(row, separators=(",", ":"))


def _versions(line: str) -> _Versions:
    return tuple(_version(*row) for row in json.loads(line)[2:])


def _version(version: int, digest: str | None, *more: Any) -> VersionInfo:
    status = _NO_STATUS
    if more:
        yank, aliases, signed = more
        status = Status(
            yank=None if yank is None else Yank.model_validate_json(json.dumps(yank)),
            aliases=tuple(aliases),
            signed=signed,
        )
    return VersionInfo(version=version, digest=digest and f"sha256:{digest}", status=status)


def _dump(rows: Mapping[str, str]) -> bytes:
    body = "".join(f"{line}\n" for line in rows.values()).encode()
    return _head(body).encode() + b"\n" + body


def _read(path: Path) -> tuple[str | None, list[str]]:
    """Return the key of what was kept, and its lines; none if it is damaged or missing."""
    try:
        head, _, body = read_regular(path).partition(b"\n")
        if head.decode() != _head(body):
            return None, []
    except (WsdartsError, ValueError):
        return None, []
    return head.decode(), body.decode().split("\n")[:-1]


def _head(body: bytes) -> str:
    return json.dumps({"format": _FORMAT, "sha256": hashlib.sha256(body).hexdigest()})
