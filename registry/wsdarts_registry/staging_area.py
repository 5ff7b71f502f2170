"""Where pushes to a directory registry are prepared, and swept after those that died."""

import hashlib
import os
import platform
import re
import shutil
import time
import uuid
from pathlib import Path

from wsdarts_registry.files import entries, is_directory, status

_OWNER = re.compile(r"([0-9a-f]{8})-([0-9]{1,10})-[0-9a-f]{32}")
_STALE_SECONDS = 24 * 3600


class StagingArea:
    """Hidden directories, each of one push, named after its machine and process."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def new(self) -> Path:
        """A path for a push of this process; not made yet."""
        return self._root / f"{_machine()}-{os.getpid()}-{uuid.uuid4().hex}"

    def sweep(self) -> None:
        """Remove what pushes left that were killed: of a dead process here, or a day old.

        Raises:
            OSError: The directory cannot be read.
        """
        for path in self.abandoned():
            # Another push may be sweeping the same one; what stays is swept next time.
            shutil.rmtree(path, ignore_errors=True)

    def abandoned(self) -> tuple[Path, ...]:
        """What ``sweep`` would remove.

        Raises:
            OSError: The directory cannot be read.
        """
        if not is_directory(self._root, follow_links=False):
            return ()
        return tuple(path for path in entries(self._root) if _is_abandoned(path))


def _is_abandoned(path: Path) -> bool:
    owner = _OWNER.fullmatch(path.name)
    if owner and owner[1] == _machine() and not _is_running(int(owner[2])):
        return True
    found = status(path, follow_links=False)
    return found is not None and time.time() - found.st_mtime > _STALE_SECONDS


def _machine() -> str:
    """Eight hex digits that differ between machines; process ids mean nothing across them."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _is_running(pid: int) -> bool:
    if os.name != "posix":
        return True  # signal 0 would end a process on Windows; age decides there
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
