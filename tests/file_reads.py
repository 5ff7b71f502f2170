"""Which files a piece of code opens, counted by an audit hook of the interpreter."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_heard: list["Counter[Path]"] = []
_installed: list[bool] = []


@contextmanager
def counted_reads() -> Iterator["Counter[Path]"]:
    """Count how often each file is opened to be read within the block."""
    if not _installed:  # a hook stays for as long as the interpreter
        sys.addaudithook(_listen)
        _installed.append(True)
    found: Counter[Path] = Counter()
    _heard.append(found)
    try:
        yield found
    finally:
        _heard.remove(found)


def _listen(event: str, arguments: tuple[object, ...]) -> None:
    if event != "open" or not _heard:
        return
    path, _, flags = arguments
    if isinstance(path, (str, bytes, Path)) and isinstance(flags, int):
        if flags & (os.O_WRONLY | os.O_RDWR):
            return
        for found in _heard:
            found[Path(os.fsdecode(path))] += 1
