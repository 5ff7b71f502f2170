"""Compilation of this package's C++ for this machine, and the cache of the compiled libraries.

A library is kept in the user's cache under the digest of source, compiler, flags and the
environment that the compiler reads. It is built for the processor at hand, so it is made where it
runs; there is nothing to download.

A library is loaded only if its content has the digest in its name, and if only this user or root
could have written it, in a directory that only its owner can write. The open file that was checked
is loaded, not its path. See ``docs/decisions/compiled-kernels.md``.
"""

import ctypes
import hashlib
import os
import platform
import re
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from wsdarts_registry._files import (
    cache_directory,
    exists,
    is_file,
    modified,
    resolved,
    write_atomically,
)
from wsdarts_registry._memory import has_room
from wsdarts_registry._text import sanitize
from wsdarts_registry.errors import FileAccessError, WsdartsError

_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_FILE = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_NAME = re.compile(r"([0-9a-f]{16})-([0-9a-f]{64})\.so")
_LARGEST = 2**26
_ROOM = 2**24  # bytes; a library, and those of C++ and OpenMP that it loads, take less
_DESCRIPTORS = Path("/proc/self/fd")


@dataclass(frozen=True, kw_only=True, slots=True)
class LibraryCache:
    """A private directory of compiled libraries.

    Attributes:
        path: The directory.
        descriptor: The open directory; it stays the same if its path leads elsewhere later.
    """

    path: Path
    descriptor: int

    def find(self, key: str) -> ctypes.CDLL | None:
        """Return a library that was stored under a key; None where no sound one is kept.

        Raises:
            OSError: It is sound, and cannot be loaded here.
        """
        for name in self._names(key):
            with suppress(FileNotFoundError):
                descriptor = self._open_sound(name)
                if descriptor is not None:
                    return _loaded(descriptor, self.path / name)
        return None

    def holds(self, key: str) -> bool:
        """Return whether a sound library is stored under a key."""
        for name in self._names(key):
            with suppress(FileNotFoundError):
                descriptor = self._open_sound(name)
                if descriptor is not None:
                    os.close(descriptor)
                    return True
        return False

    def store(self, key: str, content: bytes) -> ctypes.CDLL:
        """Write a library, flushed to the disk and renamed, and load it.

        Raises:
            OSError: It cannot be written, or not be loaded; it is not kept then.
        """
        name = f"{key}-{hashlib.sha256(content).hexdigest()}.so"
        self._make_room(name)
        write_atomically(self.path / name, content, mode=0o600)
        descriptor = self._open_sound(name)
        if descriptor is None:
            raise OSError(f"{self.path / name} was changed by someone else")
        try:
            return _loaded(descriptor, self.path / name)
        except OSError:
            with suppress(OSError):
                os.unlink(name, dir_fd=self.descriptor)
            raise

    def _make_room(self, name: str) -> None:
        """Remove what stands in the place of a library and is no file, such as a pipe."""
        with suppress(OSError):
            found = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode):
                os.unlink(name, dir_fd=self.descriptor)

    def _names(self, key: str) -> tuple[str, ...]:
        names = os.listdir(self.descriptor)  # noqa: PTH208 (of what is open, not of a path)
        found = (_NAME.fullmatch(name) for name in sorted(names))
        return tuple(match[0] for match in found if match and match[1] == key)

    def _open_sound(self, name: str) -> int | None:
        """Open a library whose content and owner are right; None where it is not to be loaded."""
        try:
            descriptor = os.open(name, _FILE, dir_fd=self.descriptor)
        except FileNotFoundError:
            raise
        except OSError:  # a link, or a file that may not be read
            return None
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and not _writable_by_others(status):
            content = bytearray()
            while len(content) <= _LARGEST and (part := os.read(descriptor, 2**20)):
                content += part
            if name.endswith(f"-{hashlib.sha256(content).hexdigest()}.so"):
                return descriptor
        os.close(descriptor)
        return None


@contextmanager
def library_cache() -> Iterator[LibraryCache | str]:
    """Open the cache's directory ``kernels``, or give the reason why it is not used.

    It is made so that only its owner can write to it, and made so again where it is this user's
    and others can. A link is followed if this user or root made it.
    """
    path = _path()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode) and not _is_strangers(status):
            path = path.resolve()
        descriptor = os.open(path, _DIRECTORY)
    except OSError as error:
        yield f"{path} cannot be used: {error.strerror or error}"
        return
    try:
        _take_back(descriptor)
        status = os.fstat(descriptor)
        if _writable_by_others(status):
            yield (
                f"{path} can be written by others (owner {status.st_uid}, mode "
                f"{stat.S_IMODE(status.st_mode):o}); name a cache of your own in "
                "WSDARTS_HUB_CACHE"
            )
        else:
            yield LibraryCache(path=path, descriptor=descriptor)
    finally:
        os.close(descriptor)


def is_made() -> bool:
    """Return whether the directory of the cache exists."""
    with suppress(FileAccessError):
        return exists(_path())
    return False


def load_private(path: Path) -> ctypes.CDLL:
    """Load a library that this process has just made, in a directory of its own.

    Raises:
        OSError: It cannot be loaded.
    """
    return _loaded(os.open(path, _FILE), path)


def _path() -> Path:
    return cache_directory() / "kernels"


def _take_back(descriptor: int) -> None:
    """Remove the write permission of others from a directory, if it is this user's."""
    status = os.fstat(descriptor)
    if hasattr(os, "geteuid") and status.st_uid == os.geteuid():
        with suppress(OSError):  # a file system without modes
            os.chmod(descriptor, stat.S_IMODE(status.st_mode) & ~_OTHERS_WRITE)


def _writable_by_others(status: os.stat_result) -> bool:
    """Return whether anyone but this user and root could have written it."""
    return _is_strangers(status) or bool(status.st_mode & _OTHERS_WRITE)


def _is_strangers(status: os.stat_result) -> bool:
    """Return whether it is neither this user's nor root's."""
    return hasattr(os, "geteuid") and status.st_uid not in (os.geteuid(), 0)


def _loaded(descriptor: int, path: Path) -> ctypes.CDLL:
    """Load an open file. It stays open: the loader knows libraries by name, so by descriptor.

    Raises:
        MemoryError: There is no memory for it: to compile it again would not help, and other
            kernels would need more.
        OSError: It cannot be loaded.
    """
    by_descriptor = _DESCRIPTORS / str(descriptor)
    try:
        return ctypes.CDLL(str(by_descriptor if _DESCRIPTORS.is_dir() else path))
    except OSError as error:
        os.close(descriptor)
        text = str(error).replace(str(by_descriptor), str(path))
        # The loader's words are the same where programs may not be run.
        raise (OSError if has_room(_ROOM) else MemoryError)(text) from error


_FLAGS = (
    "-O3",
    "-march=native",
    "-std=gnu++17",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-shared",
    "-fPIC",
    "-Wno-psabi",
)
# With threads, and for a compiler that has no OpenMP.
_BUILDS = ((*_FLAGS, "-fopenmp"), _FLAGS)
_SECONDS = 300
ENGINE = "supernet/kernels/cpu.cpp"
_SHARED = "primitives.h"  # what sources of one folder share
_INCLUDE = f'#include "{_SHARED}"\n'.encode()
_LONGEST_MESSAGE = 2**16
# What the compiler gets of the environment: where programs, headers and libraries are. No more,
# so that no token reaches it, and no variable makes it write elsewhere or in another language.
_PLACES = ("PATH", "HOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
_COMPILED_FROM = (
    *("CPATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "COMPILER_PATH", "GCC_EXEC_PREFIX"),
    *("SDKROOT", "MACOSX_DEPLOYMENT_TARGET", "DEVELOPER_DIR"),
)
_PREFIXES = ("CCACHE_", "SCCACHE_", "NIX_")


class _CompilerError(Exception):
    """The compiler is missing or failed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compiled:
    """The outcome of compiling.

    Attributes:
        library: The loaded library, or None.
        why: Why there is none, or how it was made.
    """

    library: ctypes.CDLL | None
    why: str


def has_compiler() -> bool:
    """Return whether there is a C++ compiler, without which no library is made or found."""
    try:
        _compiler()
    except _CompilerError:
        return False
    return True


def must_compile(source: str = ENGINE) -> bool:
    """Return whether a library has yet to be compiled, which takes a while."""
    try:
        compiler = _compiler()
    except _CompilerError:
        return False
    if not is_made():
        return True
    with library_cache() as found:
        return isinstance(found, str) or not any(
            found.holds(_key(compiler, flags, source)) for flags in _BUILDS
        )


def compiler_reads(name: str) -> bool:
    """Return whether what is compiled depends on a variable of the environment."""
    return name in _COMPILED_FROM or name.startswith(_PREFIXES)


def why_not_kept() -> str | None:
    """Return the reason why compiled libraries cannot be cached, or None."""
    if not is_made():
        return None
    with library_cache() as found:
        return found if isinstance(found, str) else None


@cache
def compiled_library(source: str = ENGINE) -> Compiled:
    """Return a library, compiled if it must be, or the reason why there is none.

    Args:
        source: Path of its source in this package; after a colon the type of numbers that the
            macro ``SCALAR`` stands for in it.
    """
    try:
        compiler = _compiler()
    except _CompilerError as error:
        return Compiled(library=None, why=str(error))
    name = sanitize(" ".join(compiler))
    with library_cache() as place:
        kept = _kept(compiler, name, place, source)
        return kept if kept is not None else _compiled(compiler, name, place, source)


def _kept(
    compiler: tuple[str, ...], name: str, place: LibraryCache | str, source: str
) -> Compiled | None:
    """Return the cached library."""
    if isinstance(place, str):
        return None
    for flags in _BUILDS:
        with suppress(OSError):  # such as a library of OpenMP that is gone: compiled anew
            library = place.find(_key(compiler, flags, source))
            if library is not None:
                return Compiled(library=library, why=_how(name, flags))
    return None


def _compiled(
    compiler: tuple[str, ...], name: str, place: LibraryCache | str, source: str
) -> Compiled:
    reasons = []
    for flags in _BUILDS:
        try:
            library, problem = _made(compiler, flags, place, source)
        except (_CompilerError, OSError) as error:
            reasons.append(sanitize(str(error), 400))
            continue
        unkept = "" if problem is None else f"; not kept, since {sanitize(problem, 400)}"
        return Compiled(library=library, why=_how(name, flags) + unkept)
    return Compiled(library=None, why=f"{name} could not compile them: {reasons[-1]}")


def _how(name: str, flags: tuple[str, ...]) -> str:
    threads = "" if "-fopenmp" in flags else " without OpenMP, so for one thread"
    return f"compiled by {name}{threads}"


def _compiler() -> tuple[str, ...]:
    """Return the compiler's command: ``CXX`` as make reads it, or an installed compiler."""
    asked = os.environ.get("CXX", "").strip()
    if not asked:
        usual = shutil.which("g++") or shutil.which("clang++")
        if usual is None:
            raise _CompilerError(
                "no C++ compiler (g++ or clang++) was found; install one for searches on the CPU "
                "that are several times faster"
            )
        return (usual,)
    try:
        words = [asked] if _program(asked) else shlex.split(asked)
    except ValueError as error:
        raise _CompilerError(f"CXX is {sanitize(asked)!r}: {error}") from error
    if not words or _program(words[0]) is None:
        raise _CompilerError(
            f"CXX is {sanitize(asked)!r}, which names no program; expected a C++ compiler such "
            "as g++ or 'ccache g++', or leave it unset"
        )
    return tuple(words)


def _program(word: str) -> Path | None:
    """Return the file that a word of the command runs; None where it is no program."""
    try:
        found = shutil.which(word)
        return Path(found) if found is not None and is_file(Path(found)) else None
    except (OSError, ValueError, WsdartsError):
        return None


def _source(name: str) -> bytes:
    path, _, scalar = name.partition(":")
    *folders, file = path.split("/")
    folder = files("wsdarts_sdk").joinpath(*folders)
    text = folder.joinpath(file).read_bytes()
    if _INCLUDE in text:  # what is compiled is one text, under one digest
        text = text.replace(_INCLUDE, folder.joinpath(_SHARED).read_bytes())
    return f"#define SCALAR {scalar}\n".encode() + text if scalar else text


def _key(compiler: tuple[str, ...], flags: tuple[str, ...], source: str) -> str:
    """Return the digest of everything that the machine code depends on."""
    programs = [
        (str(resolved(program)), modified(program))
        for program in map(_program, compiler)
        if program is not None
    ]
    environment = {name: value for name, value in os.environ.items() if compiler_reads(name)}
    parts = (compiler, programs, flags, sorted(environment.items()), platform.machine())
    text = f"{parts!r} {_processor()}".encode(errors="surrogateescape")
    return hashlib.sha256(_source(source) + b"\0" + text).hexdigest()[:16]


def _environment(temporary: str) -> dict[str, str]:
    """Return the variables of the environment that are passed to the compiler."""
    passed = {
        name: value for name, value in os.environ.items() if name in _PLACES or compiler_reads(name)
    }
    return passed | {"LC_ALL": "C", "TMPDIR": temporary}


def _made(
    compiler: tuple[str, ...], flags: tuple[str, ...], place: LibraryCache | str, source: str
) -> tuple[ctypes.CDLL, str | None]:
    """Compile in a directory of this user alone; return the library and why it is not kept."""
    with tempfile.TemporaryDirectory() as scratch:
        code, made = Path(scratch) / "code.cpp", Path(scratch) / "code.so"
        code.write_bytes(_source(source))
        _run([*compiler, *flags, str(code), "-o", str(made)], Path(scratch))
        if not is_file(made, follow_links=False):
            raise _CompilerError("it wrote no library")
        if isinstance(place, str):
            return load_private(made), place
        try:
            return place.store(_key(compiler, flags, source), made.read_bytes()), None
        except OSError as error:  # such as a full disk
            return load_private(made), str(error)


def _run(command: list[str], scratch: Path) -> None:
    """Run the compiler; end it and its child processes if it takes too long."""
    said = scratch / "messages"
    with said.open("wb") as messages:
        process = subprocess.Popen(  # noqa: S603 (the compiler of the user's own choice)
            command,
            stdin=subprocess.DEVNULL,
            stdout=messages,
            stderr=messages,
            env=_environment(str(scratch)),
            start_new_session=True,
        )
        try:
            code = process.wait(_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise _CompilerError(f"it had not finished after {_SECONDS} s") from error
        finally:
            _end(process)
    if code != 0:
        with said.open("rb") as file:
            text = file.read(_LONGEST_MESSAGE).decode(errors="replace").strip()
        raise _CompilerError(text.splitlines()[0] if text else f"exit code {code}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a compiler that still runs, with its child processes."""
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()


def _processor() -> str:
    """Return model and features of the processor, as far as the system tells."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    wanted = ("model name", "flags", "Features")
    return "\n".join(dict.fromkeys(x for x in text.splitlines() if x.startswith(wanted)))
