"""The compiled library: what is loaded of what lies in the cache, and what the compiler is told."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from wsdarts_sdk import compiler
from wsdarts_sdk.compiler import (
    LibraryCache,
    compiled_library,
    library_cache,
    must_compile,
    why_not_kept,
)

_anew = compiled_library.__wrapped__  # without its memory
_SMALL = b'extern "C" int answer() { return 42; }\n'
_OTHER = b'extern "C" int answer() { return 666; }\n'

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture(autouse=True)
def small_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, and a source that compiles at once; the compiler and its result are real."""
    monkeypatch.setenv("WSDARTS_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(compiler, "_source", lambda _: _SMALL)


def answer() -> int:
    library = _anew().library
    assert library is not None
    return int(library.answer())


def kept(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "kernels").iterdir())


def shim(path: Path, lines: str) -> Path:
    """A program called like a compiler that does something and then compiles."""
    path.write_text(f'#!/bin/sh\n{lines}\nexec {shutil.which("g++")} "$@"\n')
    path.chmod(0o755)
    return path


def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let a compiler that counts be used; its count is the size of the file returned."""
    log = tmp_path / "log"
    log.write_text("")
    script = shim(tmp_path / "counting-compiler", f'echo "$*" >> {log}')
    monkeypatch.setenv("CXX", str(script))
    return log


def test_a_library_is_compiled_once_and_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = counting(tmp_path, monkeypatch)
    assert must_compile()
    assert answer() == 42
    assert not must_compile()
    assert answer() == 42
    assert len(log.read_text().splitlines()) == 1
    (library,) = kept(tmp_path)
    assert library.stat().st_mode & 0o777 == 0o600
    assert library.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "link", "pipe"])
def test_a_damaged_library_is_compiled_anew_with_threads(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = counting(tmp_path, monkeypatch)
    assert answer() == 42
    (library,) = kept(tmp_path)
    content = library.read_bytes()
    library.unlink()  # what this process has mapped stays as it is
    if damage == "link":
        library.symlink_to(tmp_path / "elsewhere.so")
        (tmp_path / "elsewhere.so").write_bytes(content)
    elif damage == "pipe":
        os.mkfifo(library)
    else:
        library.write_bytes({"truncated": content[:6000], "garbage": b"x" * 9000}.get(damage, b""))
    assert must_compile()
    assert answer() == 42
    assert not must_compile()
    calls = log.read_text().splitlines()
    assert len(calls) == 2
    assert all("-fopenmp" in call for call in calls)
    assert library.read_bytes() == content
    assert not library.is_symlink()


def test_a_directory_called_like_the_library_is_a_reason(tmp_path: Path) -> None:
    assert answer() == 42
    (library,) = kept(tmp_path)
    library.unlink()
    library.mkdir()
    found = _anew()
    assert found.library is not None
    assert found.library.answer() == 42
    assert str(library) in found.why
    assert "without OpenMP" not in found.why


@needs_root
@pytest.mark.parametrize("planted", ["directory", "file"])
def test_what_someone_else_could_write_is_not_loaded(planted: str, tmp_path: Path) -> None:
    assert answer() == 42
    (library,) = kept(tmp_path)
    hostile = tmp_path / "hostile.so"
    (tmp_path / "hostile.cpp").write_bytes(_OTHER)
    subprocess.run(["g++", "-shared", "-fPIC", tmp_path / "hostile.cpp", "-o", hostile], check=True)
    key = library.name.partition("-")[0]
    library.unlink()
    with library_cache() as cache:
        assert isinstance(cache, LibraryCache)
        cache.store(key, hostile.read_bytes())
    assert answer() == 666  # so that it is what would be loaded
    (bad,) = kept(tmp_path)
    stranger = 54321
    os.chown(bad.parent if planted == "directory" else bad, stranger, stranger)
    found = _anew()
    assert found.library is not None
    assert found.library.answer() == 42
    reason = why_not_kept()
    if planted == "directory":
        assert reason is not None
        assert str(bad.parent) in reason
        assert str(stranger) in reason
        assert reason in found.why
        assert must_compile()
        assert kept(tmp_path) == [bad]
    else:
        assert reason is None
        assert not must_compile()


@pytest.mark.parametrize("mode", [0o666, 0o620])
def test_a_file_that_others_can_write_is_not_loaded(mode: int, tmp_path: Path) -> None:
    assert answer() == 42
    (library,) = kept(tmp_path)
    library.chmod(mode)
    assert must_compile()
    assert answer() == 42
    assert library.stat().st_mode & 0o777 == 0o600


def test_an_own_directory_that_others_can_write_is_closed_to_them(tmp_path: Path) -> None:
    place = tmp_path / "cache" / "kernels"
    place.mkdir(parents=True)
    place.chmod(0o777)
    assert answer() == 42
    assert place.stat().st_mode & 0o777 == 0o755
    assert len(kept(tmp_path)) == 1


@needs_root
@pytest.mark.parametrize("whose", ["own", "a stranger's"])
def test_a_link_in_place_of_the_directory_is_followed_if_it_is_ones_own(
    whose: str, tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir()
    target, link = tmp_path / "other", tmp_path / "cache" / "kernels"
    target.mkdir()
    target.chmod(0o755)
    link.symlink_to(target)
    if whose != "own":
        os.lchown(link, 54321, 54321)
    found = _anew()
    assert found.library is not None
    assert found.library.answer() == 42
    assert len(list(target.iterdir())) == (whose == "own")
    assert (str(link) in found.why) == (whose != "own")


def test_without_openmp_is_said_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = 'case "$*" in *-fopenmp*) echo "no OpenMP" >&2; exit 1;; esac'
    monkeypatch.setenv("CXX", str(shim(tmp_path / "old-compiler", lines)))
    for _ in range(2):
        found = _anew()
        assert found.library is not None
        assert "without OpenMP" in found.why
    assert not must_compile()


@pytest.mark.parametrize("command", ["{shim} g++", "{shim} g++ -DX='a b'", "'{spaced}' g++"])
def test_a_compiler_with_arguments(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = '#!/bin/sh\nexec "$@"\n'
    (tmp_path / "a b").mkdir()
    for path in (tmp_path / "launcher", tmp_path / "a b" / "launcher"):
        path.write_text(launcher)
        path.chmod(0o755)
    places = {"shim": tmp_path / "launcher", "spaced": tmp_path / "a b" / "launcher"}
    monkeypatch.setenv("CXX", command.format(**places))
    assert answer() == 42


def test_a_compiler_whose_path_has_a_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a b").mkdir()
    monkeypatch.setenv("CXX", str(shim(tmp_path / "a b" / "compiler", "")))
    assert answer() == 42


@pytest.mark.parametrize("kind", ["directory", "pipe", "missing", "quote", "null"])
def test_what_is_no_compiler_is_a_reason(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "g++"
    if kind == "directory":
        place.mkdir()
    elif kind == "pipe":
        os.mkfifo(place, 0o777)
    monkeypatch.setenv("CXX", {"quote": "'g++", "null": "''"}.get(kind, str(place)))
    found = _anew()
    assert found.library is None
    assert "CXX" in found.why
    assert not must_compile()


def test_the_compiler_gets_no_token_and_writes_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "environment"
    monkeypatch.setenv("CXX", str(shim(tmp_path / "compiler", f"env > {log}")))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("DEPENDENCIES_OUTPUT", str(tmp_path / "dependencies"))
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("CPATH", str(tmp_path))
    assert answer() == 42
    told = log.read_text().splitlines()
    assert "hf_secret" not in log.read_text()
    assert not (tmp_path / "dependencies").exists()
    assert "LC_ALL=C" in told
    assert f"CPATH={tmp_path}" in told
    monkeypatch.setenv("CPATH", str(tmp_path / "cache"))
    assert must_compile()  # other headers, another library


def test_messages_that_are_no_text_are_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = r"printf 'error: \377\033[31mred\n' >&2; exit 1"
    monkeypatch.setenv("CXX", str(shim(tmp_path / "compiler", lines)))
    found = _anew()
    assert found.library is None
    assert "error: " in found.why
    assert found.why.isprintable()


def test_a_compiler_that_does_not_end_is_ended_with_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child"
    lines = f"sleep 1000 & echo $! > {child}; wait"
    monkeypatch.setenv("CXX", str(shim(tmp_path / "compiler", lines)))
    monkeypatch.setattr(compiler, "_SECONDS", 1)
    monkeypatch.setattr(compiler, "_BUILDS", compiler._BUILDS[:1])
    found = _anew()
    assert found.library is None
    assert "1 s" in found.why
    if child.exists():  # it may have been ended before it could say
        state = Path(f"/proc/{child.read_text().strip()}/stat")
        for _ in range(6000):  # on a busy machine it has not ended yet where it was told to
            if not state.exists() or state.read_text().split()[2] in "ZX":
                break
            time.sleep(0.01)
        else:
            pytest.fail("it still runs after a minute")


_WITHOUT_MEMORY = """
import resource, sys
from pathlib import Path
from wsdarts_sdk import compiler
compiler._source = lambda _: sys.argv[1].encode()
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used, used))
try:
    compiler.compiled_library()
except MemoryError:
    print("without memory")
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc to tell what is used")
def test_without_memory_a_library_is_not_compiled_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = counting(tmp_path, monkeypatch)
    assert answer() == 42
    command = [sys.executable, "-c", _WITHOUT_MEMORY, _SMALL.decode()]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.stdout, found.stderr) == ("without memory\n", "")
    assert len(log.read_text().splitlines()) == 1
    assert len(kept(tmp_path)) == 1


_PROCESS = """
import sys
from wsdarts_sdk import compiler
compiler._source = lambda _: sys.argv[1].encode()
print(compiler.compiled_library().library.answer())
"""


def test_two_processes_compile_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each compiler waits for the other one to have started.
    lines = f'touch {tmp_path}/started-$$; while [ "$(ls -d {tmp_path}/started-* | wc -l)" -lt 2 ]'
    monkeypatch.setenv("CXX", str(shim(tmp_path / "compiler", f"{lines}; do sleep 0.01; done")))
    command = [sys.executable, "-c", _PROCESS, _SMALL.decode()]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    assert [process.communicate(timeout=300)[0] for process in processes] == [b"42\n"] * 2
    assert not must_compile()
    assert all(path.suffix == ".so" for path in kept(tmp_path))


def test_a_compile_that_is_killed_halfway_leaves_nothing_to_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = tmp_path / "began"
    os.mkfifo(began)
    lines = f'for last; do :; done; echo half > "$last"; echo > {began}; kill -9 $PPID; exit 1'
    monkeypatch.setenv("CXX", str(shim(tmp_path / "compiler", lines)))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    process = subprocess.Popen([sys.executable, "-c", _PROCESS, _SMALL.decode()])
    began.read_text()
    assert process.wait(300) == -signal.SIGKILL
    assert kept(tmp_path) == []
    monkeypatch.setenv("CXX", "g++")
    assert answer() == 42
