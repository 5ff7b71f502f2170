"""CUDA graphs: steps that are recorded once and replayed.

A step launches thousands of small calls, and on a fast GPU launching them takes longer than
computing them. A graph launches them all at once. It reads and writes fixed addresses, so the
inputs of each half of a step are copied into buffers first, and whatever a graph has frozen
selects another graph.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from wsdarts_sdk.data.split import Part
from wsdarts_sdk.runs.checkpoints import step_count
from wsdarts_sdk.search.state import SearchState
from wsdarts_sdk.search.step import StepInputs, Work, for_part
from wsdarts_sdk.supernet.kernels.base import DeviceSkipDropout, SkipDropout

Replay = Callable[[], None]
# Warms some work up and records it: what it does is done, how often is left open.
Record = Callable[[Replay], Replay]
Clock = Callable[[Replay], float]
_TIMED = 3  # runs of each kind that are timed before one is chosen
_Key = tuple[Part, int, tuple[int, ...], int, bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class StaticInputs:
    """Step inputs in buffers of fixed addresses.

    Attributes:
        half: Over the buffers; its dropout has its own numbers for each part of the batch.
    """

    inputs: StepInputs

    @classmethod
    def like(cls, inputs: StepInputs, *, parts: int, cells: int, edges: int) -> Self:
        """Allocate buffers for inputs of the same shapes, task and kind of dropout.

        Args:
            inputs: Some of them, with its numbers on the host.
            parts: In how many parts the batch is computed.
            cells: Of the supernet.
            edges: Of a cell.
        """
        batch, skip = inputs.batch, inputs.skip
        if isinstance(skip, SkipDropout) and skip.rate > 0:
            device = batch.images.device
            skip = tuple(DeviceSkipDropout.allocate(cells, edges, device) for _ in range(parts))
        room = replace(
            batch,
            images=torch.empty_like(batch.images),
            labels=torch.empty_like(batch.labels),
        )
        return cls(inputs=StepInputs(batch=room, skip=skip))

    def fill(self, inputs: StepInputs) -> None:
        """Copy step inputs into the buffers; nothing waits for the device."""
        self.inputs.batch.images.copy_(inputs.batch.images)
        self.inputs.batch.labels.copy_(inputs.batch.labels)
        if isinstance(self.inputs.skip, Sequence) and isinstance(inputs.skip, SkipDropout):
            for part, room in enumerate(self.inputs.skip):
                _fill(room, for_part(inputs.skip, part))


def _fill(room: DeviceSkipDropout, skip: SkipDropout) -> None:
    cells, edges = room.seeds.shape
    source = DeviceSkipDropout.allocate(cells, edges, torch.device("cpu"))
    source.fill(skip)
    # From pinned memory a GPU copies by itself, and the memory is kept until it has.
    seeds = source.seeds.pin_memory() if room.seeds.device.type == "cuda" else source.seeds
    room.seeds.copy_(seeds, non_blocking=True)
    room.rate.fill_(skip.rate)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Recorded:
    """A half of a step that is replayed from buffers."""

    static: StaticInputs
    replay: Replay


class Graphs:
    """The recorded halves of one stage's steps: a ``Runner`` for ``take_step``.

    The first half of each kind is recorded, timed beside running it call by call, and replayed
    from then on if that is faster. None of this moves the state. What cannot be recorded runs
    call by call, for the rest of the stage.

    Attributes:
        choices: What was chosen for each kind of half, and why, in words.
        replays: How many halves were replayed.
        record: As given.

    Args:
        state: Of the stage; another one needs other graphs.
        record: Warms up and records.
        clock: Seconds that some work takes until the device has done it.
        tell: Told in words if nothing can be recorded.
    """

    def __init__(
        self, state: SearchState, *, record: Record, clock: Clock, tell: Callable[[str], None]
    ) -> None:
        self._state, self.record, self._clock, self._tell = state, record, clock, tell
        self._known: dict[_Key, _Recorded | None] = {}
        self._possible = True
        self.choices: dict[str, str] = {}
        self.replays = 0

    def __call__(self, part: Part, inputs: StepInputs, work: Work) -> None:
        """Run one half of a step."""
        if not self._possible:
            work(inputs)
            return
        key = self._key(part, inputs)
        if key not in self._known:
            self._known[key] = self._recorded(part, inputs, work)
        recorded = self._known[key]
        if recorded is None:
            work(inputs)
            return
        recorded.static.fill(inputs)
        recorded.replay()
        self.replays += 1

    def _key(self, part: Part, inputs: StepInputs) -> _Key:
        """Return everything that a recorded graph has frozen."""
        batch, skip = inputs.batch, inputs.skip
        drops = not isinstance(skip, SkipDropout) or skip.rate > 0
        return part, batch.head, tuple(batch.images.shape), self._state.parts, drops

    def _recorded(self, part: Part, inputs: StepInputs, work: Work) -> _Recorded | None:
        """Record a half of a step if that is faster; the state stays as it was."""
        state = self._state
        static = StaticInputs.like(
            inputs,
            parts=state.parts,
            cells=len(state.net.plans),
            edges=state.net.masks.space.shape[0],
        )
        try:
            with state_restored(state, part, inputs.batch.head):
                static.fill(inputs)
                work(inputs)  # chooses and compiles kernels, before anything is timed
                eager = [self._clock(lambda: work(inputs)) for _ in range(_TIMED)]
                replay = self.record(lambda: work(static.inputs))

                def replayed() -> None:
                    static.fill(inputs)
                    replay()

                graphed = [self._clock(replayed) for _ in range(_TIMED)]
        except RuntimeError as error:
            self._give_up(error)
            return None
        faster, why = choice(eager, graphed)
        self.choices[self._label(part, inputs)] = why
        return _Recorded(static=static, replay=replay) if faster else None

    def _label(self, part: Part, inputs: StepInputs) -> str:
        heads = len(self._state.net.heads)
        return str(part) if heads == 1 else f"{part} of task {inputs.batch.head + 1}"

    def _give_up(self, error: RuntimeError) -> None:
        """Run call by call from now on, and drop the recorded graphs."""
        first = (str(error).splitlines() or [type(error).__name__])[0]
        self._possible, why = False, f"call by call: no CUDA graph could be made ({first})"
        self.choices = {"alpha, weights": why}
        self._known.clear()
        self._tell(f"steps run {why}")


def choice(eager: Sequence[float], graphed: Sequence[float]) -> tuple[bool, str]:
    """Return whether a replay is faster by the median, and both times in words.

    Args:
        eager: Seconds of some runs call by call.
        graphed: Seconds of some replays.
    """
    one, other = statistics.median(eager), statistics.median(graphed)
    times = (f"call by call in {1000 * one:.1f} ms", f"as a CUDA graph in {1000 * other:.1f} ms")
    if other < one:
        return True, f"{times[1]}, {times[0]}"
    return False, f"{times[0]}, {times[1]}"


def graphs_for(state: SearchState, tell: Callable[[str], None]) -> Graphs | None:
    """Return graphs for a stage where the device has them, or None."""
    device = state.net.cell_weights.device
    if device.type != "cuda" or state.ranks.several:  # an exchange is not recorded
        return None
    return Graphs(state, record=CudaRecorder(device), clock=_clock(device), tell=tell)


class CudaRecorder:
    """A recorder of CUDA graphs that share one pool of memory.

    Graphs of one stage are never replayed at the same time, and leave nothing in that pool that
    is needed afterwards.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Replay) -> Replay:
        """Warm up, record, and return the replay."""
        with torch.cuda.device(self._device):
            usual, aside = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
            aside.wait_stream(usual)
            with torch.cuda.stream(aside):
                work()
            usual.wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            try:
                # Other threads may read images ahead meanwhile.
                with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                    work()
            except RuntimeError:
                torch.cuda.set_stream(usual)  # a capture that fails leaves its own in place
                torch.cuda.synchronize()
                raise
        return graph.replay


def _clock(device: torch.device) -> Clock:
    def seconds(work: Replay) -> float:
        torch.cuda.synchronize(device)
        begun = time.perf_counter()
        work()
        torch.cuda.synchronize(device)
        return time.perf_counter() - begun

    return seconds


@contextmanager
def state_restored(state: SearchState, part: Part, head: int) -> Iterator[None]:
    """Restore everything that steps of one half change within the context."""
    if part is Part.ALPHA:
        create_optimiser_state(state.adam, state.net.alpha_parameters())
    else:
        others = {id(p) for i, own in enumerate(state.net.heads) if i != head for p in _of(own)}
        weights = [p for p in state.net.weight_parameters() if id(p) not in others]
        create_optimiser_state(state.sgd, weights)
    places = list(_moved(state))
    device = state.net.cell_weights.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        before = [place.detach().clone() for place in places]
        try:
            yield
        finally:
            with torch.no_grad():
                for place, value in zip(places, before, strict=True):
                    place.copy_(value)
            for parameter in state.net.parameters():
                parameter.grad = None


def _moved(state: SearchState) -> Iterator[Tensor]:
    yield from state.net.parameters()
    yield from state.net.buffers()
    yield state.sums
    for optimiser in (state.sgd, state.adam):
        for kept in optimiser.state.values():
            yield from kept.values()


def _of(module: nn.Module) -> list[nn.Parameter]:
    return list(module.parameters())


def create_optimiser_state(
    optimiser: torch.optim.Optimizer, parameters: Sequence[nn.Parameter]
) -> None:
    """Create the state that an optimiser's first step would create; the step stays the same."""
    for parameter in parameters:
        kept = optimiser.state[parameter]
        if isinstance(optimiser, torch.optim.Adam) and not kept:
            kept["step"] = step_count(optimiser, parameter)
            kept["exp_avg"] = torch.zeros_like(parameter)
            kept["exp_avg_sq"] = torch.zeros_like(parameter)
        elif isinstance(optimiser, torch.optim.SGD) and optimiser.defaults["momentum"]:
            kept.setdefault("momentum_buffer", torch.zeros_like(parameter))
