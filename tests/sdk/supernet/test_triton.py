"""The Triton kernels, one by one, against the portable ones: on a GPU, or in Triton's interpreter.

Sizes are odd, sources are slices of wider tensors, and sums are taken in several chunks.
"""

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from reference.comparison import (
    assert_agree,
    by_name,
    expected,
    random_batch,
    statistics,
    twins,
)
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_sdk.data.loader import Batch
from wsdarts_sdk.supernet.kernel_choice import CellBenchmark, pick_fastest
from wsdarts_sdk.supernet.kernels import triton_kernels
from wsdarts_sdk.supernet.kernels.base import (
    Convolution,
    Kernels,
    Norm,
    OutputGradient,
    PointwiseConvolution,
    SkipDropout,
    Term,
    word,
)
from wsdarts_sdk.supernet.kernels.portable import PortableKernels
from wsdarts_sdk.supernet.kernels.triton_kernels import TritonKernels, interpreted

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if DEVICE.type == "cpu" and not interpreted():
    pytest.skip("Triton was imported before TRITON_INTERPRET was set", allow_module_level=True)
DTYPES = [torch.float64, torch.float32, torch.bfloat16]
TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-5, torch.bfloat16: 2e-2}
# Sums are wide; but the portable kernels round an identity's dropout to the values' dtype.
SUMS = TOLERANCE | {torch.bfloat16: 1e-3}
BOTH: tuple[Kernels, Kernels] = (TritonKernels(), PortableKernels())


@pytest.fixture(autouse=True)
def _several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_kernels, "_CHUNKS", 2)
    monkeypatch.setattr(triton_kernels, "_ELEMENTS", 128)


@pytest.fixture
def draw() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def sum_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def randn(draw: torch.Generator, *shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(*shape, generator=draw, dtype=torch.float64).to(DEVICE, dtype)


def assert_close(found: Tensor, wanted: Tensor, tolerance: float) -> None:
    """Assert that they are equal but for rounding: of the largest entry, as sums of many are."""
    assert found.dtype == wanted.dtype
    away = (found.double() - wanted.double()).abs().max().item()
    assert away <= tolerance * max(wanted.double().abs().max().item(), 1e-3)


def terms(
    draw: torch.Generator, dtype: torch.dtype, *, normed: int, identities: int, rate: float = 0.4
) -> list[Term]:
    """Both kinds in turn; an identity's source is a slice of a wider tensor."""
    found: list[Term] = []
    alphas = torch.rand(normed + identities, generator=draw).to(DEVICE, sum_dtype(dtype)).unbind(0)
    for index in range(max(normed, identities)):
        if index < normed:
            found.append(
                Term(
                    values=randn(draw, 2, 3, 7, 5, dtype=dtype) + 1,
                    mean=randn(draw, 5, dtype=sum_dtype(dtype)),
                    rstd=randn(draw, 5, dtype=sum_dtype(dtype)).abs(),
                    alpha=alphas[index],
                )
            )
        if index < identities:
            found.append(
                Term(
                    values=randn(draw, 2, 3, 7, 15, dtype=dtype)[..., 5:10],
                    alpha=alphas[normed + index],
                    seed=2**63 + 12345 * index,
                    rate=rate,
                )
            )
    return found


def norm(branches: int, channels: int, dtype: torch.dtype) -> Norm:
    zeros = torch.zeros(branches, channels, dtype=sum_dtype(dtype), device=DEVICE)
    return Norm(
        mean=zeros.clone(),
        rstd=zeros.clone(),
        coefficients=torch.zeros(branches, 3, channels, dtype=sum_dtype(dtype), device=DEVICE),
        running_mean=zeros + 0.5,
        running_variance=zeros + 2,
        training=True,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("normed", "identities", "rate"), [(1, 0, 0.0), (9, 2, 0.4), (0, 3, 0.7), (2, 1, 0.0)]
)
def test_mix(
    normed: int, identities: int, rate: float, dtype: torch.dtype, draw: torch.Generator
) -> None:
    summed = terms(draw, dtype, normed=normed, identities=identities, rate=rate)
    node = randn(draw, 2, 3, 7, 10, dtype=dtype)
    gradient = randn(draw, 2, 3, 7, 10, dtype=dtype)[..., 5:]
    outputs, sums, places = [], [], []
    for kernels in BOTH:
        output = node.clone()
        kernels.mix_forward(summed, output[..., 5:])
        outputs.append(output)
        room = torch.zeros(len(summed), 3, 5, dtype=sum_dtype(dtype), device=DEVICE)
        into = [None if t.mean is None else room[i] for i, t in enumerate(summed)]
        sums.append(kernels.mix_backward(summed, gradient, into))
        places.append(room)
    assert_close(*outputs, TOLERANCE[dtype])  # what stands beside the node is as it was
    assert_close(*sums, SUMS[dtype])
    assert_close(*places, SUMS[dtype])


def test_a_node_of_more_terms_than_a_launch_takes(draw: torch.Generator) -> None:
    summed = terms(draw, torch.float64, normed=39, identities=4)
    outputs, sums = [], []
    for kernels in BOTH:
        output = torch.empty(2, 3, 7, 5, dtype=torch.float64, device=DEVICE)
        kernels.mix_forward(summed, output)
        outputs.append(output)
        room = torch.zeros(len(summed), 3, 5, dtype=torch.float64, device=DEVICE)
        into = [None if t.mean is None else room[i] for i, t in enumerate(summed)]
        sums.append(kernels.mix_backward(summed, output, into))
    assert_close(*outputs, 1e-11)
    assert_close(*sums, 1e-11)


def test_a_node_of_nothing_is_zero() -> None:
    output = torch.full((2, 3, 7, 5), float("nan"), device=DEVICE)
    TritonKernels().mix_forward([], output)
    assert torch.equal(output, torch.zeros_like(output))


@pytest.mark.parametrize("seed", [0, 2**63 - 1, 2**64 - 1])
@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_draws_on_the_host_and_on_the_device(seed: int, rate: float) -> None:
    # The same elements to the last; a rate that float32 rounds would draw others.
    ones = torch.ones(3, 5, 7, 4, dtype=torch.float64, device=DEVICE)
    alpha = torch.full((), 0.5, dtype=torch.float64, device=DEVICE)
    there = torch.full((), rate, dtype=torch.float64, device=DEVICE)
    host = Term(values=ones, alpha=alpha, seed=seed, rate=rate)
    device = Term(values=ones, alpha=alpha, seed=word(seed, DEVICE), rate=there)
    wanted, found = torch.zeros_like(ones), []
    BOTH[1].identity_backward(host, ones, wanted)
    for term in (host, device):
        found.append(torch.zeros_like(ones))
        BOTH[0].identity_backward(term, ones, found[-1])
        assert torch.equal(found[-1] != 0, wanted != 0)
        assert_close(found[-1], wanted, 1e-11)
    mixed = torch.empty_like(ones)
    BOTH[0].mix_forward([device], mixed)
    assert torch.equal(mixed, found[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_identity_backward_adds(dtype: torch.dtype, draw: torch.Generator) -> None:
    (term,) = terms(draw, dtype, normed=0, identities=1)
    gradient = randn(draw, 2, 3, 7, 10, dtype=dtype)[..., 5:]
    there = randn(draw, 2, 3, 7, 5, dtype=dtype)
    found = [there.clone(), there.clone()]
    for kernels, place in zip(BOTH, found, strict=True):
        kernels.identity_backward(term, gradient, place)
    assert_close(*found, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pooling(kind: str, dtype: torch.dtype, draw: torch.Generator) -> None:
    source = randn(draw, 2, 7, 5, 6, dtype=dtype)[..., :3]
    node = randn(draw, 2, 4, 3, 6, dtype=dtype)
    coefficients = randn(draw, 2, 3, 3, dtype=sum_dtype(dtype))
    norms = [norm(2, 3, dtype) for _ in BOTH]  # two edges share the result
    found = []
    for kernels, own in zip(BOTH, norms, strict=True):
        result = kernels.pooling_forward(source, kind, 2, own)
        output_gradient = OutputGradient(
            gradients=[node[..., :3], node[..., 3:]], coefficients=coefficients
        )
        into = torch.ones(2, 7, 5, 3, dtype=dtype, device=DEVICE)
        kernels.pooling_backward(source, kind, 2, result, output_gradient, into)
        found.append(into)
    assert_close(*found, TOLERANCE[dtype])
    assert_same_statistics(*norms, dtype)


def assert_same_statistics(found: Norm, wanted: Norm, dtype: torch.dtype) -> None:
    for name in ("mean", "rstd", "running_mean", "running_variance"):
        assert_close(getattr(found, name), getattr(wanted, name), SUMS[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stride", [1, 2])
def test_pointwise_convolution(stride: int, dtype: torch.dtype, draw: torch.Generator) -> None:
    source = randn(draw, 2, 7, 5, 12, dtype=dtype)[..., 6:]
    parts = [(randn(draw, 2, 2, 6, dtype=dtype), offset) for offset in range(stride)]
    pointwise = PointwiseConvolution(source=source, parts=tuple(parts), stride=stride)
    node = randn(draw, 2, -(-7 // stride), -(-5 // stride), 4 * stride, dtype=dtype)
    coefficients = randn(draw, 2, 3, 2 * stride, dtype=sum_dtype(dtype))
    norms = [norm(2, 2 * stride, dtype) for _ in BOTH]
    found = []
    for kernels, own in zip(BOTH, norms, strict=True):
        result = kernels.pointwise_forward(pointwise, own)
        gradients = [node[..., : 2 * stride], node[..., 2 * stride :]]
        output_gradient = OutputGradient(gradients=gradients, coefficients=coefficients)
        into = torch.ones(2, 7, 5, 6, dtype=dtype, device=DEVICE)
        kernels.pointwise_backward(
            pointwise, result, output_gradient, source_gradient=into, weight_gradients=None
        )
        found.append(into)
    assert_close(*found, TOLERANCE[dtype])
    assert_same_statistics(*norms, dtype)


def test_variance_does_not_cancel(draw: torch.Generator) -> None:
    # Σy² − n·mean² in float32 has nothing left of a variance of 1 beside a mean of 10,000.
    source = randn(draw, 2, 9, 9, 3, dtype=torch.float32) + 1e4
    own = norm(1, 3, torch.float32)
    result = TritonKernels().pooling_forward(source, "max", 1, own)
    wanted = result.double().var(dim=(0, 1, 2), correction=0).rsqrt()
    assert torch.allclose(own.rstd[0].double(), wanted, rtol=1e-3)


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "dtype"),
    [
        (3, 1, 1, torch.float64),
        (5, 2, 1, torch.float64),
        (3, 2, 2, torch.float64),
        (5, 1, 2, torch.float64),
        (3, 2, 2, torch.float32),
        (3, 1, 1, torch.bfloat16),
    ],
)
def test_convolution(
    kernel: int, stride: int, dilation: int, own: bool, dtype: torch.dtype, draw: torch.Generator
) -> None:
    source, before = randn(draw, 2, 7, 5, 6, dtype=dtype)[..., 3:], None
    if own:
        source, before = randn(draw, 2, 2, 7, 5, 3, dtype=dtype), norm(2, 3, dtype)
        before.mean.copy_(randn(draw, 2, 3, dtype=sum_dtype(dtype)))
        before.rstd.fill_(0.7)
    convolution = Convolution(
        source=source,
        norm=before,
        depthwise=randn(draw, 2, 3, kernel, kernel, dtype=dtype),
        pointwise=randn(draw, 2, 3, 3, dtype=dtype),
        stride=stride,
        dilation=dilation,
    )
    node = randn(draw, 2, -(-7 // stride), -(-5 // stride), 6, dtype=dtype)
    coefficients = randn(draw, 2, 3, 3, dtype=sum_dtype(dtype))
    found: list[list[Tensor]] = []
    for kernels in BOTH:
        after = norm(2, 3, dtype)
        middle, result = kernels.convolution_forward(convolution, after, keep=True)
        output_gradient = OutputGradient(
            gradients=[node[..., :3], node[..., 3:]], coefficients=coefficients
        )
        into = None if own else torch.ones(2, 7, 5, 3, dtype=dtype, device=DEVICE)
        weights = [torch.zeros_like(w) for w in (convolution.depthwise, convolution.pointwise)]
        sent = kernels.convolution_backward(
            convolution,
            middle,
            result,
            output_gradient,
            source_gradient=into,
            weight_gradients=(weights[0], weights[1]),
        )
        assert middle is not None
        found.append([middle, result, after.mean, after.rstd, *weights])
        if into is not None:
            found[-1].append(into)
        elif sent is not None:
            found[-1] += [*sent.gradients, sent.coefficients.clone()]
    for value, wanted in zip(*found, strict=True):
        assert_close(value, wanted, TOLERANCE[dtype])


def test_images_that_lie_otherwise_are_refused() -> None:
    images = torch.zeros(2, 3, 7, 5, device=DEVICE)
    with pytest.raises(ValueError, match=r"strides \(105, 1, 3, 21\)"):
        TritonKernels().mix_forward([], images.permute(0, 3, 2, 1).contiguous().permute(0, 3, 2, 1))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_they_pass_the_trial(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_kernels, "_ELEMENTS", 1024)
    times = iter([2.0, 1.0])
    candidates = {"portable": PortableKernels, "triton": TritonKernels}
    run = CellBenchmark(DEVICE, dtype, images=2, side=5)
    found = pick_fastest(candidates, run, lambda _: next(times))
    assert found.why.endswith("portable 2.00 ms, triton 1.00 ms")


@pytest.mark.slow
def test_a_whole_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_kernels, "_ELEMENTS", 1024)
    skip = SkipDropout(rate=0.4, seed=11)
    plain, net = twins(OperationMasks.full(SearchSpace(nodes=1)), cells=2, channels=2, classes=[3])
    batch = random_batch((8, 8), images=2, classes=3)
    wanted = expected(plain, batch, skip)
    net.to(DEVICE).use(TritonKernels())
    found = by_name(net, net.gradients(moved(batch), "both", skip=skip))
    assert_agree({name: value.cpu() for name, value in found.items()}, wanted)
    assert_agree(statistics(net.cpu()), statistics(plain))


def moved(batch: Batch) -> Batch:
    return Batch(images=batch.images.to(DEVICE), labels=batch.labels.to(DEVICE))
