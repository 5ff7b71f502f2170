"""The state of a search between two steps, its checkpoint, optimisers and precision.

Weights, α and its softmax, batch statistics and both optimisers are float32 always; the cells are
computed in the settings' ``compute_dtype``. A recorded step can be replayed with these optimisers:
the learning rate that changes is a tensor beside the weights, and Adam counts its steps there.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.data.loader import seed_of
from wsdarts_sdk.devices import dtype_of, name_of
from wsdarts_sdk.distributed import ALONE, Ranks, synchronise
from wsdarts_sdk.runs.checkpoints import (
    Checkpoint,
    check_ranks,
    optimiser_tensors,
    restore_optimiser,
)
from wsdarts_sdk.search.settings import AlphaOptimiser, SearchSettings, WeightOptimiser
from wsdarts_sdk.supernet.kernels.portable import SynchronisedKernels
from wsdarts_sdk.supernet.network import Supernet


def compute_dtype(settings: SearchSettings) -> torch.dtype:
    """Return the dtype that a search begins with."""
    return dtype_of(settings.compute_dtype)


@contextmanager
def exact_float32() -> Iterator[None]:
    """Multiply float32 without TF32 on CUDA within the context.

    By default torch lets cuDNN round the factors of convolutions to TF32, of ten bits, and programs
    may allow the same to matrix products. A search steps by the signs of α's gradient, in which
    such roundings show (``docs/decisions/search-precision.md``). The settings are torch's,
    for the whole process.
    """
    places = _tf32()
    before = [getattr(place, name) for place, name, _ in places]
    try:
        for place, name, exact in places:
            setattr(place, name, exact)
        yield
    finally:
        for (place, name, _), value in zip(places, before, strict=True):
            setattr(place, name, value)


def _tf32() -> list[tuple[Any, str, Any]]:
    """Return torch's settings of rounding float32 to TF32, with the values that forbid it."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    newer = [(place, "fp32_precision", "ieee") for place in (matmul, getattr(cudnn, "conv", None))]
    if getattr(torch.backends, "fp32_precision", "none") == "tf32":
        return newer
    try:
        _ = cudnn.allow_tf32, matmul.allow_tf32
    except RuntimeError:  # a program has used torch's newer names, which exclude the older ones
        return newer
    return [(matmul, "allow_tf32", False), (cudnn, "allow_tf32", False)]


Array = NDArray[np.float64]
_SUMS = 6


@dataclass(frozen=True, kw_only=True)
class StartingPoint:
    """The starting point of a search.

    Attributes:
        masks: Which candidates exist: all of them from cold, λ's from an artifact.
        weights: Supernet weights and buffers by name, without the heads (λ̂), or None.
        alpha: α of both cell kinds (λ̂), or None for 1e-3 · randn.
        source: What it is, for errors and reports.
    """

    masks: OperationMasks
    weights: dict[str, Tensor] | None = None
    alpha: dict[str, Array] | None = None
    source: str = "cold"


@dataclass(kw_only=True)
class SearchState:
    """Everything that changes during a search.

    Attributes:
        stage: Index of the current stage; the number of stages when the search is over.
        epoch: Epoch within the stage.
        step: Step within the epoch, over all tasks.
        net: The supernet of the stage (of the last one when the search is over).
        sgd: Optimiser of its weights.
        adam: Optimiser of α.
        masks: Masks after each finished stage.
        sums: Loss, hits and images of the running epoch: weights half, then alpha half; float64
            on the device, changed in place.
        seconds: Wall time of each stage so far.
        rows: Rows of metrics written so far.
        parts: In how many parts a batch is computed, so that it fits into memory; not kept in
            the checkpoint, since it depends on the machine.
        derived: The genotype that α gave after the last epoch, as text; empty before.
        unchanged: For how many epochs with α steps it has stayed the same.
        ranks: All that compute it together; the state is the same on each.
    """

    stage: int
    epoch: int
    step: int
    net: Supernet
    sgd: torch.optim.SGD
    adam: torch.optim.Adam
    sums: Tensor
    masks: tuple[OperationMasks, ...] = ()
    seconds: list[float] = field(default_factory=list)
    rows: int = 0
    parts: int = 1
    derived: str = ""
    unchanged: int = 0
    ranks: Ranks = ALONE

    @classmethod
    def fresh(
        cls,
        settings: SearchSettings,
        stage: int,
        masks: OperationMasks,
        classes: Sequence[int],
        device: torch.device,
        dtype: torch.dtype | None = None,
        ranks: Ranks = ALONE,
    ) -> "SearchState":
        """Return the state at the start of a stage: fresh weights, α and optimisers.

        Args:
            settings: Of the search.
            stage: Index of the stage.
            masks: Which operations exist.
            classes: Number of classes of each task.
            device: Where it runs.
            dtype: What cells are computed in; by default what a search begins with here.
            ranks: All that compute it together.
        """
        net = Supernet(
            masks,
            cells=settings.stages[stage].cells,
            channels=settings.channels,
            classes=classes,
            seed=seed_of(settings.seed, "supernet", stage),
        ).to(device)
        dtype = dtype or compute_dtype(settings)
        # None follows the weights, so that a whole network can be made float64.
        net.compute_dtype = None if dtype == torch.float32 else dtype
        if ranks.several and settings.synchronised_norms:
            synchronise(net, ranks)
            net.use(SynchronisedKernels(ranks))
        return cls(
            stage=stage,
            epoch=0,
            step=0,
            net=net,
            sgd=sgd_for(net.weight_parameters(), settings.weights),
            adam=adam_for(net.alpha_parameters(), settings.alpha),
            sums=torch.zeros(_SUMS, dtype=torch.float64, device=device),
            ranks=ranks,
        )

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the cells are computed in."""
        return self.net.compute_dtype or self.net.cell_weights.dtype

    def start_from(self, start: StartingPoint) -> None:
        """Load the weights and α of a starting point; heads stay fresh.

        Raises:
            SettingsError: The shapes do not fit this supernet.
        """
        if start.weights is not None:
            load_weights(self.net, start.weights, start.source)
        if start.alpha is not None:
            load_alpha(self.net, start.alpha, start.source)

    def alpha(self) -> dict[str, Array]:
        """Return α of both cell kinds in float64."""
        return {k: self.net.alpha[k].detach().cpu().double().numpy() for k in CELL_KINDS}

    def to_checkpoint(self) -> Checkpoint:
        """Return everything but what the settings and the data determine."""
        tensors = {f"net.{name}": value for name, value in self.net.state_dict().items()}
        for optimiser in (self.sgd, self.adam):
            tensors |= optimiser_tensors(optimiser, self.net, self.net.named_views)
        facts: dict[str, Any] = {
            "position": [self.stage, self.epoch, self.step],
            "masks": [masks.to_json() for masks in self.masks],
            "current": self.net.masks.to_json(),
            "compute_dtype": name_of(self.dtype),
            "seconds": self.seconds,
            "rows": self.rows,
            "derived": self.derived,
            "unchanged": self.unchanged,
            "ranks": self.ranks.size,
        }
        return Checkpoint(tensors={**tensors, "sums": self.sums}, facts=facts)

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        settings: SearchSettings,
        classes: Sequence[int],
        device: torch.device,
        ranks: Ranks = ALONE,
    ) -> "SearchState":
        """Return the state that ``to_checkpoint`` described.

        It goes on in the dtype that it began with, wherever that was.

        Raises:
            SettingsError: Another number of ranks has begun it, and each has norms of its own.
        """
        facts = checkpoint.facts
        stage, epoch, step = facts["position"]
        if stage < len(settings.stages):
            check_ranks(facts, ranks, synchronised=settings.synchronised_norms)
        net_stage = min(stage, len(settings.stages) - 1)
        current = OperationMasks.from_json(facts["current"])
        dtype = dtype_of(facts["compute_dtype"])
        state = cls.fresh(settings, net_stage, current, classes, device, dtype, ranks)
        state.stage, state.epoch, state.step = stage, epoch, step
        state.masks = tuple(OperationMasks.from_json(masks) for masks in facts["masks"])
        state.seconds, state.rows = list(facts["seconds"]), facts["rows"]
        state.derived, state.unchanged = facts["derived"], facts["unchanged"]
        tensors = dict(checkpoint.tensors)
        state.sums.copy_(tensors.pop("sums"))
        prefix = "net."
        own = {n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)}
        state.net.load_state_dict(own)
        restore_optimiser(state.sgd, state.net, tensors, state.net.named_views)
        restore_optimiser(state.adam, state.net, tensors, state.net.named_views)
        return state


def transferable(net: Supernet) -> dict[str, Tensor]:
    """Return weights and running statistics without heads and α, as λ̂ hands them on.

    Batch norm's count of batches is left out: with a fixed momentum nothing depends on it.
    """
    return {
        name: value.detach()
        for name, value in net.state_dict().items()
        if not name.startswith(("heads.", "alpha.")) and not name.endswith("num_batches_tracked")
    }


def load_weights(net: Supernet, weights: dict[str, Tensor], source: str) -> None:
    """Load transferable weights into a supernet; its heads and α stay as they are.

    Raises:
        SettingsError: A name is missing or unknown, or a shape differs.
    """
    own = transferable(net)
    for name in sorted(own.keys() | weights.keys()):
        here, there = own.get(name), weights.get(name)
        if here is None or there is None or here.shape != there.shape:
            raise SettingsError(
                (
                    f"the weights of {source} do not fit this search: {name} is {_shape(there)} "
                    f"there and {_shape(here)} here ({len(net.plans)} cells, {net.channels} "
                    "channels)"
                ),
                hint=(
                    f"use the settings that {source} was searched with, or start from its masks "
                    "alone (mode 'topology')"
                ),
            )
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(weights[name])


def load_alpha(net: Supernet, alpha: dict[str, Array], source: str) -> None:
    """Load α of both cell kinds.

    Raises:
        SettingsError: α of a cell kind has another shape or is not finite.
    """
    for kind in CELL_KINDS:
        here, there = net.alpha[kind], torch.from_numpy(alpha[kind])
        if here.shape != there.shape or not there.isfinite().all():
            raise SettingsError(
                (
                    f"α of {source} does not fit this search: {kind} is {_shape(there)} there "
                    f"and {_shape(here)} here, and must be finite"
                ),
                hint=(
                    f"use the search space that {source} was searched in, or start from its "
                    "masks alone (mode 'topology')"
                ),
            )
        with torch.no_grad():
            here.copy_(there)


def _shape(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else f"of shape {tuple(tensor.shape)}"


def sgd_for(weights: Sequence[nn.Parameter], settings: WeightOptimiser) -> torch.optim.SGD:
    """Return SGD with its learning rate in a tensor, which ``set_learning_rate`` fills."""
    device = weights[0].device
    graphed = device.type == "cuda"
    # The fused kernel of CUDA alone reads the rate where it lies, in float32; others ask for it.
    dtype = torch.float32 if graphed else torch.float64
    sgd = torch.optim.SGD(
        list(weights),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        fused=graphed or None,
    )
    rate = torch.tensor(settings.learning_rate, dtype=dtype, device=device)
    for group in sgd.param_groups:
        group["lr"] = rate
    return sgd


def adam_for(alpha: Sequence[nn.Parameter], settings: AlphaOptimiser) -> torch.optim.Adam:
    """Return Adam, whose step count lies on the device where that is a GPU."""
    return torch.optim.Adam(
        list(alpha),
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        weight_decay=settings.weight_decay,
        capturable=alpha[0].device.type == "cuda",
    )


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Change the learning rate, in place where it is a tensor, without waiting for the device.

    A recorded step keeps a rate that is a number, such as Adam's.
    """
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
