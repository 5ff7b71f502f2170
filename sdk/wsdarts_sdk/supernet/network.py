"""The supernet: a stem, cells of weighted operations, a head for each task, and α.

The gradients are written out, not recorded: each cell is one forward and one backward function
over a few large calls. A step for α finds α's gradients only, a step for the weights only theirs.
In memory the weights are one vector; ``state_dict`` names one tensor for each weight and each
statistic of each operation, as a network of modules would.

Stem and head compute the same bits on a CPU whatever the number of threads. torch shares some
sums out among threads and then adds up what each found: in the gradient of a convolution's
weights, in a batch norm on channels-last memory, and in a matrix product of few rows. Here a sum
runs within an image, a channel or a row, which one thread does, and over images in their order.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.data.loader import Batch
from wsdarts_sdk.supernet._cell import Cell, PassOptions, Statistics, Tape, Vectors
from wsdarts_sdk.supernet.kernel_choice import choose_kernels
from wsdarts_sdk.supernet.kernels.base import NO_DROPOUT, DeviceSkipDropout, Kernels, SkipDropout
from wsdarts_sdk.supernet.operation_plan import STEM_MULTIPLIER, Layout, draw_weights, plan_cells

_KERNEL, _PADDING = 3, 1
_PRODUCTS = 2**22  # that a head holds at a time


def stem_output(stem: nn.Sequential, x_BCHW: Tensor) -> Tensor:
    """Return the output of a supernet's stem, with channels last in memory."""
    convolution, norm = stem
    found: Tensor = norm(_Convolution.apply(x_BCHW.contiguous(), convolution.weight))
    return found.contiguous(memory_format=torch.channels_last)


def head_output(head: nn.Linear, pooled_BF: Tensor) -> Tensor:
    """Return the logits of a head, shape ``(B, classes)``."""
    found: Tensor = _Linear.apply(pooled_BF, head.weight, head.bias)
    return found


class _Convolution(torch.autograd.Function):
    """A 3×3 convolution of images, to which no gradient is sent."""

    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x_BCHW, weight)
        return F.conv2d(x_BCHW, weight, None, 1, _PADDING)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        (gradient_BCHW,), (x_BCHW, weight) = gradients, ctx.saved_tensors
        seen = F.unfold(x_BCHW, _KERNEL, padding=_PADDING)  # (B, 27, H · W)
        of_images = torch.bmm(gradient_BCHW.flatten(2), seen.transpose(1, 2))
        return None, of_images.sum(0).view_as(weight)


class _Linear(torch.autograd.Function):
    """A linear layer by products and sums, a few images at a time."""

    @staticmethod
    def forward(ctx: Any, x_BF: Tensor, weight_OF: Tensor, bias_O: Tensor) -> Tensor:
        ctx.save_for_backward(x_BF, weight_OF)
        found = [(x[:, None] * weight_OF).sum(2) for x in _parts(x_BF, weight_OF)]
        return torch.cat(found) + bias_O

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (gradient_BO,), (x_BF, weight_OF) = gradients, ctx.saved_tensors
        to_x, to_weight = [], torch.zeros_like(weight_OF)
        parts = zip(_parts(gradient_BO, weight_OF), _parts(x_BF, weight_OF), strict=True)
        for gradient, x in parts:
            to_x.append((gradient[:, :, None] * weight_OF).sum(1))
            to_weight += (gradient[:, :, None] * x[:, None]).sum(0)
        return torch.cat(to_x), to_weight, gradient_BO.sum(0)


def _parts(rows: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
    return torch.split(rows, max(1, _PRODUCTS // weight.numel()))


Wanted = Literal["alpha", "weights", "both"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Gradients:
    """A loss, its logits and the gradients that were asked for.

    Attributes:
        loss: Mean cross-entropy.
        logits: Shape ``(B, classes)``.
        alpha: In the order of ``alpha_parameters``; empty where not asked for.
        weights: In the order of ``weight_parameters``, None for another task's head. They are
            the network's own memory and hold until its next gradients.
        hits: How many images of the whole batch are labelled right, shape ``()``; None where
            ``logits`` are those of the whole batch.
    """

    loss: Tensor
    logits: Tensor
    alpha: tuple[Tensor, ...] = ()
    weights: tuple[Tensor | None, ...] = ()
    hits: Tensor | None = None


_VECTOR = "cell_weights"
_STATISTICS = {"running_mean": "running_mean", "running_var": "running_variance"}


def write_names(net: "Supernet", state: dict[str, Any], prefix: str, _: Any) -> None:
    """Replace the vectors in a state dict by named views."""
    views = net.layout.views(state.pop(prefix + _VECTOR)) | _statistics(net)
    state |= {prefix + name: view for name, view in views.items()}


def read_names(
    net: "Supernet",
    state: dict[str, Any],
    prefix: str,
    _metadata: Any,
    _strict: bool,
    missing: list[str],
    _unexpected: list[str],
    errors: list[str],
) -> None:
    """Copy the named tensors of a state dict into the vectors."""
    vector = net.cell_weights.detach()
    places = net.layout.views(vector) | _statistics(net)
    for name, place in places.items():
        value = state.pop(prefix + name, None)
        if value is None:
            missing.append(prefix + name)
        elif value.shape != place.shape:
            errors.append(
                f"size mismatch for {prefix}{name}: copying a param with shape {value.shape} "
                f"from checkpoint, the shape in current model is {place.shape}."
            )
        else:
            place.copy_(value)
    for name in net.statistics.runs:  # modules count their batches; nothing depends on it
        state.pop(f"{prefix}{name}.num_batches_tracked", None)
    state[prefix + _VECTOR] = vector


def _statistics(net: "Supernet") -> dict[str, Tensor]:
    return {
        f"{name}.{suffix}": view
        for suffix, buffer in _STATISTICS.items()
        for name, view in net.statistics.views(net.get_buffer(buffer).detach()).items()
    }


_ALPHA_SCALE = 1e-3


class Supernet(nn.Module):
    """The network that a search trains.

    α is a parameter of full width, ``(edges, candidates)``; the softmax runs over the
    candidates that the masks keep, so one layout serves every stage. The weights of all cells
    are one vector; ``state_dict`` names each operation's tensors as a network of modules would.

    Attributes:
        compute_dtype: What stem and cells are computed in, such as ``torch.bfloat16``; None for
            the dtype of the weights. Parameters and their gradients, α and its softmax, batch
            statistics and heads keep their own.

    Args:
        masks: Which operations exist on which edge.
        cells: Number of cells.
        channels: Channels of the first cell; doubled by each reduction cell.
        classes: Number of classes of each task, one head each.
        seed: Seed of the initial weights and of α (1e-3 · randn, as in DARTS).
        at_most: How many weights it may have, where a stranger names its size; else any number.

    Raises:
        SettingsError: A number that no network can have, or more weights than ``at_most``.
    """

    def __init__(
        self,
        masks: OperationMasks,
        *,
        cells: int,
        channels: int,
        classes: Sequence[int],
        seed: int,
        at_most: int | None = None,
    ) -> None:
        super().__init__()
        if cells < 1 or channels < 2 or not classes:
            raise SettingsError(
                "the size of the supernet",
                found=f"{cells} cells, {channels} channels and {len(classes)} tasks",
                expected="at least 1 cell, 2 channels and 1 task",
            )
        self.masks, self.channels = masks, channels
        self.layout, self.statistics = Layout(), Layout()
        self.plans = plan_cells(
            masks, cells, channels, weights=self.layout, statistics=self.statistics
        )
        self.width = self.plans[-1].nodes * self.plans[-1].channels
        if at_most is not None and self.layout.size > at_most:
            raise SettingsError(
                f"the supernet of {cells} cells and {channels} channels has "
                f"{self.layout.size} weights",
                expected=f"at most {at_most}",
            )
        self.cell_weights = nn.Parameter(torch.empty(self.layout.size))
        self.register_buffer("running_mean", torch.zeros(self.statistics.size), persistent=False)
        self.register_buffer("running_variance", torch.ones(self.statistics.size), persistent=False)
        for kind in CELL_KINDS:
            mask = torch.from_numpy(masks.array(kind))
            self.register_buffer(f"mask_{kind}", mask, persistent=False)
        self._initialise(classes, seed)
        self.compute_dtype: torch.dtype | None = None
        self._cells: list[Cell] = []
        self._kernels: Kernels | None = None
        self._asked: Kernels | None = None
        self._bound: tuple[int, torch.device, torch.dtype] | None = None
        self.register_state_dict_post_hook(write_names)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(read_names)  # type: ignore[no-untyped-call]

    def _initialise(self, classes: Sequence[int], seed: int) -> None:
        """Draw weights as torch's own layers do, in the order in which modules would be made."""
        stem = STEM_MULTIPLIER * self.channels
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            self.stem = nn.Sequential(
                nn.Conv2d(3, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem)
            )
            draw_weights(self.layout.views(self.cell_weights.detach()))
            self.heads = nn.ModuleList(nn.Linear(self.width, count) for count in classes)
            self.alpha = nn.ParameterDict(
                {
                    kind: nn.Parameter(_ALPHA_SCALE * torch.randn(self.masks.space.shape))
                    for kind in CELL_KINDS
                }
            )

    @property
    def kernels(self) -> Kernels:
        """Kernels of the cells, chosen for the weights' device and dtype."""
        self._bind()
        assert self._kernels is not None  # _bind sets it  # noqa: S101
        return self._kernels

    def __getstate__(self) -> dict[str, Any]:
        """Return the pickled state, without cells and kernels: they are made anew after loading."""
        return self.__dict__ | {"_cells": [], "_kernels": None, "_asked": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> "Supernet":
        """Copy the network; the copy keeps the kernels that ``use`` asked for."""
        twin = memo[id(self)] = type(self).__new__(type(self))
        twin.__setstate__(copy.deepcopy(self.__getstate__(), memo))  # type: ignore[no-untyped-call]
        if self._asked is not None:
            twin.use(self._asked)
        return twin

    def use(self, kernels: Kernels) -> None:
        """Run on these kernels instead of the ones that would be chosen.

        They stay, wherever the network moves and in its deep copies; a pickled network forgets
        them. Where they are not for its device or dtype, whatever is computed next raises a
        TypeError.
        """
        self._asked, self._cells = kernels, []

    def _bind(self) -> Vectors:
        """Bind cells and kernels to the present vectors: moving a module replaces them."""
        weights = self.cell_weights.detach()
        dtype = self.compute_dtype or weights.dtype
        now = (weights.data_ptr(), weights.device, dtype)
        if self._cells and now == self._bound:
            return self._cells[0].vectors
        kernels = self._asked or self._kernels
        if self._asked is not None:
            self._asked.check(weights.device, dtype)
        elif kernels is None or self._bound is None or now[1:] != self._bound[1:]:
            kernels = choose_kernels(weights.device, dtype).kernels
        assert kernels is not None  # asked for, kept or chosen  # noqa: S101
        self._kernels = kernels
        self._bound = now
        vectors = Vectors(
            weights=weights.to(dtype),
            gradient=torch.zeros_like(weights),
            running_mean=self.get_buffer("running_mean"),
            running_variance=self.get_buffer("running_variance"),
        )
        self._cells = [Cell(plan, vectors, kernels) for plan in self.plans]
        return vectors

    def probabilities(self, kind: str) -> Tensor:
        """Return softmax(α) over the surviving candidates, shape ``(edges, candidates)``."""
        mask = self.get_buffer(f"mask_{kind}")
        alpha: Tensor = self.alpha[kind]
        return alpha.masked_fill(~mask, float("-inf")).softmax(dim=-1)

    @torch.no_grad()
    def features(self, x_BCHW: Tensor, *, skip: SkipDropout = NO_DROPOUT) -> Tensor:
        """Return the pooled features before the head, shape ``(B, width)``, without autograd."""
        self._bind()
        self.kernels.begin_pass(len(x_BCHW))
        options = self._pass("weights", skip, keep=False)
        outputs = [_images(self._stem_output(x_BCHW))]
        for cell in self._cells:
            previous = (outputs[max(len(outputs) - 2, 0)], outputs[-1])
            outputs.append(cell.forward(previous, options).output)
        pooled = self._pooled(outputs[-1])
        self.kernels.release(*outputs[1:])
        return pooled

    @torch.no_grad()
    def forward(self, x_BCHW: Tensor, *, head: int = 0, skip: SkipDropout = NO_DROPOUT) -> Tensor:
        """Return logits for one task, shape ``(B, classes)``, without autograd."""
        return self._logits(head, self.features(x_BCHW, skip=skip))

    def gradients(
        self,
        batch: Batch,
        wanted: Wanted,
        *,
        skip: SkipDropout | DeviceSkipDropout = NO_DROPOUT,
    ) -> Gradients:
        """Return gradients of the batch's mean cross-entropy, for α, the weights or both.

        Of a rank's part of a batch it is the images' part of that mean.

        Nothing here waits for a GPU; with a dropout on the device a graph can capture it.

        Raises:
            RuntimeError: The network is in eval mode; a search has no use for its gradients there.
        """
        if not self.training:
            raise RuntimeError("gradients are those of training mode; call train() first")
        vectors = self._bind()
        self.kernels.begin_pass(len(batch.images))
        options = self._pass(wanted, skip, keep=True)
        with torch.set_grad_enabled(options.weight_gradients):
            stem = self._stem_output(batch.images)
        with torch.no_grad():
            tapes: list[Tape] = []
            outputs = [_images(stem.detach())]
            for cell in self._cells:
                previous = (outputs[max(len(outputs) - 2, 0)], outputs[-1])
                tapes.append(cell.forward(previous, options))
                outputs.append(tapes[-1].output)
        head = self.heads[batch.head]
        with torch.enable_grad():
            pooled = self._pooled(outputs[-1]).requires_grad_()
            logits = self._logits(batch.head, pooled)
            loss = F.cross_entropy(logits, batch.labels)
            if batch.share is not None:
                loss = loss * batch.share.weight
        places = [pooled, *(head.parameters() if options.weight_gradients else ())]
        top = torch.autograd.grad(loss, places)
        sums, to_stem = self._backward(tapes, outputs, top[0], options)
        return Gradients(
            loss=loss.detach(),
            logits=logits.detach(),
            alpha=self._alpha_gradients(sums) if wanted != "weights" else (),
            weights=self._weight_gradients(vectors, stem, to_stem, batch.head, top[1:])
            if options.weight_gradients
            else (),
        )

    def _stem_output(self, x_BCHW: Tensor) -> Tensor:
        """Return the stem's output; autocast computes its norm's statistics in float32."""
        mixed = self.compute_dtype not in (None, self.cell_weights.dtype)
        device = x_BCHW.device.type
        if device == "cpu" and not mixed:
            return stem_output(self.stem, x_BCHW)
        with torch.autocast(device, self.compute_dtype, enabled=mixed, cache_enabled=False):
            found: Tensor = self.stem(_last(x_BCHW))
        return found

    def _logits(self, head: int, pooled: Tensor) -> Tensor:
        layer = self.heads[head]
        assert isinstance(layer, nn.Linear)  # as they are made  # noqa: S101
        if pooled.device.type == "cpu":
            return head_output(layer, pooled)
        found: Tensor = layer(pooled)
        return found

    def _pooled(self, output_BHWC: Tensor) -> Tensor:
        return output_BHWC.mean(dim=(1, 2), dtype=self.cell_weights.dtype)

    def _pass(
        self, wanted: Wanted, skip: SkipDropout | DeviceSkipDropout, *, keep: bool
    ) -> PassOptions:
        kernels, computed = self.kernels, self._cells[0].vectors.weights
        if computed.dtype != self.cell_weights.dtype:
            computed.copy_(self.cell_weights.detach())
        return PassOptions(
            alpha={kind: kernels.scalars(self.probabilities(kind)) for kind in CELL_KINDS},
            training=self.training,
            keep=keep,
            weight_gradients=wanted != "alpha",
            skip=skip,
            statistics=Statistics.like(self.get_buffer("running_mean")),
        )

    @torch.no_grad()
    def _backward(
        self, tapes: list[Tape], outputs: list[Tensor], top: Tensor, options: PassOptions
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Run the cells backward; return gradients of the softmaxed α and of the stem's output."""
        kernels, last = self.kernels, outputs[-1]
        sums = {
            kind: torch.zeros(self.masks.array(kind).size, dtype=torch.float64, device=last.device)
            for kind in CELL_KINDS
        }
        reached: list[Tensor | None] = [None] * len(outputs)
        reached[-1] = kernels.empty(*last.shape, like=last).copy_(
            (top / (last.shape[1] * last.shape[2]))[:, None, None, :]
        )
        if options.weight_gradients:
            reached[0] = torch.zeros_like(outputs[0])
        for position in reversed(range(len(tapes))):
            before = (max(position - 1, 0), position)
            for index in before:
                if reached[index] is None and index > 0:
                    reached[index] = kernels.empty(*outputs[index].shape, like=last).zero_()
            gradient = reached[position + 1]
            assert gradient is not None  # the next cell has filled it  # noqa: S101
            self._cells[position].backward(
                tapes.pop(),  # its memory is free when this cell is done
                gradient,
                (reached[before[0]], reached[before[1]]),
                sums[self.plans[position].kind],
                options,
            )
            kernels.release(gradient, outputs[position + 1])
        return sums, reached[0]

    def _alpha_gradients(self, sums: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """Return α's gradients from those of its softmax, in α's own precision."""
        found = []
        for kind in CELL_KINDS:
            with torch.enable_grad():
                weights = self.probabilities(kind)
            reached = sums[kind].view(weights.shape).to(weights.dtype)
            found += torch.autograd.grad(weights, self.alpha[kind], reached)
        return tuple(found)

    def _weight_gradients(
        self,
        vectors: Vectors,
        stem: Tensor,
        to_stem: Tensor | None,
        head: int,
        of_head: tuple[Tensor, ...],
    ) -> tuple[Tensor | None, ...]:
        assert to_stem is not None and vectors.gradient is not None  # noqa: S101, PT018
        of_stem = torch.autograd.grad(
            stem, list(self.stem.parameters()), to_stem.permute(0, 3, 1, 2)
        )
        of_heads: list[Tensor | None] = []
        for index, own in enumerate(self.heads):
            of_heads += of_head if index == head else [None for _ in own.parameters()]
        return (vectors.gradient, *of_stem, *of_heads)

    def weight_parameters(self) -> list[nn.Parameter]:
        """Return every parameter but α: the cells' vector, the stem's and the heads'."""
        return [self.cell_weights, *self.stem.parameters(), *self.heads.parameters()]

    def alpha_parameters(self) -> list[nn.Parameter]:
        """Return α of the normal and of the reduction cell."""
        return [self.alpha[kind] for kind in CELL_KINDS]

    def named_views(self, name: str, value: Tensor) -> dict[str, Tensor]:
        """Return views of a parameter, or of its momentum, under the names on disk."""
        return self.layout.views(value) if name == "cell_weights" else {name: value}


def _last(x_BCHW: Tensor) -> Tensor:
    return x_BCHW.contiguous(memory_format=torch.channels_last)


def _images(x_BCHW: Tensor) -> Tensor:
    """Permute ``(B, C, H, W)`` to the layout of the cells, ``(B, H, W, C)``."""
    return x_BCHW.permute(0, 2, 3, 1).contiguous()
