"""Compiles ``cpu.cpp`` once for this machine.

The library is kept in the user's cache under the digest of source, compiler, flags and what of
the environment the compiler reads. It is built for the processor at hand, so it is made where it
runs; there is nothing to download.
"""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from wsdarts_registry._files import is_file, modified, resolved
from wsdarts_registry._text import sanitize
from wsdarts_registry.errors import WsdartsError
from wsdarts_sdk.supernet.kernels.library_cache import (
    LibraryCache,
    is_made,
    library_cache,
    load_private,
)

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
    """Why there is no library."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compiled:
    """What became of compiling.

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


def must_compile() -> bool:
    """Whether asking for the library takes a while: it is not in the cache yet."""
    try:
        compiler = _compiler()
    except _CompilerError:
        return False
    if not is_made():
        return True
    with library_cache() as found:
        return isinstance(found, str) or not any(
            found.holds(_key(compiler, flags)) for flags in _BUILDS
        )


def why_not_kept() -> str | None:
    """Why a compiled library cannot be kept, so that each process compiles; None if it can."""
    if not is_made():
        return None
    with library_cache() as found:
        return found if isinstance(found, str) else None


@cache
def compiled_library() -> Compiled:
    """The library, compiled if it must be; reasons instead of errors where it cannot be."""
    try:
        compiler = _compiler()
    except _CompilerError as error:
        return Compiled(library=None, why=str(error))
    name = sanitize(" ".join(compiler))
    with library_cache() as place:
        kept = _kept(compiler, name, place)
        return kept if kept is not None else _compiled(compiler, name, place)


def _kept(compiler: tuple[str, ...], name: str, place: LibraryCache | str) -> Compiled | None:
    """What the cache holds."""
    if isinstance(place, str):
        return None
    for flags in _BUILDS:
        with suppress(OSError):  # such as a library of OpenMP that is gone: compiled anew
            library = place.find(_key(compiler, flags))
            if library is not None:
                return Compiled(library=library, why=_how(name, flags))
    return None


def _compiled(compiler: tuple[str, ...], name: str, place: LibraryCache | str) -> Compiled:
    reasons = []
    for flags in _BUILDS:
        try:
            library, problem = _made(compiler, flags, place)
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
    """The compiler's program and arguments: ``CXX`` as make reads it, or what is installed."""
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
    """The file that a word of the command runs; None where it is no program."""
    try:
        found = shutil.which(word)
        return Path(found) if found is not None and is_file(Path(found)) else None
    except (OSError, ValueError, WsdartsError):
        return None


def _source() -> bytes:
    return files("wsdarts_sdk.supernet.kernels").joinpath("cpu.cpp").read_bytes()


def _key(compiler: tuple[str, ...], flags: tuple[str, ...]) -> str:
    """Name what the machine code depends on."""
    programs = [
        (str(resolved(program)), modified(program))
        for program in map(_program, compiler)
        if program is not None
    ]
    environment = {
        name: value
        for name, value in _environment("").items()
        if name in _COMPILED_FROM or name.startswith(_PREFIXES)
    }
    parts = (compiler, programs, flags, sorted(environment.items()), platform.machine())
    text = f"{parts!r} {_processor()}".encode(errors="surrogateescape")
    return hashlib.sha256(_source() + b"\0" + text).hexdigest()[:16]


def _environment(temporary: str) -> dict[str, str]:
    """What the compiler may know of the environment."""
    passed = {
        name: value
        for name, value in os.environ.items()
        if name in (*_PLACES, *_COMPILED_FROM) or name.startswith(_PREFIXES)
    }
    return passed | {"LC_ALL": "C", "TMPDIR": temporary}


def _made(
    compiler: tuple[str, ...], flags: tuple[str, ...], place: LibraryCache | str
) -> tuple[ctypes.CDLL, str | None]:
    """Compile in a directory of this user alone; the library, and why it is not kept."""
    with tempfile.TemporaryDirectory() as scratch:
        code, made = Path(scratch) / "cpu.cpp", Path(scratch) / "cpu.so"
        code.write_bytes(_source())
        _run([*compiler, *flags, str(code), "-o", str(made)], Path(scratch))
        if not is_file(made, follow_links=False):
            raise _CompilerError("it wrote no library")
        if isinstance(place, str):
            return load_private(made), place
        try:
            return place.store(_key(compiler, flags), made.read_bytes()), None
        except OSError as error:  # such as a full disk
            return load_private(made), str(error)


def _run(command: list[str], scratch: Path) -> None:
    """Run the compiler; end it and what it started if it takes too long."""
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
    """End a compiler that still runs, with the programs that it started."""
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()


def _processor() -> str:
    """Model and features of the processor, as far as the system tells."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    wanted = ("model name", "flags", "Features")
    return "\n".join(dict.fromkeys(x for x in text.splitlines() if x.startswith(wanted)))
