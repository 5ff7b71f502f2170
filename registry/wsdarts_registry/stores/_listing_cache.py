"""Versions of a directory registry by name, in the user's cache.

To know all versions of a registry, each name's directory has to be read, and the checksum and the
records in it. So what was read is kept with the inode, mtime and ctime of the directory, and of the
directory of its aliases: a version, a yank, an alias or a signature that comes or goes changes one
of them, as all are renamed into place. A directory counts as known only if it was unchanged for
two seconds when it was read, since it can change twice within one tick of the clock.

The file, ``listings/HASH.json``, says only what to look at: a manifest is compared with the digest
that was listed, and verified.
"""

import gc
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from wsdarts_registry import _json
from wsdarts_registry._files import cache_directory, read_regular, write_atomically
from wsdarts_registry.errors import WsdartsError
from wsdarts_registry.stores.records import Status, VersionInfo, Yank

_FORMAT = 1
_SETTLED = 2_000_000_000  # nanoseconds
_FEWEST_NAMES = 256  # below, reading is faster than a user notices
_FEWEST_CHANGES = 64  # below, they are read again rather than written
_NO_STATUS = Status()
_DIGEST = re.compile(r"[0-9a-f]{64}")

# Inode, mtime and ctime of the directory of a name and, if there is one, of that of its aliases.
_Facts = tuple[int, ...]
_Row = tuple[_Facts, tuple[VersionInfo, ...]]


def listed_versions(
    folder: Path, names: Iterable[str], read: Callable[[str], tuple[VersionInfo, ...]]
) -> dict[str, tuple[VersionInfo, ...]]:
    """Return the versions of names by name; names without one are left out.

    Args:
        folder: Directory with a directory for each name.
        names: The names.
        read: Reads the versions of a name, ascending.
    """
    wanted = list(names)
    if len(wanted) < _FEWEST_NAMES:
        return _with_versions({name: read(name) for name in wanted})
    path = _path(folder)
    kept = _read(path)
    rows: dict[str, _Row] = {}
    found: dict[str, tuple[VersionInfo, ...]] = {}
    changes = 0
    for name in wanted:
        row = kept.get(name)
        directory = f"{folder}{os.sep}{name}"
        if row is not None and row[0] == _facts(directory, aliases=len(row[0]) > 3):
            rows[name] = row
            found[name] = row[1]
            continue
        facts = _facts(directory, aliases=True)  # before it is read
        begun = time.time_ns()
        found[name] = read(name)
        if facts and max(facts[1:3] + facts[4:]) + _SETTLED < begun:
            rows[name] = (facts, found[name])
            changes += 1
    if changes >= _FEWEST_CHANGES or len(kept) - len(rows) >= _FEWEST_CHANGES:
        with suppress(OSError):  # a cache that cannot be written makes the next listing slower
            write_atomically(path, _dump(rows))
    return _with_versions(found)


def _with_versions(
    found: Mapping[str, tuple[VersionInfo, ...]],
) -> dict[str, tuple[VersionInfo, ...]]:
    return {name: versions for name, versions in found.items() if versions}


def _path(folder: Path) -> Path:
    place = os.path.abspath(folder)  # noqa: PTH100 - links are followed when it is read
    identity = _json.dump([_FORMAT, place])
    return cache_directory() / "listings" / f"{hashlib.sha256(identity).hexdigest()[:32]}.json"


def _facts(directory: str, *, aliases: bool) -> _Facts:
    """Return the facts of the directory of a name; none if it cannot be read.

    Args:
        directory: Its path.
        aliases: Whether to look for aliases: where there were none, the directory itself changes.
    """
    try:
        own = os.stat(directory)  # noqa: PTH116 - a Path for each of 100,000 is slow
    except OSError:
        return ()
    facts = (own.st_ino, own.st_mtime_ns, own.st_ctime_ns)
    if not aliases:
        return facts
    try:
        inner = os.stat(f"{directory}{os.sep}aliases")  # noqa: PTH116
    except FileNotFoundError:
        return facts
    except OSError:
        return ()
    return (*facts, inner.st_ino, inner.st_mtime_ns, inner.st_ctime_ns)


def _dump(rows: Mapping[str, _Row]) -> bytes:
    data = {
        name: [facts, *map(_version_json, versions)] for name, (facts, versions) in rows.items()
    }
    return json.dumps({"format": _FORMAT, "names": data}, separators=(",", ":")).encode()


def _version_json(info: VersionInfo) -> list[Any]:
    digest = info.digest and info.digest.removeprefix("sha256:")
    status = info.status
    if status == _NO_STATUS:
        return [info.version, digest]
    yank = status.yank and status.yank.model_dump(mode="json")
    return [info.version, digest, yank, status.aliases, status.signed]


def _read(path: Path) -> dict[str, _Row]:
    """Return what was kept by name; nothing if there is no file, or it is damaged."""
    # Rows hold no cycles, and looking for some while 100,000 are made takes as long as the rest.
    collects = gc.isenabled()
    gc.disable()
    try:
        data = json.loads(read_regular(path))
        if data["format"] != _FORMAT:
            return {}
        return {
            name: (tuple(facts), tuple(map(_version, versions)))
            for name, (facts, *versions) in data["names"].items()
        }
    except (WsdartsError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
    finally:
        if collects:
            gc.enable()


def _version(row: list[Any]) -> VersionInfo:
    version, digest, *more = row
    if type(version) is not int or not (digest is None or _DIGEST.fullmatch(digest)):
        raise ValueError("no version that was written here")
    status = _NO_STATUS
    if more:
        yank, aliases, signed = more
        status = Status(
            yank=None if yank is None else Yank.model_validate_json(json.dumps(yank)),
            aliases=tuple(map(str, aliases)),
            signed=signed is True,
        )
    return VersionInfo(version=version, digest=digest and f"sha256:{digest}", status=status)
