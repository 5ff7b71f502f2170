"""Which kernels are picked: the fastest of those that compute the same, and why."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from wsdarts_sdk.supernet import kernel_choice
from wsdarts_sdk.supernet.kernel_choice import (
    CellBenchmark,
    Selection,
    choose_kernels,
    pick_fastest,
)
from wsdarts_sdk.supernet.kernels.base import Kernels, Term
from wsdarts_sdk.supernet.kernels.portable import PortableKernels

CPU = torch.device("cpu")


class Off(PortableKernels):
    """Kernels whose sums are too large by a factor."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def mix_forward(self, terms: list[Term], result: Tensor) -> None:  # type: ignore[override]
        super().mix_forward(terms, result)
        result *= self.factor


def milliseconds(*times: float) -> Callable[[Callable[[], object]], float]:
    """A clock that shows these times, one after the other."""
    left = iter(times)
    return lambda _call: next(left)


def tried(
    others: dict[str, Callable[[], Kernels]],
    *times: float,
    dtype: torch.dtype = torch.float32,
) -> Selection:
    run = CellBenchmark(CPU, dtype, images=2, side=5)
    return pick_fastest({"portable": PortableKernels, **others}, run, milliseconds(*times))


def test_the_faster_wins_with_its_figures() -> None:
    found = tried({"other": PortableKernels}, 2.0, 0.5)
    assert found.name == "other"
    assert found.why.endswith("portable 2.00 ms, other 0.50 ms")
    assert tried({"other": PortableKernels}, 0.5, 2.0).name == "portable"


@pytest.mark.parametrize(
    ("dtype", "factor", "right"),
    [
        (torch.float32, 1.001, True),
        (torch.float32, 1.5, False),
        (torch.float64, 1.001, False),
        (torch.bfloat16, 1.01, True),
        (torch.bfloat16, 1.5, False),
        (torch.float32, float("nan"), False),
    ],
)
def test_what_is_wrong_is_not_taken(dtype: torch.dtype, factor: float, right: bool) -> None:
    found = tried({"off": lambda: Off(factor)}, 2.0, 0.5, dtype=dtype)
    assert found.name == ("off" if right else "portable")
    assert ("off failed: off by " in found.why) != right
    assert "portable 2.00 ms" in found.why


def test_what_fails_is_a_reason() -> None:
    def fails() -> Kernels:
        raise RuntimeError("no ptxas here\nsecond line")

    found = tried({"broken": fails, "other": PortableKernels}, 2.0, 1.0)
    assert found.name == "other"
    assert found.why.endswith("; broken failed: no ptxas here")


def test_an_error_of_the_first_is_an_error() -> None:
    def fails() -> Kernels:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        pick_fastest({"portable": fails}, CellBenchmark(CPU, torch.float32, images=2, side=5), len)


def test_a_rehearsal_repeats_itself() -> None:
    run = CellBenchmark(CPU, torch.float32, images=2, side=5)
    first, again = run(PortableKernels()), run(PortableKernels())
    assert len(first) == 6
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(value.double().norm() > 0 for value in first)  # nothing agrees by being zero


def test_a_device_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # No CUDA here: what is asked of it is replaced, what becomes of the verdict is not.
    asked = []

    def verdict(candidates: object, run: object, timer: object) -> Selection:
        asked.append(candidates)
        return Selection(name="portable", why="a cell took portable 1.00 ms, triton 2.00 ms")

    monkeypatch.setattr(kernel_choice, "pick_fastest", verdict)
    monkeypatch.setattr(kernel_choice, "CellBenchmark", lambda device, dtype: (device, dtype))
    monkeypatch.setattr(torch.cuda, "device", lambda _: torch.no_grad())
    monkeypatch.setattr(kernel_choice, "find_spec", lambda _: True)
    kernel_choice._measured.cache_clear()
    device = torch.device("cuda", 0)
    found = [choose_kernels(device, torch.bfloat16) for _ in range(2)]
    assert [f.kernels.name for f in found] == ["portable"] * 2
    assert found[1].why.endswith("portable 1.00 ms, triton 2.00 ms")
    assert len(asked) == 1
    choose_kernels(device, torch.float32)
    assert len(asked) == 2
    kernel_choice._measured.cache_clear()


def test_without_triton_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_choice, "find_spec", lambda _: None)
    found = choose_kernels(torch.device("cuda", 0), torch.float32)
    assert found.kernels.name == "portable"
    assert "pip install triton" in found.why
