"""Disks that fill, break, vanish or lose power, by a library that is loaded before all others.

``disk.c`` is compiled with the C compiler of this machine. It counts what a process changes below
a directory, refuses it from some change on, and records it. Of a record any instant can be made
again as a power cut would have left it, with or without what was not flushed.
"""

import hashlib
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_SOURCE = Path(__file__).with_name("disk.c")
KINDS = ("full", "read-only", "denied", "broken", "vanished", "killed", "clock", "memory")
# What survives a power cut, from the least to all that was done before it.
SURVIVORS = ("flushed", "names", "halves", "all")


def compiler() -> str | None:
    """Return the C compiler, if there is one."""
    return shutil.which("gcc") or shutil.which("cc")


def library(directory: Path) -> Path:
    """Compile the library into a directory and return its path."""
    built = directory / "disk.so"
    found = compiler()
    assert found is not None
    command = [found, "-O1", "-shared", "-fPIC", "-o", str(built), str(_SOURCE)]
    subprocess.run([*command, "-ldl", "-lpthread"], check=True, capture_output=True)
    return built


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens to a disk, and from which change on.

    Attributes:
        kind: One of ``KINDS``.
        change: Counted from 0.
        extra: The path that vanishes, the seconds by which the clock is set, or the bytes that are
            left.
    """

    kind: str
    change: int
    extra: str = ""

    def variables(self, root: Path, happened: Path) -> dict[str, str]:
        """Return what a process has to have in its environment.

        Args:
            root: The directory whose changes are counted.
            happened: A file that is made when the fault happens.
        """
        plan = f"{self.kind}:{self.change}" + (f":{self.extra}" if self.extra else "")
        return {
            "FAULTS_ROOT": str(root),
            "FAULTS_PLAN": plan,
            "FAULTS_HAPPENED": str(happened),
        }

    def cure(self) -> None:
        """Bring back what vanished."""
        if self.kind != "vanished":
            return
        place, gone = Path(self.extra), Path(f"{self.extra}.gone")
        if gone.exists():
            # What was made meanwhile gives way to what is mounted again.
            shutil.rmtree(place, ignore_errors=True)
            gone.rename(place)

    def __str__(self) -> str:
        extra = f" ({self.extra})" if self.extra else ""
        return f"{self.kind}{extra} from change {self.change} on"


@dataclass(frozen=True, kw_only=True)
class Change:
    """One recorded change.

    Attributes:
        name: ``create``, ``write``, ``truncate``, ``flush``, ``rename``, ``link``, ``mkdir`` or
            ``remove``.
        inode: Of the file, where it was open.
        offset: Where data was written; the length of a truncated file.
        path: Its path, below the root.
        other: The second path of a rename or link.
        data: What was written.
    """

    name: str
    inode: int
    offset: int
    path: str
    other: str
    data: bytes


def read_changes(log: Path, root: Path) -> list[Change]:
    """Return the changes below a directory in the order in which they were made."""
    found: list[Change] = []
    for line in log.read_text().splitlines() if log.exists() else ():
        name, inode, offset, *rest = line.split(" ")
        path, other, data = (b"" if each == "-" else bytes.fromhex(each) for each in rest)
        found.append(
            Change(
                name=name,
                inode=int(inode),
                offset=int(offset),
                path=_below(path, root),
                other=_below(other, root),
                data=data,
            )
        )
    return found


def _below(path: bytes, root: Path) -> str:
    text = path.decode()
    return str(Path(text).relative_to(root)) if text else ""


@dataclass(eq=False)
class _File:
    data: bytearray
    flushed: bytes


@dataclass(eq=False)
class _Folder:
    entries: "dict[str, _Node]" = field(default_factory=dict)
    flushed: "dict[str, _Node]" = field(default_factory=dict)


_Node = _File | _Folder | Path  # the last is a symbolic link


class Disk:
    """Files and directories below a root, as they are and as they were last flushed.

    Args:
        root: Whose present content is taken as flushed.
    """

    def __init__(self, root: Path) -> None:
        self._root = _taken(root)
        self._open: dict[int, _File] = {}

    def apply(self, change: Change) -> None:
        """Do a change."""
        if change.name == "create":
            self._open[change.inode] = made = _File(bytearray(), b"")
            self._put(change.path, made)
        elif change.name in ("write", "truncate"):
            file = self._file(change)
            if change.name == "truncate":
                size = len(file.data)
                file.data[change.offset :] = b"\0" * max(0, change.offset - size)
            else:
                end = change.offset + len(change.data)
                file.data.extend(b"\0" * (end - len(file.data)))
                file.data[change.offset : end] = change.data
        elif change.name == "flush":
            node = self._flushed_node(change)
            if isinstance(node, _File):
                node.flushed = bytes(node.data)
            elif isinstance(node, _Folder):
                node.flushed = dict(node.entries)
        elif change.name == "mkdir":
            self._put(change.path, _Folder())
        elif change.name == "remove":
            self._take(change.path)
        elif change.name == "rename":
            self._put(change.other, self._take(change.path))
        else:
            self._put(change.other, self._at(change.path))

    def write_to(self, directory: Path, survivor: str) -> None:
        """Write what is there after a power cut into a new directory.

        Args:
            directory: Must not exist.
            survivor: ``flushed``: only what was flushed, of files and of directories; ``names``:
                also all names, with the flushed content of files; ``halves``: also a half of
                what was written to a file since; ``all``: everything.
        """
        directory.mkdir()
        for path, content in _surviving(self._root, "", survivor):
            place = directory / path
            if content is None:
                place.mkdir()
            elif isinstance(content, Path):
                place.symlink_to(content)
            else:
                place.write_bytes(content)

    def digest(self, survivor: str) -> str:
        """Return the digest of what ``write_to`` writes."""
        found = hashlib.sha256()
        for path, content in _surviving(self._root, "", survivor):
            size = len(content) if isinstance(content, bytes) else content
            found.update(f"{path!r} {size}\n".encode())
            if isinstance(content, bytes):
                found.update(content)
        return found.hexdigest()

    def _flushed_node(self, change: Change) -> "_Node":
        found = self._open.get(change.inode)
        if found is None or self._is_folder(change.path):
            return self._at(change.path)  # a folder may have the inode of a file that is gone
        return found

    def _is_folder(self, path: str) -> bool:
        try:
            return isinstance(self._at(path), _Folder)
        except (KeyError, AssertionError):
            return False

    def _file(self, change: Change) -> _File:
        found = self._open.get(change.inode)
        if found is None:
            node = self._at(change.path)
            assert isinstance(node, _File), change.path
            self._open[change.inode] = found = node
        return found

    def _folder(self, path: str) -> _Folder:
        node = self._at(path)
        assert isinstance(node, _Folder), path
        return node

    def _at(self, path: str) -> "_Node":
        node: _Node = self._root
        for part in Path(path).parts:
            assert isinstance(node, _Folder), path
            node = node.entries[part]
        return node

    def _put(self, path: str, node: "_Node") -> None:
        self._folder(str(Path(path).parent)).entries[Path(path).name] = node

    def _take(self, path: str) -> "_Node":
        return self._folder(str(Path(path).parent)).entries.pop(Path(path).name)


def _taken(path: Path) -> _Folder:
    found: dict[str, _Node] = {}
    for entry in sorted(path.iterdir()):
        if entry.is_symlink():
            found[entry.name] = entry.readlink()
        elif entry.is_dir():
            found[entry.name] = _taken(entry)
        else:
            content = entry.read_bytes()
            found[entry.name] = _File(bytearray(content), content)
    return _Folder(found, dict(found))


def _surviving(
    folder: _Folder, above: str, survivor: str
) -> Iterator[tuple[str, bytes | Path | None]]:
    """Yield the paths in a folder, with the content of files and links; None for a folder."""
    there = folder.flushed if survivor == "flushed" else folder.entries
    for name, node in sorted(there.items()):
        path = f"{above}{name}"
        if isinstance(node, Path):
            yield path, node
        elif isinstance(node, _Folder):
            yield path, None
            yield from _surviving(node, f"{path}/", survivor)
        elif survivor == "all":
            yield path, bytes(node.data)
        elif survivor == "halves" and bytes(node.data) != node.flushed:
            yield path, bytes(node.data[: len(node.data) // 2])
        else:
            yield path, node.flushed


def instants(changes: Sequence[Change]) -> Iterator[int]:
    """Yield after how many changes a power cut leaves something else than the one before."""
    last = ""
    for number, change in enumerate(changes):
        if not (change.name == last == "write"):
            yield number
        last = change.name
    yield len(changes)
