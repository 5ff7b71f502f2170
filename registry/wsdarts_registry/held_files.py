"""Which files living processes have open or mapped."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

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
