"""The engine against the plain one in float64: whatever the network, the same to 1e-9.

Compared are logits, loss, the gradients of α and of every weight, and running statistics.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from reference.comparison import (
    assert_agree,
    by_name,
    expected,
    random_batch,
    statistics,
    twins,
)
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import DARTS, DARTS_CANDIDATES, SearchSpace
from wsdarts_sdk.data.loader import Batch
from wsdarts_sdk.supernet.kernels.base import NO_DROPOUT, Kernels, SkipDropout

MakeKernels = Callable[[torch.dtype], Kernels]
Size = tuple[int, int]
TWO_EDGES = SearchSpace(nodes=1)
FIVE_EDGES = SearchSpace(nodes=2)
DROPOUT = SkipDropout(rate=0.4, seed=11)


def compare(
    masks: OperationMasks,
    kernels: Kernels,
    *,
    cells: int = 3,
    channels: int = 2,
    size: Size = (8, 8),
    images: int = 3,
    classes: tuple[int, ...] = (3,),
    head: int = 0,
    skip: SkipDropout = NO_DROPOUT,
    seed: int = 0,
) -> None:
    """One step's gradients and statistics, and what the network then says in eval mode."""
    plain, net = twins(masks, cells=cells, channels=channels, classes=classes, seed=seed)
    net.use(kernels)
    batch = random_batch(size, images=images, classes=classes[head], head=head, seed=seed)
    wanted = expected(plain, batch, skip)
    assert_agree(by_name(net, net.gradients(batch, "both", skip=skip)), wanted)
    assert_agree(statistics(net), statistics(plain))
    plain.eval()
    net.eval()
    with torch.no_grad():
        wanted = {"logits": plain(batch.images, head=head)}
    assert_agree({"logits": net(batch.images, head=head, skip=skip)}, wanted)


def alone(operation: str, edges: int) -> np.ndarray:
    """A mask of nothing but one operation."""
    mask = np.zeros((edges, len(DARTS_CANDIDATES)), dtype=bool)
    mask[:, DARTS_CANDIDATES.index(operation)] = True
    return mask


# In a normal cell the operation has stride 1; in a reduction cell stride 2 from both inputs.
@pytest.mark.parametrize("size", [(8, 8), (9, 11)])
@pytest.mark.parametrize("kind", ["normal", "reduction"])
@pytest.mark.parametrize("operation", DARTS_CANDIDATES)
def test_each_operation_alone(
    operation: str, kind: str, size: Size, make_kernels: MakeKernels
) -> None:
    own, other = alone(operation, 5), alone("dil_conv_3x3", 5)
    normal, reduction = (own, other) if kind == "normal" else (other, own)
    masks = OperationMasks.from_arrays(FIVE_EDGES, normal, reduction)
    compare(masks, make_kernels(torch.float64), cells=4, size=size)


def random_masks(space: SearchSpace, operations: int, seed: int) -> OperationMasks:
    """Masks that keep so many operations on each edge."""
    draws = np.random.default_rng(seed)
    edges, candidates = space.shape
    normal, reduction = (
        np.array([draws.permutation(candidates) < operations for _ in range(edges)])
        for _ in range(2)
    )
    return OperationMasks.from_arrays(space, normal, reduction)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("operations", [8, 5, 3])
def test_stages(operations: int, seed: int, make_kernels: MakeKernels) -> None:
    masks = random_masks(DARTS, operations, seed)
    compare(masks, make_kernels(torch.float64), cells=4, channels=4, skip=DROPOUT, seed=seed)


@pytest.mark.parametrize("seed", range(8))
def test_masks_of_any_width(seed: int, make_kernels: MakeKernels) -> None:
    # Each edge keeps any number of operations, one at least, and that may be `none`.
    draws = np.random.default_rng(seed)
    space = SearchSpace(nodes=3)
    masks = []
    for _ in range(2):
        mask = draws.random(space.shape) < draws.random()
        mask[np.arange(len(mask)), draws.integers(0, space.shape[1], len(mask))] = True
        masks.append(mask)
    compare(
        OperationMasks.from_arrays(space, *masks),
        make_kernels(torch.float64),
        cells=4,
        channels=3,
        size=(9, 8),
        skip=DROPOUT,
        seed=seed,
    )


@pytest.mark.parametrize("empty", [[0], [0, 1], [2, 3, 4], [0, 1, 2, 3, 4]])
def test_edges_and_nodes_of_nothing(empty: list[int], make_kernels: MakeKernels) -> None:
    # Edges 0 and 1 lead to the first node, 2 to 4 to the second: nodes of zeros, too.
    mask = np.ones((5, 8), dtype=bool)
    mask[empty] = alone("none", len(empty))
    masks = OperationMasks.from_arrays(FIVE_EDGES, mask, mask)
    compare(masks, make_kernels(torch.float64), cells=4, channels=3)


SIZES = [(side, side) for side in range(8, 22)] + [(side, 29 - side) for side in range(8, 22, 3)]


@pytest.mark.parametrize("size", SIZES)
def test_sizes(size: Size, make_kernels: MakeKernels) -> None:
    compare(OperationMasks.full(TWO_EDGES), make_kernels(torch.float64), size=size, images=2)


# The compiled kernels work on blocks of 16, 8, 4, 2 and 1 channels, and on up to four blocks.
@pytest.mark.parametrize("channels", [2, 3, 4, 6, 8, 12, 16])
def test_channels(channels: int, make_kernels: MakeKernels) -> None:
    compare(
        OperationMasks.full(TWO_EDGES),
        make_kernels(torch.float64),
        channels=channels,
        size=(9, 10),
        images=2,
    )


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
def test_nodes(nodes: int, make_kernels: MakeKernels) -> None:
    masks = random_masks(SearchSpace(nodes=nodes), 4, seed=nodes)
    compare(masks, make_kernels(torch.float64), cells=4, skip=DROPOUT)


@pytest.mark.parametrize("cells", [1, 2, 3, 5, 7])
def test_cells(cells: int, make_kernels: MakeKernels) -> None:
    compare(random_masks(FIVE_EDGES, 5, seed=cells), make_kernels(torch.float64), cells=cells)


@pytest.mark.parametrize("head", [0, 1, 2])
def test_heads(head: int, make_kernels: MakeKernels) -> None:
    masks = random_masks(FIVE_EDGES, 3, seed=head)
    compare(masks, make_kernels(torch.float64), classes=(4, 2, 7), head=head)


@pytest.mark.parametrize("images", [2, 3, 4, 7])
def test_batches(images: int, make_kernels: MakeKernels) -> None:
    compare(random_masks(FIVE_EDGES, 8, seed=0), make_kernels(torch.float64), images=images)


@pytest.mark.parametrize(
    "candidates", [("skip_connect",), ("dil_conv_5x5", "none", "avg_pool_3x3")]
)
def test_candidates_in_another_order(
    candidates: tuple[str, ...], make_kernels: MakeKernels
) -> None:
    space = SearchSpace(nodes=2, candidates=candidates)
    compare(OperationMasks.full(space), make_kernels(torch.float64), cells=4, skip=DROPOUT)


@pytest.mark.parametrize("rate", [0.1, 0.7])
def test_dropout(rate: float, make_kernels: MakeKernels) -> None:
    # Half of all operations are skip-connects; two seeds whose 64-bit words have another sign.
    space = SearchSpace(nodes=3, candidates=("skip_connect", "sep_conv_3x3"))
    for seed in (0, 2**63 + 5):
        skip = SkipDropout(rate=rate, seed=seed)
        compare(OperationMasks.full(space), make_kernels(torch.float64), cells=5, skip=skip)


@pytest.mark.parametrize("skip", [NO_DROPOUT, DROPOUT])
def test_gradients_for_one_are_those_for_both(skip: SkipDropout, make_kernels: MakeKernels) -> None:
    _, net = twins(OperationMasks.full(FIVE_EDGES), cells=4, channels=4, classes=[3, 2])
    net.use(make_kernels(torch.float64))
    batch = random_batch((8, 9), images=4, classes=2, head=1)
    both, alpha, weights = (
        by_name(net, net.gradients(batch, wanted, skip=skip))
        for wanted in ("both", "alpha", "weights")
    )
    of_alpha = {name for name in both if name.startswith("gradient of alpha.")}
    assert len(of_alpha) == 2
    assert alpha.keys() == of_alpha | {"loss", "logits"}
    assert weights.keys() == both.keys() - of_alpha
    for part in (alpha, weights):
        assert all(torch.equal(value, both[name]) for name, value in part.items())


def test_another_tasks_head_has_no_gradient(make_kernels: MakeKernels) -> None:
    _, net = twins(OperationMasks.full(TWO_EDGES), cells=3, channels=2, classes=[3, 2])
    net.use(make_kernels(torch.float64))
    found = net.gradients(random_batch((8, 8), images=2, classes=2, head=1), "weights")
    assert [slope is None for slope in found.weights[-4:]] == [True, True, False, False]


def test_forward_alone_says_the_same_as_the_gradients(make_kernels: MakeKernels) -> None:
    plain, net = twins(OperationMasks.full(FIVE_EDGES), cells=4, channels=4, classes=[3])
    net.use(make_kernels(torch.float64))
    batch = random_batch((9, 9), images=3, classes=3)
    with torch.no_grad():
        wanted = {"logits": plain(batch.images, skip=DROPOUT)}
    assert_agree({"logits": net(batch.images, skip=DROPOUT)}, wanted)
    assert_agree(statistics(net), statistics(plain))
    assert torch.equal(
        net(batch.images, skip=DROPOUT), net.gradients(batch, "alpha", skip=DROPOUT).logits
    )


def test_images_in_another_order_of_memory(make_kernels: MakeKernels) -> None:
    _, net = twins(OperationMasks.full(TWO_EDGES), cells=3, channels=2, classes=[3])
    net.use(make_kernels(torch.float64))
    batch = random_batch((8, 9), images=4, classes=3)
    wanted = by_name(net, net.gradients(batch, "both"))
    images = batch.images.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)
    again = by_name(net, net.gradients(Batch(images=images, labels=batch.labels), "both"))
    assert all(torch.equal(value, wanted[name]) for name, value in again.items())


def test_eval_mode_has_no_gradients(make_kernels: MakeKernels) -> None:
    _, net = twins(OperationMasks.full(TWO_EDGES), cells=3, channels=2, classes=[3])
    net.use(make_kernels(torch.float64))
    net.eval()
    with pytest.raises(RuntimeError, match=r"call train\(\)"):
        net.gradients(random_batch((8, 8), images=2, classes=3), "alpha")
