"""What can be deleted from the cache: what nobody used for long, and what kills left behind.

Everything in the cache can be made again, so deleting costs time and nothing else. Only files
that this library writes are considered: what lies at other places in the cache is left alone,
downloaded datasets among them, and no link is followed.

Removing files below a directory, and never through a link out of it.

Which files living processes have open or mapped.
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
from pathlib import Path
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
    """A descriptor of the directory that the way leads to."""
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


def held_below(root: Path) -> frozenset[str] | None:
    """Paths at or below ``root`` that a process of this machine has open or mapped into memory.

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
# Files, and directories that are deleted whole; paths relative to the cache.
_KINDS = (
    ("decoded images", re.compile(rf"tasks/{_HEX}/[^/]+\.npy")),
    ("which images decode", re.compile(r"checked/[^/]+\.json")),
    ("digests of files that were read", re.compile(r"digests/[^/]+\.index")),
    ("task embeddings", re.compile(rf"embeddings/{_HEX}/[^/]+\.(safetensors|json)")),
    ("features of probes", re.compile(rf"features/{_HEX}/[^/]+\.safetensors")),
    ("embeddings of registries", re.compile(r"nearest/[0-9a-f]+\.npy")),
    ("compiled kernels", re.compile(r"kernels/[0-9a-f-]+\.so")),
    ("pulled artifacts", re.compile(rf"artifacts/{_HEX}")),
    ("artifacts that were looked at", re.compile(rf"outlines/{_HEX}")),
    ("answers of the Hub", re.compile(r"hub/[^/]+\.json")),
    ("files of the Hub", re.compile(rf"hub/files/{_HEX}")),
)
_PULLED = ("artifacts", "outlines")
_FOLDERS = (
    *("tasks", "checked", "digests", "embeddings", "features", "nearest", "kernels", "hub"),
    *_PULLED,
)
# As temporary_file, staged, and the compilation of kernels name them.
_LEFTOVER = re.compile(r"\..+\.tmp|\..+\.[0-9a-f]{32}(\.damaged)?|tmp[a-z0-9_]{8}")
_LEFT = "interrupted writes"
_PUSHES = "interrupted pushes"


@dataclass(frozen=True, kw_only=True)
class Unused:
    """A file, or a directory that is deleted whole.

    Attributes:
        path: Where it is.
        what: What it holds, in words.
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
    """What can be deleted, or was.

    Attributes:
        directory: The cache.
        deleted: Whether it was deleted.
        found: What is not in use, by place.
        held: What would go, too, but for a living process that has it open or locked.
        unlocked: What would go, too, if it were asked for with ``unlocked``.
    """

    directory: Path
    deleted: bool
    found: tuple[Unused, ...]
    held: tuple[Unused, ...]
    unlocked: tuple[Unused, ...] = ()

    @property
    def size(self) -> int:
        """Bytes that deleting frees or freed."""
        return sum(unused.size for unused in self.found)

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
        free = [unused for unused in everything if not unused.held]
        found = tuple(unused for unused in free if unlocked or not unused.unlocked)
        if delete:
            found = tuple(unused for unused in found if _removed(root, unused))
            if store is not None:
                store.sweep(unlocked=unlocked)
    except OSError as error:
        raise RegistryError(
            f"cannot clean {error.filename or directory}: {error.strerror}",
            hint="what was deleted before stays deleted, and the rest can be tried again",
        ) from error
    return Cleaning(
        directory=directory,
        deleted=delete,
        found=found,
        held=tuple(unused for unused in everything if unused.held),
        unlocked=tuple(unused for unused in free if unused.unlocked and not unlocked),
    )


def _removed(root: Path, unused: Unused) -> bool:
    """Remove it from the cache, unless it was used since it was found."""
    if unused.what == _PUSHES:
        return True  # by the registry, all at once
    lock = None
    try:
        if unused.why == "interrupted" and not unused.unlocked:
            lock = try_lock(unused.path)
            if lock is None:
                return False
        if _measured(unused.path) != (unused.size, unused.used):
            return False
        remove_below(root, unused.path)
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


def _in_cache(root: Path, seconds: float) -> Iterator[Unused]:
    held = held_below(root)
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
            yield Unused(
                path=path,
                what=kind or _LEFT,
                why="old" if kind else "interrupted",
                size=size,
                used=used,
                held=in_use or locked is True,
                unlocked=locked is None,
            )


def _is_locked(path: Path) -> bool | None:
    """Whether somebody is writing it; None where the file system has no locks."""
    try:
        lock = try_lock(path)
    except NoLocksError:
        return None
    if lock is None:
        return True
    lock.release()
    return False


def _candidates(root: Path) -> Iterator[tuple[Path, str | None]]:
    """Everything that may be deleted, with its kind; None for a leftover."""
    folders = [root / name for name in _FOLDERS if _is_directory(root / name)]
    while folders:
        folder = folders.pop(0)
        for path in entries(folder):
            place = path.relative_to(root).as_posix()
            kind = next((kind for kind, pattern in _KINDS if pattern.fullmatch(place)), None)
            if kind is not None and not is_link(path):
                if is_file(path) or place.startswith(_PULLED):
                    yield path, kind
            elif _LEFTOVER.fullmatch(path.name) and not is_link(path):
                yield path, None
            elif _is_directory(path) and folder.parent == root:
                folders.append(path)


def _measured(path: Path) -> tuple[int, float]:
    """Bytes that deleting frees, and when it was last used; links count as themselves.

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


def _pushes(store: Store) -> Iterator[Unused]:
    for paths, unlocked in ((store.abandoned(), False), (store.unlocked(), True)):
        for path in paths:
            with suppress(FileNotFoundError):  # another push removes it
                size, used = _measured(path)
                yield Unused(
                    path=path,
                    what=_PUSHES,
                    why="interrupted",
                    size=size,
                    used=used,
                    unlocked=unlocked,
                )
