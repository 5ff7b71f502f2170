"""Kernels that could run on a device, tried on one cell: the fastest of those that are right."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.space import SearchSpace
from wsdarts_sdk.supernet.cell import Cell
from wsdarts_sdk.supernet.kernels.base import Kernels
from wsdarts_sdk.supernet.layout import Layout
from wsdarts_sdk.supernet.plan import plan_cell
from wsdarts_sdk.supernet.skip_dropout import SkipDropout
from wsdarts_sdk.supernet.tape import Pass, Statistics, Vectors

Run = Callable[[Kernels], Sequence[Tensor]]
Timer = Callable[[Callable[[], object]], float]

_CHANNELS, _IMAGES, _SIDE = 16, 32, 42
_REPEATS = 5
# Of the norm of each result. Outside of a search cuDNN may multiply float32 in TF32 (ten bits). In
# bfloat16 a cell's gradients are 6% off those of float32, and two kernels 3% off each other.
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-2}
_HALF = 0.15


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a trial found.

    Attributes:
        name: Of the kernels to run on.
        why: With the time of each, or what speaks against it.
    """

    name: str
    why: str


def judge(candidates: Mapping[str, Callable[[], Kernels]], run: Run, timer: Timer) -> Verdict:
    """Run each of the candidates, drop those that fail or differ, and name the fastest.

    Args:
        candidates: By name, how each is made. The first is what the others must agree with; an
            error of its own is not caught.
        run: Computes something on kernels.
        timer: Milliseconds that a call takes.
    """
    times, against = {}, []
    wanted: Sequence[Tensor] | None = None
    for name, make in candidates.items():
        try:
            kernels = make()
            found = run(kernels)
            if wanted is not None:
                _check(found, wanted)
            times[name] = timer(partial(run, kernels))
        except Exception as error:
            if wanted is None:
                raise
            against.append(f"{name} failed: {_line(error)}")
            continue
        wanted = found if wanted is None else wanted
    best = min(times, key=lambda name: times[name])
    measured = ", ".join(f"{name} {took:.2f} ms" for name, took in times.items())
    return Verdict(name=best, why="; ".join([f"a cell took {measured}", *against]))


def _check(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
    """Refuse results that are not those of the first candidate."""
    for value, right in zip(found, wanted, strict=True):
        away = (value.double() - right.double()).norm() / right.double().norm()
        allowed = _TOLERANCE.get(right.dtype, _HALF)
        if not away <= allowed:  # NaN is not either
            raise ArithmeticError(f"off by {away.item():.2g}, more than {allowed:g}")


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def cuda_milliseconds(call: Callable[[], object]) -> float:
    """The least of a few repeats by the device's own clock, after a first that does not count."""
    call()
    found: list[float] = []
    for _ in range(_REPEATS):
        start, end = (
            torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            for _ in range(2)
        )
        start.record()
        call()
        end.record()
        end.synchronize()
        found.append(float(start.elapsed_time(end)))
    return min(found)


class CellRehearsal:
    """A normal cell of all operations, forward and backward, always on the same numbers.

    Args:
        device: Where it is computed.
        dtype: What in.
        images: Batch size.
        side: Rows and columns.
    """

    def __init__(
        self, device: torch.device, dtype: torch.dtype, *, images: int = _IMAGES, side: int = _SIDE
    ) -> None:
        weights, statistics = Layout(), Layout()
        masks = OperationMasks.full(SearchSpace(nodes=2))
        self.plan = plan_cell(
            masks,
            index=0,
            inputs=(_CHANNELS, _CHANNELS),
            channels=_CHANNELS,
            reduction=False,
            after_reduction=False,
            weights=weights,
            statistics=statistics,
        )
        draws = torch.Generator().manual_seed(0)
        self._weights = torch.randn(weights.size, generator=draws).mul_(0.2).to(device, dtype)
        wide = torch.promote_types(dtype, torch.float32)
        count = masks.array("normal").size
        self._alpha = torch.rand(count, generator=draws).to(device, wide)
        shape = (images, side, side, _CHANNELS)
        self._images = torch.randn(shape, generator=draws).to(device, dtype)
        wider = (*shape[:-1], self.plan.nodes * _CHANNELS)
        self._gradient = torch.randn(wider, generator=draws).to(device, dtype)
        self._running = torch.zeros(statistics.size, dtype=wide, device=device)

    @torch.no_grad()
    def __call__(self, kernels: Kernels) -> list[Tensor]:
        """Output, running statistics, and gradients of the inputs, the weights and α."""
        mean, variance = torch.zeros_like(self._running), torch.ones_like(self._running)
        vectors = Vectors(
            weights=self._weights,
            gradient=torch.zeros_like(self._weights, dtype=self._running.dtype),
            running_mean=mean,
            running_variance=variance,
        )
        how = Pass(
            alpha={"normal": kernels.scalars(self._alpha)},
            training=True,
            keep=True,
            weight_gradients=True,
            skip=SkipDropout(rate=0.3, seed=1),
            statistics=Statistics.like(self._running),
        )
        cell, found = Cell(self.plan, vectors, kernels), torch.zeros_like(self._alpha).double()
        tape = cell.forward((self._images, self._images), how)
        output = tape.output.clone()
        to = torch.zeros_like(self._images)
        cell.backward(tape, self._gradient.clone(), (to, to), found, how)
        assert vectors.gradient is not None  # given above  # noqa: S101
        # The gradients' dtype decides how near they must be: that of what was computed in.
        dtype = self._weights.dtype
        return [output, to, *(t.to(dtype) for t in (mean, variance, vectors.gradient, found))]
