"""One pass after another: memory that is used again, threads, numbers that are not finite."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reference.comparison import assert_agree, by_name, expected, random_batch, twins
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import DARTS, SearchSpace
from wsdarts_sdk.data.loader import Batch
from wsdarts_sdk.supernet.kernels.base import Kernels, Norm, SkipDropout
from wsdarts_sdk.supernet.kernels.compiled import CompiledKernels
from wsdarts_sdk.supernet.network import Supernet

MakeKernels = Callable[[torch.dtype], Kernels]
FIVE_EDGES = SearchSpace(nodes=2)
DROPOUT = SkipDropout(rate=0.4, seed=11)


def test_nothing_of_one_pass_is_left_in_the_next(make_kernels: MakeKernels) -> None:
    # Two networks on the same kernels, in turn, with other sizes and batches each time.
    kernels = make_kernels(torch.float64)
    masks = OperationMasks.full(FIVE_EDGES)
    pairs = [twins(masks, cells=3, channels=channels, classes=[3]) for channels in (2, 4)]
    sizes = [(8, 8), (12, 9), (8, 8), (9, 12), (16, 16), (8, 8)]
    for turn, size in enumerate(sizes):
        for plain, net in pairs:
            net.use(kernels)
            batch = random_batch(size, images=2 + turn % 3, classes=3, seed=turn)
            wanted = expected(plain, batch, DROPOUT)
            net(batch.images)  # its results are released before the gradients are asked for
            assert_agree(by_name(net, net.gradients(batch, "both", skip=DROPOUT)), wanted)


def poison(kernels: Kernels) -> None:
    """Overwrite all memory that waits to be used again."""
    assert isinstance(kernels, CompiledKernels)
    free = [tensor for tensors in kernels._free.values() for tensor in tensors]
    assert free
    for tensor in free:
        tensor.fill_(float("nan"))


def named(net: Supernet, batch: Batch, wanted: str = "both") -> dict[str, Tensor]:
    return by_name(net, net.gradients(batch, wanted, skip=DROPOUT))  # type: ignore[arg-type]


def same_bits(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return found.keys() == wanted.keys() and all(
        torch.equal(found[name], value) for name, value in wanted.items()
    )


@pytest.mark.parametrize("operations", [8, 3])
def test_no_memory_is_read_before_it_is_written(
    operations: int, make_compiled: MakeKernels
) -> None:
    _, net = twins(OperationMasks.full(FIVE_EDGES), cells=4, channels=4, classes=[3])
    net.use(make_compiled(torch.float64))
    batch = random_batch((9, 8), images=3, classes=3)
    wanted = named(net, batch)
    poison(net.kernels)
    assert same_bits(named(net, batch), wanted)
    # The threads' own buffers are poisoned by images of nothing but NaN.
    nothing = Batch(images=torch.full_like(batch.images, float("nan")), labels=batch.labels)
    assert net.gradients(nothing, "both").loss.isnan()
    poison(net.kernels)
    assert same_bits(named(net, batch), wanted)


def test_all_memory_comes_back(make_compiled: MakeKernels) -> None:
    _, net = twins(OperationMasks.full(FIVE_EDGES), cells=4, channels=4, classes=[3])
    kernels = make_compiled(torch.float64)
    assert isinstance(kernels, CompiledKernels)
    net.use(kernels)
    batch = random_batch((8, 8), images=2, classes=3)
    held = []
    for _ in range(3):
        net(batch.images)
        for wanted in ("weights", "alpha", "both"):
            named(net, batch, wanted)
        places = [tensor.data_ptr() for free in kernels._free.values() for tensor in free]
        assert len(places) == len(set(places))  # nothing is handed back twice
        held.append(kernels.held())
    assert held[0] == held[1] == held[2]  # and nothing is lost


def test_memory_is_held_for_one_number_of_images(make_compiled: MakeKernels) -> None:
    _, net = twins(OperationMasks.full(FIVE_EDGES), cells=4, channels=4, classes=[3])
    kernels = make_compiled(torch.float64)
    net.use(kernels)
    batch = random_batch((8, 8), images=4, classes=3)
    half = Batch(images=batch.images[:2], labels=batch.labels[:2])
    found = named(net, half)
    of_half = kernels.held()
    named(net, batch)
    assert kernels.held() == 2 * of_half
    assert same_bits(named(net, half), found)
    assert kernels.held() == of_half


def test_gradients_hold_until_the_next_only(make_compiled: MakeKernels) -> None:
    _, net = twins(OperationMasks.full(FIVE_EDGES), cells=3, channels=2, classes=[3])
    net.use(make_compiled(torch.float64))
    first, second = (random_batch((8, 8), images=2, classes=3, seed=seed) for seed in (0, 1))
    found = net.gradients(first, "both")
    kept = [value.clone() for value in (found.loss, found.logits, *found.alpha)]
    net.gradients(second, "both")
    for value, copy in zip((found.loss, found.logits, *found.alpha), kept, strict=True):
        assert torch.equal(value, copy)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_threads_do_not_change_a_bit(dtype: torch.dtype, make_compiled: MakeKernels) -> None:
    _, net = twins(OperationMasks.full(FIVE_EDGES), cells=4, channels=4, classes=[3])
    net.to(dtype).use(make_compiled(dtype))
    batch = random_batch((9, 9), images=5, classes=3)
    batch = Batch(images=batch.images.to(dtype), labels=batch.labels)
    # The stem is torch's, whose sums may depend on the number of threads; the cells' do not.
    with torch.no_grad():
        stem = net.stem(batch.images)
    net.stem.forward = lambda _: stem + sum(0 * p.sum() for p in net.stem.parameters())
    found = []
    for threads in (1, 3, 2):
        torch.set_num_threads(threads)
        found.append(by_name(net, net.gradients(batch, "both", skip=DROPOUT)))
    assert same_bits(found[1], found[0])
    assert same_bits(found[2], found[0])


@pytest.mark.parametrize("where", [(0, 0, 0, 0), (1, 2, 7, 7), (2, 1, 3, 4)])
def test_a_nan_in_the_input_is_seen(
    where: tuple[int, int, int, int], make_kernels: MakeKernels
) -> None:
    for operation in ("max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3"):
        masks = OperationMasks.full(SearchSpace(nodes=1, candidates=("none", operation)))
        _, net = twins(masks, cells=3, channels=2, classes=[3])
        net.use(make_kernels(torch.float64))
        batch = random_batch((8, 8), images=3, classes=3)
        batch.images[where] = float("nan")
        found = net.gradients(batch, "both")
        assert found.loss.isnan(), operation
        assert any(gradient.isnan().any() for gradient in found.alpha), operation


@pytest.mark.parametrize("stride", [1, 2])
def test_a_nan_wins_a_pool(stride: int, make_kernels: MakeKernels) -> None:
    # A batch norm before the pool spreads a NaN over its whole channel, so no network shows this.
    source = torch.randn(2, 7, 6, 4, dtype=torch.float64)
    source[0, 2, 3, 1] = source[1, 0, 0, 0] = source[1, 6, 5, 3] = float("nan")
    norm = Norm(
        mean=torch.empty(1, 4, dtype=torch.float64),
        rstd=torch.empty(1, 4, dtype=torch.float64),
        coefficients=torch.empty(1, 3, 4, dtype=torch.float64),
        running_mean=torch.zeros(1, 4, dtype=torch.float64),
        running_variance=torch.ones(1, 4, dtype=torch.float64),
        training=True,
    )
    found = make_kernels(torch.float64).pooling_forward(source, "max", stride, norm)
    wanted = F.max_pool2d(source.permute(0, 3, 1, 2), 3, stride, 1).permute(0, 2, 3, 1)
    assert torch.allclose(found, wanted, rtol=0, atol=0, equal_nan=True)
    assert norm.mean.isnan().tolist() == [[True, True, False, True]]


def single(batch: Batch, dtype: torch.dtype) -> Batch:
    return Batch(images=batch.images.to(dtype), labels=batch.labels, head=batch.head)


def relative(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """The norm of the difference of everything, relative to that of everything."""
    assert found.keys() == wanted.keys()
    a, b = (torch.cat([t[name].double().ravel() for name in wanted]) for t in (found, wanted))
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("channels", [4, 16])
def test_float32_is_close_to_float64(channels: int, make_kernels: MakeKernels) -> None:
    plain, net = twins(OperationMasks.full(FIVE_EDGES), cells=4, channels=channels, classes=[3])
    batch = random_batch((12, 12), images=4, classes=3)
    wanted = expected(plain, batch)
    net.float().use(make_kernels(torch.float32))
    assert (
        relative(by_name(net, net.gradients(single(batch, torch.float32), "both")), wanted) < 1e-4
    )


def test_float32_is_as_good_as_torchs_own(make_kernels: MakeKernels) -> None:
    plain, net = twins(OperationMasks.full(DARTS), cells=4, channels=4, classes=[3])
    batch = random_batch((16, 16), images=4, classes=3)
    wanted = expected(plain, batch)
    own = relative(expected(plain.float(), single(batch, torch.float32)), wanted)
    net.float().use(make_kernels(torch.float32))
    found = relative(by_name(net, net.gradients(single(batch, torch.float32), "both")), wanted)
    assert found < 5 * own + 1e-6


def test_bfloat16_runs_on_the_portable_kernels() -> None:
    # Eight bits of mantissa through some thirty layers: the direction is right, little more.
    plain, net = twins(OperationMasks.full(FIVE_EDGES), cells=4, channels=4, classes=[3])
    batch = random_batch((12, 12), images=8, classes=3)
    wanted = expected(plain, batch)
    net.to(torch.bfloat16)
    found = by_name(net, net.gradients(single(batch, torch.bfloat16), "both"))
    assert net.kernels.name == "portable"
    assert found["loss"].item() == pytest.approx(wanted["loss"].item(), rel=0.02)
    assert relative(found, wanted) < 0.3
