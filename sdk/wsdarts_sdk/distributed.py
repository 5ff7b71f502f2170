"""The processes that ``torchrun`` starts for one search or training, ranks, and their exchange.

Each rank computes its share of every batch on a device of its own; sums over all ranks make the
gradients of the whole batch, so the state of the work is the same on all of them. Rank 0 alone
reads and writes the run, prints, and does what is not shared; the others wait for it.

Batch norms take the statistics of a rank's own images, or of the whole batch: ``synchronise`` does
that for those that are modules, ``SynchronisedKernels`` for those in the cells of a supernet.

A process that ``torchrun`` has not started is the only rank, ``ALONE``, and exchanges nothing.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from wsdarts_registry._format import pluralize
from wsdarts_registry.errors import RunError, SettingsError, WsdartsError, end_after_another
from wsdarts_sdk.devices import find_device
from wsdarts_sdk.progress import Progress, silent

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

_Result = TypeVar("_Result")
_TIMEOUT = timedelta(minutes=30)  # of one exchange, in which every rank takes part at once
_LOOK = 0.05  # seconds between two looks of a rank that waits for another
_FEWEST = 2  # images of a rank that has any: a batch norm needs two


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchShare:
    """The images of a batch that one rank computes.

    Attributes:
        start: The first of them.
        stop: The one behind the last; with ``start`` where the rank has none.
        whole: Images of the batch.
    """

    start: int
    stop: int
    whole: int

    @property
    def weight(self) -> float:
        """Share of the images, in [0, 1]."""
        return len(self) / self.whole

    def __len__(self) -> int:
        """Return the number of its images."""
        return self.stop - self.start


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranks:
    """All ranks of a job, as one of them sees them; made by ``joined_ranks``.

    Attributes:
        rank: Number of this process, from 0.
        size: How many there are.
        local_rank: Its number on its machine.
        local_size: How many there are on its machine.
        node: Number of the machine.
        store: Keys that all ranks share; None for the only rank.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    node: int = 0
    store: "Store | None" = None

    def __deepcopy__(self, _: dict[int, Any]) -> Self:
        """Return the ranks themselves: a copied network exchanges with the same ones."""
        return self

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which writes and prints."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        """Whether there is more than one."""
        return self.size > 1

    def share_of(self, images: int) -> BatchShare:
        """Return this rank's share of a batch; ranks with images have at least two each.

        Of a batch with fewer than two images for each rank the last ranks get none.
        """
        busy = max(min(self.size, images // _FEWEST), 1)
        if self.rank >= busy:
            return BatchShare(start=images, stop=images, whole=images)
        each, more = divmod(images, busy)
        start = self.rank * each + min(self.rank, more)
        return BatchShare(start=start, stop=start + each + (self.rank < more), whole=images)

    def add_up(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by its sum over all ranks, the same to the bit on each; return it."""
        if self.several:
            try:
                dist.all_reduce(tensor)
            except RuntimeError as error:
                self._lost(error)
        return tensor

    def largest(self, number: int) -> int:
        """Return the largest of the numbers that the ranks have."""
        if not self.several:
            return number
        found = torch.zeros(self.size, dtype=torch.int64)
        found[self.rank] = number
        return int(self.add_up(found).max())

    def add_up_all(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the sums over all ranks of several tensors of one dtype, in one exchange."""
        flat = self.add_up(torch.cat([tensor.detach().flatten() for tensor in tensors]))
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        return [part.view(each.shape) for part, each in zip(parts, tensors, strict=True)]

    @torch.no_grad()
    def add_up_step(
        self, net: nn.Module, share: BatchShare, loss: Tensor, hits: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Add the gradients of all ranks up, in one exchange; running statistics become equal.

        These are the mean of the ranks' by their numbers of images.

        Args:
            net: The network that is trained; it has the gradients of this rank's part of the batch.
            share: That part.
            loss: Its part of the loss, a scalar.
            hits: How many of its images are labelled right, a scalar.

        Returns:
            Loss and hits of the whole batch.
        """
        parameters = list(net.parameters())
        running = [b for b in net.buffers() if b.is_floating_point()]
        dtype = parameters[0].dtype
        there = torch.tensor([float(p.grad is not None) for p in parameters], dtype=dtype)
        given = [loss, hits, there.to(loss.device)]
        given += [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        given += [share.weight * buffer for buffer in running]
        loss, hits, found, *sums = self.add_up_all([each.to(dtype) for each in given])
        for buffer, mean in zip(running, sums[len(parameters) :], strict=True):
            buffer.copy_(mean)
        # Only a rank without images does not know which parameters have a gradient.
        flags = there.tolist() if len(share) else found.tolist()
        for parameter, gradient, has in zip(parameters, sums, flags, strict=False):
            # In the parameter's order in memory, which fused optimisers take for granted.
            parameter.grad = torch.empty_like(parameter).copy_(gradient) if has else None
        return loss, hits

    def check_equal(self, what: str, digest: str) -> None:
        """Compare something that has to be the same on all ranks.

        Args:
            what: What it is, in words.
            digest: Its digest.

        Raises:
            RunError: It differs; raised on every rank.
        """
        if not self.several:
            return
        found: list[Any] = [None] * self.size
        try:
            dist.all_gather_object(found, digest)
        except RuntimeError as error:
            self._lost(error)
        other = next((rank for rank, each in enumerate(found) if each != found[0]), None)
        if other is not None:
            raise RunError(
                f"{what}, which has to be the same on all ranks,",
                found=f"{found[0][:16]} on rank 0 and {found[other][:16]} on rank {other}",
                hint="give all ranks the same data, software and kind of processor",
            )

    def from_first(self, value: _Result | None) -> _Result:
        """Return the value that rank 0 has, on every rank; the others give None.

        They wait for as long as rank 0 works, however long that is.
        """
        if self.store is None:
            return value  # type: ignore[return-value]
        key = f"first/{self._counted(f'calls/{self.rank}')}"
        if self.is_first:
            self.store.set(key, "")
        else:
            self._wait(key)
        held: list[Any] = [value]
        try:
            dist.broadcast_object_list(held, device=torch.device("cpu"))
        except RuntimeError as error:
            self._lost(error)
        found: _Result = held[0]
        return found

    def alone(self, work: Callable[[], _Result]) -> _Result:
        """Let rank 0 work while the others wait, and return on all what it returned."""
        return self.from_first(work() if self.is_first else None)

    def in_turn(self, work: Callable[[], _Result]) -> _Result:
        """Let the first rank of each machine work before its others, which find its caches."""
        if self.store is None:
            return work()
        key = f"turn/{self.node}/{self._counted(f'turns/{self.rank}')}"
        if self.local_rank:
            self._wait(key)
        found = work()
        if not self.local_rank:
            self.store.set(key, "")
        return found

    def shown_by_first(self, progress: Progress) -> Progress:
        """Return the progress on rank 0, with the number of devices; elsewhere show nothing."""
        if not self.is_first:
            return silent
        if not self.several:
            return progress

        def told(what: str, done: int, total: int, /) -> None:
            progress(f"{what}, {self.size} devices", done, total)

        return told

    def _counted(self, key: str) -> int:
        """Return how often this was called with a key."""
        assert self.store is not None  # of several ranks  # noqa: S101
        try:
            return self.store.add(key, 1)
        except RuntimeError as error:
            self._lost(error)

    def _wait(self, key: str) -> None:
        """Wait for a key that another rank sets, or end where a rank has failed."""
        store = self.store
        assert store is not None  # of several ranks  # noqa: S101
        try:
            while not store.check([key]):
                if store.check([_FAILED]):
                    end_after_another()
                time.sleep(_LOOK)
        except RuntimeError as error:
            self._lost(error)

    def _lost(self, error: RuntimeError) -> NoReturn:
        """End this rank after an exchange that failed; the first to notice says so."""
        if not self.claim_failure():
            end_after_another(error)
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RunError(
            f"rank {self.rank} lost the other ranks ({reason})",
            hint="one of them has ended or hangs: repeat the command with --resume",
        ) from error

    def claim_failure(self) -> bool:
        """Return whether this rank is the first to report a failure."""
        if self.store is None:
            return True
        mine = str(self.rank)
        with suppress(RuntimeError):  # the store has ended with the rank that held it
            return bool(self.store.compare_set(_FAILED, "", mine).decode() == mine)
        return False


_FAILED = "failed"
ALONE = Ranks()


def rank_of_process() -> tuple[int, int]:
    """Return the rank of this process and the number of ranks, as ``torchrun`` says; 0 of 1 else.

    Raises:
        SettingsError: The environment holds something else there.
    """
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        return 0, 1
    return _whole("RANK", 0), _whole("WORLD_SIZE", 1)


def _whole(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdigit():
        raise SettingsError(f"the environment variable {name}", found=repr(text), expected="a rank")
    return int(text)


@contextmanager
def joined_ranks(device: str | None) -> Iterator[tuple[Ranks, torch.device]]:
    """Join the ranks that ``torchrun`` has started, and choose this one's device.

    Within the block, an error on any rank ends all of them, and the first one reports it; the
    others end with ``ReportedElsewhere``.

    Args:
        device: As for ``find_device``, without a number where there are several ranks: each takes
            the GPU of its local rank.

    Raises:
        SettingsError: There is no such device here, or none for each rank.
        RunError: The ranks did not find each other.
    """
    rank, size = rank_of_process()
    if size == 1:
        yield ALONE, find_device(device)
        return
    with _group(rank, size) as ranks:
        try:
            where = device_of_rank(ranks, device)
            yield ranks, where
            ranks.from_first(0)  # none ends while another still needs it
            ranks.largest(0)
        except SystemExit:
            raise
        except BaseException as error:
            if not ranks.claim_failure() and isinstance(error, WsdartsError):
                end_after_another(error)
            error.add_note(f"rank {rank}")
            raise


@contextmanager
def _group(rank: int, size: int) -> Iterator[Ranks]:
    if not dist.is_available():
        raise SettingsError("this build of torch has no torch.distributed", hint="use one process")
    from torch.distributed.distributed_c10d import PrefixStore  # noqa: PLC0415
    from torch.distributed.rendezvous import rendezvous  # noqa: PLC0415

    try:
        store, _, _ = next(rendezvous("env://", timeout=_TIMEOUT))
        number = store.add(f"joined/{rank}", 1)  # of the jobs that these processes do together
        own = PrefixStore(f"wsdarts/{number}", store)
        dist.init_process_group(
            _backends(),
            store=PrefixStore("group", own),
            rank=rank,
            world_size=size,
            timeout=_TIMEOUT,
        )
        # One that fails at once would otherwise be gone before others have connected to it.
        dist.all_reduce(torch.zeros(1))
    except RuntimeError as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RunError(f"rank {rank} of {size} could not join the others ({first})") from error
    yield Ranks(
        rank=rank,
        size=size,
        local_rank=_whole("LOCAL_RANK", rank),
        local_size=_whole("LOCAL_WORLD_SIZE", size),
        node=_whole("GROUP_RANK", 0),
        store=own,
    )
    dist.destroy_process_group()  # after a failure it could wait for ranks that are gone


def _backends() -> str:
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"


def device_of_rank(ranks: Ranks, asked: str | None) -> torch.device:
    """Return the device of one of several ranks: the CPU, or the GPU of its local number.

    Raises:
        SettingsError: A GPU is named by number, or there is none for this rank.
    """
    if asked is not None and asked not in ("cpu", "cuda"):
        raise SettingsError(
            "the device of several ranks",
            found=asked,
            expected="cpu or cuda: each rank takes the GPU of its own number",
            hint="choose among GPUs with CUDA_VISIBLE_DEVICES",
        )
    found = find_device(asked)
    if found.type == "cpu":
        return found
    if ranks.local_rank >= torch.cuda.device_count():
        raise SettingsError(
            f"rank {ranks.rank} has no GPU: there are {torch.cuda.device_count()} here",
            hint="start one process for each GPU (--nproc-per-node), or use --device cpu",
        )
    torch.cuda.set_device(ranks.local_rank)
    return torch.device("cuda", ranks.local_rank)


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """A batch norm over the whole batch, of which each rank has a part.

    Training statistics, and the sums of their backward pass, are added up over all ranks in
    float64. The loss of a rank has to be its part of the batch's loss, so that gradients on all
    ranks are of one loss.

    Made of a batch norm by ``synchronise``; parameters, running statistics and names stay.
    """

    ranks: Ranks

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """Normalise a batch ``(B, C, H, W)``; in eval mode as any batch norm."""
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None and self.running_var is not None  # noqa: S101, PT018
        assert self.momentum is not None and self.num_batches_tracked is not None  # noqa: S101, PT018
        found: tuple[Tensor, ...] = _Normalise.apply(input, self.eps, self.ranks)
        normed, mean, variance, count = found
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            unbiased = variance * (count / (count - 1))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        if not self.affine:
            return normed
        return normed * _by_channel(self.weight) + _by_channel(self.bias)


class _Normalise(torch.autograd.Function):
    """Batch norm without parameters over the images of all ranks."""

    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor, epsilon: float, ranks: Ranks) -> tuple[Tensor, ...]:
        x, axes = x_BCHW.double(), _axes(x_BCHW)
        channels = x.shape[1]
        pixels = _count(x.numel() // channels, x)
        flat = ranks.add_up(torch.cat([x.sum(axes), x.square().sum(axes), pixels]))
        count = flat[-1]
        mean, square = flat[:channels] / count, flat[channels:-1] / count
        variance = (square - mean.square()).clamp_min(0)
        rstd = (variance + epsilon).rsqrt()
        normed = ((x - _by_channel(mean)) * _by_channel(rstd)).to(x_BCHW.dtype)
        ctx.save_for_backward(normed, rstd, count)
        ctx.ranks = ranks
        ctx.mark_non_differentiable(mean, variance, count)
        return normed, mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (of the decorator)
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, None, None]:
        normed, rstd, count = ctx.saved_tensors
        g, y, axes = gradients[0].double(), normed.double(), _axes(normed)  # pyright: ignore[reportGeneralTypeIssues]
        sums = ctx.ranks.add_up(torch.stack([g.sum(axes), (g * y).sum(axes)])) / count
        found = (g - _by_channel(sums[0]) - y * _by_channel(sums[1])) * _by_channel(rstd)
        return found.to(normed.dtype), None, None


def _count(pixels: int, like: Tensor) -> Tensor:
    return torch.full((1,), pixels, dtype=torch.float64, device=like.device)


def _axes(x: Tensor) -> tuple[int, ...]:
    return tuple(axis for axis in range(x.dim()) if axis != 1)


def _by_channel(values: Tensor) -> Tensor:
    return values[:, None, None]


def check_synchronised(batch_size: int, ranks: Ranks) -> None:
    """Refuse a batch of which some rank would have no images.

    Raises:
        SettingsError: It is smaller than two images for each rank.
    """
    if batch_size < 2 * ranks.size:
        raise SettingsError(
            "a batch with synchronised norms",
            found=f"{pluralize(batch_size, 'image')} for {ranks.size} ranks",
            expected="at least two images for each",
            hint="start fewer processes, or leave synchronised_norms at false",
        )


def synchronise(net: nn.Module, ranks: Ranks) -> None:
    """Let all batch norms of a network take the statistics of all ranks' images."""
    for module in net.modules():
        if type(module) is nn.BatchNorm2d:
            synchronised: Any = module
            synchronised.__class__ = SynchronisedBatchNorm
            synchronised.ranks = ranks


def unsynchronise(net: nn.Module) -> None:
    """Undo ``synchronise`` for a network of modules, which is saved and exported as it was."""
    for module in net.modules():
        if isinstance(module, SynchronisedBatchNorm):
            plain: Any = module
            del plain.ranks
            plain.__class__ = nn.BatchNorm2d
