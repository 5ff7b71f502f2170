"""Contents of the cache, and deletion of unused files.

Only files that this library can make again are deleted: neither downloaded datasets, nor the newest
states of registries that were seen, nor anything unknown; and no link is followed.
"""

import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal

from wsdarts_registry._file_lock import NoLocksError, try_lock
from wsdarts_registry._files import (
    cache_directory,
    entries,
    is_directory,
    is_file,
    is_link,
    resolved,
)
from wsdarts_registry.errors import RegistryError
from wsdarts_registry.stores.opening import open_registry
from wsdarts_registry.stores.store import Store

_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)


def remove_below(root: Path, path: Path) -> None:
    """Remove a file or a whole directory; what is gone already is no error.

    Every directory between ``root`` and it is opened as itself, so that a link which takes the
    place of one meanwhile leads nowhere. A directory is renamed first: nobody finds a half.

    Args:
        root: A directory.
        path: What to remove; below ``root``.

    Raises:
        OSError: It cannot be removed, or a directory on the way is a link.
        ValueError: It is not below ``root``.
    """
    *way, name = path.relative_to(root).parts
    with suppress(FileNotFoundError), _opened(root, way) as folder:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=folder)
            return
        hidden = f".{name[:12]}.{uuid.uuid4().hex}"
        os.rename(name, hidden, src_dir_fd=folder, dst_dir_fd=folder)
        shutil.rmtree(hidden, dir_fd=folder)


@contextmanager
def _opened(root: Path, way: list[str]) -> Iterator[int]:
    """Yield a descriptor of the directory that the way leads to."""
    descriptor = os.open(root, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        for part in way:
            below = os.open(part, _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


_PROCESSES = Path("/proc")


def open_files(root: Path) -> frozenset[str] | None:
    """Return the paths at or below ``root`` that a process has open or mapped into memory.

    Args:
        root: A directory, without links in its path.

    Returns:
        Absolute paths; None where the system does not tell. Processes of other users, which
        only they and root may examine, are not seen.
    """
    if not (_PROCESSES / "self" / "maps").exists():
        return None
    prefix = f"{root}{os.sep}"
    found: set[str] = set()
    for process in _PROCESSES.iterdir():
        if process.name.isdigit():
            with suppress(OSError):  # it ended, or is another user's
                found.update(_mapped(process))
            with suppress(OSError):
                found.update(_open(process))
    return frozenset(path for path in found if path == str(root) or path.startswith(prefix))


def _mapped(process: Path) -> Iterator[str]:
    for line in (process / "maps").read_bytes().splitlines():
        parts = line.split(maxsplit=5)
        if len(parts) == 6:
            yield os.fsdecode(parts[5].replace(rb"\012", b"\n"))


def _open(process: Path) -> Iterator[str]:
    for descriptor in (process / "fd").iterdir():
        with suppress(OSError):
            yield str(descriptor.readlink())
    yield str((process / "cwd").readlink())


_DAY = 86_400
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": _DAY}
_AGE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhd]?)")
_HEX = "[0-9a-f]{64}"


@dataclass(frozen=True, kw_only=True)
class CacheKind:
    """One kind of content of the cache.

    Attributes:
        folder: Folder of the cache that holds it.
        what: Its description.
        names: Names within the folder that may be deleted; None where nothing may.
        directory: Whether such a name is a directory, which is deleted whole.
    """

    folder: str
    what: str
    names: re.Pattern[str] | None
    directory: bool = False


def _kind(folder: str, what: str, names: str, *, directory: bool = False) -> CacheKind:
    return CacheKind(folder=folder, what=what, names=re.compile(names), directory=directory)


CACHE_KINDS = (
    _kind("tasks", "decoded images", rf"{_HEX}/[^/]+\.npy"),
    _kind("checked", "which images decode", r"[^/]+\.json"),
    _kind("digests", "digests of files that were read", r"[^/]+\.index"),
    _kind("embeddings", "task embeddings", rf"{_HEX}/[^/]+\.(safetensors|json)"),
    _kind("features", "features of probes", rf"{_HEX}/[^/]+\.safetensors"),
    _kind("nearest", "embeddings of registries", r"[0-9a-f]+\.npy"),
    _kind("listings", "versions of registries", r"[0-9a-f]+\.jsonl?"),
    _kind("kernels", "compiled kernels", r"[0-9a-f-]+\.so"),
    _kind("artifacts", "pulled artifacts", _HEX, directory=True),
    _kind("outlines", "artifacts pulled without weights", _HEX, directory=True),
    _kind("hub", "API responses of Hugging Face", r"[^/]+\.json"),
    _kind("hub", "files of Hugging Face", rf"files/{_HEX}"),
    CacheKind(folder="seen", what="newest states of registries", names=None),
    CacheKind(folder="torchvision", what="downloaded datasets", names=None),
)
"""Everything that the library keeps in the cache. What has no names is not made again."""


def describe_folder(folder: str) -> str:
    """Return the content of a folder of the cache, in words."""
    return ", ".join(kind.what for kind in CACHE_KINDS if kind.folder == folder) or "other files"


# As temporary_file, staged, and the compilation of kernels name them.
_LEFTOVER = re.compile(r"\..+\.tmp|\..+\.[0-9a-f]{32}(\.damaged)?|tmp[a-z0-9_]{8}")
_LEFT = "interrupted writes"
_PUSHES = "interrupted pushes"


@dataclass(frozen=True, kw_only=True)
class CacheEntry:
    """A file of the cache, or a directory that is deleted whole.

    Attributes:
        path: Its path.
        what: Its description.
        why: ``"old"``, it was not used for the time that was given, or ``"interrupted"``, what
            a process left that was killed.
        size: Bytes that deleting it frees; a file that has another name elsewhere frees none.
        used: When it was last read or written, in seconds since the epoch.
        held: Whether a living process has it open or locked, so that it is kept.
        unlocked: Whether it was left by a process, or is still written by one, and there is no
            lock that would tell which.
    """

    path: Path
    what: str
    why: Literal["old", "interrupted"]
    size: int
    used: float
    held: bool = False
    unlocked: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "path": str(self.path),
            "what": self.what,
            "why": self.why,
            "bytes": self.size,
            "last_used": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.used)),
            "in_use": self.held,
            "unlocked": self.unlocked,
        }


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """Result of a cleaning: the entries that can be deleted, or were.

    Attributes:
        directory: The cache.
        deleted: Whether it was deleted.
        found: Entries that are not in use, by path.
        held: What would go, too, but for a living process that has it open or locked.
        unlocked: What would go, too, if it were asked for with ``unlocked``.
    """

    directory: Path
    deleted: bool
    found: tuple[CacheEntry, ...]
    held: tuple[CacheEntry, ...]
    unlocked: tuple[CacheEntry, ...] = ()

    @property
    def size(self) -> int:
        """Bytes that deleting frees or freed."""
        return sum(entry.size for entry in self.found)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "directory": str(self.directory),
            "deleted": self.deleted,
            "bytes": self.size,
            "found": [u.to_json() for u in (*self.found, *self.held, *self.unlocked)],
        }


def clean_cache(
    *,
    older_than: str | float = "30d",
    delete: bool = False,
    registry: str | Path | Store | None = None,
    unlocked: bool = False,
) -> Cleaning:
    """Find what can be deleted from the cache, and delete it if asked to.

    That is what was neither read nor written for the time that is given, and what processes left
    that were killed a day ago or earlier. Nothing that a living process has open is deleted, as
    far as the system says what is open: nothing of processes in other containers, or of other
    users. Where it says nothing, what was used within a day is kept. What is being written is
    known by its lock, in other containers, too. A file system that does not record when files
    are read (``noatime``) knows of writes alone.

    Args:
        older_than: Seconds, or an age such as ``"30d"``, ``"12h"``, ``"90m"``.
        delete: Delete what is found.
        registry: A registry that can be written, where pushes that were killed are found, too.
        unlocked: Count what has no lock as left by a killed process: on a file system without
            locks, or left in a registry by earlier versions. Nobody may be writing there.

    Raises:
        RegistryError: The age is malformed, the cache cannot be read, or a file not deleted.
    """
    seconds = age(older_than)
    store = None if registry is None else open_registry(registry, writable=True)
    directory = cache_directory()
    root = resolved(directory)
    try:
        everything = (*_in_cache(root, seconds), *(_pushes(store) if store else ()))
        free = [entry for entry in everything if not entry.held]
        found = tuple(entry for entry in free if unlocked or not entry.unlocked)
        if delete:
            found = tuple(entry for entry in found if _removed(root, entry))
            if store is not None:
                store.remove_stale_uploads(unlocked=unlocked)
    except OSError as error:
        raise RegistryError(
            f"cannot clean {error.filename or directory}: {error.strerror}",
            hint="what was deleted before stays deleted, and the rest can be tried again",
        ) from error
    return Cleaning(
        directory=directory,
        deleted=delete,
        found=found,
        held=tuple(entry for entry in everything if entry.held),
        unlocked=tuple(entry for entry in free if entry.unlocked and not unlocked),
    )


def _removed(root: Path, entry: CacheEntry) -> bool:
    """Remove an entry, unless it was used since it was found; return whether it is gone."""
    if entry.what == _PUSHES:
        return True  # by the registry, all at once
    lock = None
    try:
        if entry.why == "interrupted" and not entry.unlocked:
            lock = try_lock(entry.path)
            if lock is None:
                return False
        if _measured(entry.path) != (entry.size, entry.used):
            return False
        remove_below(root, entry.path)
    except FileNotFoundError:
        return False
    finally:
        if lock is not None:
            lock.release()
    return True


def age(text: str | float) -> float:
    """Read an age: seconds, or ``"30d"``, ``"12h"``, ``"90m"``, ``"10s"``.

    Raises:
        RegistryError: It is none.
    """
    match = _AGE.fullmatch(str(text))
    if match is None:
        raise RegistryError(
            f"age {str(text)[:40]!r}", expected="a number and a unit, such as 30d, 12h or 90m"
        )
    return float(match[1]) * _UNITS[match[2] or "s"]


def _in_cache(root: Path, seconds: float) -> Iterator[CacheEntry]:
    held = open_files(root)
    if held is None:
        seconds, held = max(seconds, _DAY), frozenset()
    now = time.time()
    for path, kind in _candidates(root):
        # Files of living processes come and go while they are looked at.
        with suppress(FileNotFoundError):
            size, used = _measured(path)
            if now - used <= (_DAY if kind is None else seconds):
                continue
            locked = _is_locked(path) if kind is None else False
            in_use = any(p == str(path) or p.startswith(f"{path}{os.sep}") for p in held)
            yield CacheEntry(
                path=path,
                what=kind or _LEFT,
                why="old" if kind else "interrupted",
                size=size,
                used=used,
                held=in_use or locked is True,
                unlocked=locked is None,
            )


def _is_locked(path: Path) -> bool | None:
    """Return whether somebody is writing it; None where the file system has no locks."""
    try:
        lock = try_lock(path)
    except NoLocksError:
        return None
    if lock is None:
        return True
    lock.release()
    return False


def _candidates(root: Path) -> Iterator[tuple[Path, str | None]]:
    """Yield all that may be deleted, with its description; None for an interrupted write."""
    ours = dict.fromkeys(kind.folder for kind in CACHE_KINDS if kind.names is not None)
    folders = [root / name for name in ours if _is_directory(root / name)]
    while folders:
        folder = folders.pop(0)
        for path in entries(folder):
            kind = None if is_link(path) else _kind_of(path.relative_to(root))
            if kind is not None:
                if kind.directory or is_file(path):
                    yield path, kind.what
            elif _LEFTOVER.fullmatch(path.name) and not is_link(path):
                yield path, None
            elif _is_directory(path) and folder.parent == root:
                folders.append(path)


def _kind_of(path: PurePath) -> CacheKind | None:
    """Return the kind of a path, relative to the cache; None for one that no kind has."""
    name = "/".join(path.parts[1:])
    fitting = (
        kind
        for kind in CACHE_KINDS
        if kind.folder == path.parts[0] and kind.names and kind.names.fullmatch(name)
    )
    return next(fitting, None)


def _measured(path: Path) -> tuple[int, float]:
    """Return the bytes that deleting frees, and when it was last used; links count as themselves.

    When a directory or a link was read does not count: looking for what to delete reads them,
    too.
    """
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        return _freed(status), _used(status)
    size, used = 0, _used(status)
    for folder, _, names in os.walk(path):
        for name in names:
            below = (Path(folder) / name).lstat()
            size += _freed(below)
            used = max(used, _used(below))
    return size, used


def _used(status: os.stat_result) -> float:
    regular = stat.S_ISREG(status.st_mode)
    return max(status.st_atime, status.st_mtime) if regular else status.st_mtime


def _freed(status: os.stat_result) -> int:
    return status.st_size if status.st_nlink == 1 else 0


def _is_directory(path: Path) -> bool:
    return is_directory(path, follow_links=False)


def _pushes(store: Store) -> Iterator[CacheEntry]:
    for paths, unlocked in ((store.stale_uploads(), False), (store.unlocked_uploads(), True)):
        for path in paths:
            with suppress(FileNotFoundError):  # another push removes it
                size, used = _measured(path)
                yield CacheEntry(
                    path=path,
                    what=_PUSHES,
                    why="interrupted",
                    size=size,
                    used=used,
                    unlocked=unlocked,
                )
