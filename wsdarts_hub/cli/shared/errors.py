"""Texts of errors of the operating system and of libraries, such as a full disk.

``main`` prints each as one line. An exception without a text here keeps its traceback.
"""

import errno
from collections.abc import Callable

_FULL = "make room, or name another place; --resume goes on with a run that was begun"
# What the operating system refuses, by its number, and what to do.
_REFUSED = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: f"files may not be larger here (`ulimit -f` says how large): {_FULL}",
    errno.EIO: "the disk or the connection to it fails; try again, or name another place",
    errno.EROFS: "name a place that can be written",
    errno.EACCES: "ask for access, or name another path",
    errno.EPERM: "ask for access, or name another path",
    errno.EMFILE: "allow more open files (`ulimit -n`)",
    errno.ENFILE: "close other programs: the machine has too many open files",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "its links lead in a circle; name the file itself",
    errno.EBADF: "redirect the output to a file or to /dev/null",
}
_NO_MEMORY = (
    "close other programs, or take less at once: a smaller batch (--set search.batch_size=N or "
    "--set training.batch_size=N) or preset; --resume goes on with a run that was begun"
)
# The first by torch; the last by safetensors, where Python has no memory for its bytes.
_SAID_WITHOUT_MEMORY = (
    "can't allocate memory",
    "std::bad_alloc",
    "PyObject pointer is null",
    "could not create a primitive",  # of oneDNN, whose scratch memory failed
)


def explained(error: BaseException) -> str | None:
    """Return an exception as one line for the user; None for a fault of the program."""
    for kind, text in _TABLE:
        if isinstance(error, kind) and (found := text(error)) is not None:
            return " ".join(found.split())
    return None


def _refusal(error: BaseException) -> str | None:
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return _lack_of_memory(error)
    if not isinstance(error, OSError) or error.errno not in _REFUSED:
        return None
    what = "cannot write" if error.filename is None else f"cannot use {error.filename}"
    return f"{what}: {error.strerror}; {_REFUSED[error.errno]}"


def _lack_of_memory(error: BaseException) -> str:
    said = str(error).strip().partition("\n")[0]
    return f"out of memory{f' ({said})' if said else ''}; {_NO_MEMORY}"


def _told_by_a_library(error: BaseException) -> str | None:
    """Recognise errors of torch, safetensors, the linker and tempfile by their text."""
    said = str(error)
    if type(error).__name__ == "OutOfMemoryError" or any(s in said for s in _SAID_WITHOUT_MEMORY):
        return _lack_of_memory(error)
    if said == "can't start new thread":
        return f"{said}; close other programs, or allow more threads (`ulimit -u`, `ulimit -v`)"
    if "failed to map segment" in said:
        return (
            f"cannot load a library ({said}); allow more memory (`ulimit -v`), and install where "
            "programs may be run"
        )
    if "No usable temporary directory" in said:
        return "cannot write a temporary file; make room, or name a directory in TMPDIR"
    return None


_TABLE: tuple[tuple[type[BaseException], Callable[[BaseException], str | None]], ...] = (
    (OSError, _refusal),
    (MemoryError, _lack_of_memory),
    (BaseException, _told_by_a_library),
)
