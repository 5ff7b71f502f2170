"""Lack of memory: told from damage, and found out before threads start, which would never end.

Where a process may have no more memory (``ulimit -v``, a container), Python raises a MemoryError,
the system answers ENOMEM, and each library has words of its own. A file that cannot be read for
that reason is whole, and a network that cannot be built fits.
"""

import errno
import mmap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier

from wsdarts_registry.errors import WsdartsError

_SAID = (
    "can't allocate memory",  # torch
    "std::bad_alloc",
    "PyObject pointer is null",  # safetensors, where Python has no memory for its bytes
    "could not create a primitive",  # oneDNN, whose scratch memory failed
    "Cannot allocate memory",  # the system, in words of libraries in Rust
    "out of memory error",  # Pillow, whose decoder failed
    "error return without exception set",  # Python, which had none for the exception
)
_OF_THREAD = 10 * 2**20  # bytes: the usual stack, and what Python allocates until it runs


def shortage(error: BaseException) -> BaseException | None:
    """Return the lack of memory that an error came from; None where it came from something else."""
    found: BaseException | None = error
    seen: list[BaseException] = []
    while found is not None and found not in seen:  # causes may go round in a circle
        seen.append(found)
        if (
            isinstance(found, MemoryError)
            or (isinstance(found, OSError) and found.errno == errno.ENOMEM)
            or type(found).__name__ == "OutOfMemoryError"
        ):
            return found
        said = "" if isinstance(found, WsdartsError) else str(found)  # it quotes the one it is from
        if any(each in said for each in _SAID):
            return found
        found = found.__cause__
    return None


def has_room(octets: int) -> bool:
    """Return whether the process may have so many bytes more."""
    try:
        mmap.mmap(-1, octets).close()
    except OSError:
        return False
    return True


def check_threads(count: int) -> None:
    """Refuse to start threads without memory for them.

    Until Python 3.14 ``Thread.start`` waits for ever for a thread that finds none when it begins.

    Raises:
        MemoryError: There is not enough.
    """
    if not has_room(count * _OF_THREAD):
        raise MemoryError(f"there is not enough for {count} threads")


@contextmanager
def thread_pool(count: int, name: str = "") -> Iterator[ThreadPoolExecutor]:
    """Make a pool of threads for a block, which ends when all of their work has.

    All of them start before the block does: later there may be no memory for one, and its start
    would be waited for without end.

    Args:
        count: Of threads.
        name: What their names begin with.

    Raises:
        MemoryError: There is not enough for them.
    """
    check_threads(count)
    with ThreadPoolExecutor(count, thread_name_prefix=name) as pool:
        started = Barrier(count)
        try:
            for each in [pool.submit(started.wait) for _ in range(count)]:
                each.result()
        except BaseException:
            started.abort()  # else those that have started would wait for the others
            raise
        yield pool
