"""Compiles ``cpu.cpp`` once for this machine.

The library is kept in the user's cache under the digest of source, compiler and flags. It is
built for the processor at hand, so it is made where it runs; there is nothing to download.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from wsdarts_registry.cache import cache_directory

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
_SECONDS = 300


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
    """Return whether there is a C++ compiler, or a library that one has made before."""
    compiler = _compiler()
    if compiler is None:
        return False
    return shutil.which(compiler) is not None or _library_path(compiler, _source()).exists()


def must_compile() -> bool:
    """Whether asking for the library takes a while: it is not in the cache yet."""
    compiler = _compiler()
    return compiler is not None and not _library_path(compiler, _source()).exists()


@cache
def compiled_library() -> Compiled:
    """The library, compiled if it must be; reasons instead of errors where it cannot be."""
    compiler = _compiler()
    if compiler is None:
        return Compiled(
            library=None,
            why="no C++ compiler (g++ or clang++) was found; install one for searches on the CPU "
            "that are several times faster",
        )
    source = _source()
    path = _library_path(compiler, source)
    reasons = []
    for threads in (("-fopenmp",), ()):
        failed = None if path.exists() else _compile(compiler, (*_FLAGS, *threads), source, path)
        if failed is not None:
            reasons.append(failed)
            continue
        try:
            return Compiled(library=ctypes.CDLL(str(path)), why=f"compiled by {compiler}")
        except OSError as error:
            reasons.append(str(error))
            path.unlink(missing_ok=True)
    return Compiled(library=None, why=f"{compiler} could not compile them: {reasons[-1]}")


def _compiler() -> str | None:
    return os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")


def _source() -> bytes:
    return files("wsdarts_sdk.supernet.kernels").joinpath("cpu.cpp").read_bytes()


def _library_path(compiler: str, source: bytes) -> Path:
    parts = [source, _identity(compiler).encode(), repr(_FLAGS).encode()]
    name = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    return cache_directory() / "kernels" / f"{name}.so"


def _compile(compiler: str, flags: tuple[str, ...], source: bytes, path: Path) -> str | None:
    """Compile to a temporary name and rename; the reason where it fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            code, made = Path(scratch) / "cpu.cpp", Path(scratch) / "cpu.so"
            code.write_bytes(source)
            done = subprocess.run(  # noqa: S603 (the compiler of the user's own choice)
                [compiler, *flags, str(code), "-o", str(made)],
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
            if done.returncode != 0:
                lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
                return lines[0]
            made.replace(path)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None


def _identity(compiler: str) -> str:
    """What the machine code depends on besides source and flags."""
    real = Path(shutil.which(compiler) or compiler).resolve()
    stamp = str(real.stat().st_mtime_ns) if real.exists() else ""
    return f"{real} {stamp} {platform.machine()} {_processor()}"


def _processor() -> str:
    """Model and features of the processor, as far as the system tells."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    wanted = ("model name", "flags", "Features")
    return "\n".join(dict.fromkeys(x for x in text.splitlines() if x.startswith(wanted)))
