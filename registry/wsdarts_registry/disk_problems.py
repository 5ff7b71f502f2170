"""What an operating system's refusal means for somebody who uses a registry."""

import errno
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


def read_problem(registry: Path, error: OSError) -> str:
    """One line on why a registry cannot be read."""
    return (
        f"cannot read the registry {registry}: {error.strerror}; check that it is mounted and "
        "that you may read it"
    )


def write_problem(registry: Path, error: OSError) -> str:
    """One line on why nothing could be written to a registry."""
    if error.errno in _FULL:
        return (
            f"the disk of the registry {registry} is full; nothing was published: free some "
            "space, or name another registry with --registry DIR"
        )
    if error.errno in _READ_ONLY:
        return (
            f"the registry {registry} is read-only for you ({error.strerror}); ask its owner for "
            "write access, or name one of your own with --registry DIR"
        )
    return (
        f"cannot write the registry {registry}: {error.strerror}; nothing was published: name "
        "another one with --registry DIR"
    )
