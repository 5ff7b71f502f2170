"""Which kernels a supernet runs on, and why."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.compiler import Compiled, compiled_library
from wsdarts_sdk.supernet import kernel_choice
from wsdarts_sdk.supernet.kernel_choice import choose_kernels
from wsdarts_sdk.supernet.kernels.base import Kernels

CPU = torch.device("cpu")
_anew = compiled_library.__wrapped__  # without its memory


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compiled_on_the_cpu(
    dtype: torch.dtype, make_compiled: Callable[[torch.dtype], Kernels]
) -> None:
    make_compiled(dtype)  # skips where no compiler is
    found = choose_kernels(CPU, dtype)
    assert found.kernels.name == "compiled"
    assert found.why.startswith("compiled by ")


@pytest.mark.parametrize(
    ("asked", "dtype", "missing", "waits"),
    [
        ("", torch.float32, True, True),
        ("compiled", torch.float64, True, True),
        ("", torch.float32, False, False),
        ("", torch.bfloat16, True, False),
        ("portable", torch.float32, True, False),
        ("triton", torch.float32, True, False),
    ],
)
def test_only_what_must_be_compiled_is_waited_for(
    asked: str, dtype: torch.dtype, missing: bool, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    monkeypatch.setenv("WSDARTS_HUB_KERNELS", asked)
    monkeypatch.setattr(kernel_choice, "must_compile", lambda _: missing)
    monkeypatch.setattr(kernel_choice, "compiled_library", lambda: heard.append("compiled"))
    kernel_choice.compile_ahead(CPU, dtype, lambda what, done, total: heard.append(what))
    words = ["compiling the engine for this processor, once", "compiled"]
    assert heard == (words if waits else [])
    assert kernel_choice.must_wait(torch.device("cuda"), dtype) is False


def test_portable_for_what_is_not_compiled() -> None:
    found = choose_kernels(CPU, torch.bfloat16)
    assert found.kernels.name == "portable"
    assert found.why.endswith("not torch.bfloat16 on cpu")


def test_portable_where_there_is_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        kernel_choice, "compiled_library", lambda: Compiled(library=None, why="none")
    )
    assert choose_kernels(CPU, torch.float32).kernels.name == "portable"
    assert choose_kernels(CPU, torch.float32).why == "none"
    monkeypatch.setenv("WSDARTS_HUB_KERNELS", "compiled")
    with pytest.raises(SettingsError, match="compiled kernels, but none"):
        choose_kernels(CPU, torch.float32)


def test_the_variable_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSDARTS_HUB_KERNELS", "portable")
    found = choose_kernels(CPU, torch.float32)
    assert (found.kernels.name, found.why) == ("portable", "WSDARTS_HUB_KERNELS says so")
    monkeypatch.setenv("WSDARTS_HUB_KERNELS", "fast")
    with pytest.raises(SettingsError, match="is 'fast'; expected compiled"):
        choose_kernels(CPU, torch.float32)


def test_triton_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    triton_kernels = pytest.importorskip("wsdarts_sdk.supernet.kernels.triton_kernels")
    monkeypatch.setenv("WSDARTS_HUB_KERNELS", "triton")
    monkeypatch.setattr(triton_kernels, "interpreted", lambda: True)
    found = choose_kernels(CPU, torch.bfloat16)
    assert (found.kernels.name, found.why) == ("triton", "WSDARTS_HUB_KERNELS says so")
    monkeypatch.setattr(triton_kernels, "interpreted", lambda: False)
    with pytest.raises(SettingsError, match="for CUDA, not cpu"):
        choose_kernels(CPU, torch.float32)
    monkeypatch.setattr(kernel_choice, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match="pip install triton"):
        choose_kernels(CPU, torch.float32)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in which nothing has been compiled."""
    monkeypatch.setenv("WSDARTS_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_no_compiler_is_a_reason(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    found = _anew()
    assert found.library is None
    assert "no C++ compiler" in found.why


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            "echo 'cpu.cpp:1: error: too old' >&2; echo more >&2; exit 1",
            "cpu.cpp:1: error: too old",
        ),
        ("exit 3", "exit code 3"),
        ('for last; do :; done; echo not a library > "$last"', "invalid ELF|file too short"),
    ],
)
def test_what_a_compiler_cannot_do_is_a_reason(
    script: str, reason: str, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = empty_cache / "my-compiler"
    compiler.write_text(f"#!/bin/sh\n{script}\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    found = _anew()
    assert found.library is None
    assert re.search(reason, found.why)
    assert f"{compiler} could not compile them: " in found.why
    assert list((empty_cache / "kernels").iterdir()) == []  # nothing half-made is left


def test_a_cache_that_cannot_be_written_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("WSDARTS_HUB_CACHE", str(file))
    monkeypatch.setenv("CXX", "/bin/true")
    assert "could not compile them: " in _anew().why
