"""The training step on the kernels, judged by the network of modules."""

import copy
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wsdarts_registry.architecture.genotype import Cell, Connection, Genotype
from wsdarts_registry.architecture.search_space import DARTS, SearchSpace
from wsdarts_sdk.compiler import compiled_library
from wsdarts_sdk.models.engine._calls import SOURCES
from wsdarts_sdk.models.engine.training_engine import TrainingEngine
from wsdarts_sdk.models.network import DerivedNetwork

OPERATIONS = [name for name in DARTS.candidates if name != "none"]
PDARTS = Genotype.from_darts(
    "Genotype(normal=[('skip_connect', 0), ('dil_conv_3x3', 1), ('skip_connect', 0), "
    "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('sep_conv_3x3', 3), ('sep_conv_3x3', 0), "
    "('dil_conv_5x5', 4)], normal_concat=range(2, 6), reduce=[('avg_pool_3x3', 0), "
    "('sep_conv_5x5', 1), ('sep_conv_3x3', 0), ('dil_conv_5x5', 2), ('max_pool_3x3', 0), "
    "('dil_conv_3x3', 1), ('dil_conv_3x3', 1), ('dil_conv_5x5', 3)], reduce_concat=range(2, 6))"
)
needs_compiler = pytest.mark.skipif(
    compiled_library(SOURCES[torch.float64]).library is None, reason="no compiled kernels here"
)


def drawn(draws: random.Random, *, connections: int = 2) -> Genotype:
    """A genotype at random."""

    def cell() -> Cell:
        return tuple(
            tuple(
                Connection(source=source, operation=draws.choice(OPERATIONS))
                for source in sorted(draws.sample(range(target), min(connections, target)))
            )
            for target in range(2, 6)
        )

    return Genotype(space=DARTS, normal=cell(), reduction=cell())


Forward = Callable[..., tuple[Tensor, Tensor | None]]


def stepped(
    net: DerivedNetwork, forward: Forward, images: Tensor, *, rate: float
) -> dict[str, Tensor | None]:
    """Logits, loss, gradients and statistics after two steps, and what is drawn next."""
    labels = torch.arange(len(images)) % 7
    for step in range(2):
        draws = torch.Generator().manual_seed(step)
        net.zero_grad()
        logits, auxiliary = forward(images, rate=rate, draws=draws)
        loss = F.cross_entropy(logits, labels)
        if auxiliary is not None:
            loss = loss + 0.4 * F.cross_entropy(auxiliary, labels)
        loss.backward()
    found: dict[str, Tensor | None] = {"logits": logits.detach(), "loss": loss.detach()}
    found |= {f"gradient of {name}": p.grad for name, p in net.named_parameters()}
    found |= {name: buffer.clone() for name, buffer in net.named_buffers()}
    return found | {"next draw": torch.rand(3, generator=draws)}


def check_equal(net: DerivedNetwork, images: Tensor, *, rate: float, within: float) -> None:
    """Step both ways from the same weights and compare everything."""
    twin = copy.deepcopy(net)
    engine = TrainingEngine(twin)
    right = stepped(net, net.forward_training, images, rate=rate)
    found = stepped(twin, engine, images, rate=rate)
    assert engine.why_not is None
    assert found.keys() == right.keys()
    for name, value in right.items():
        other = found[name]
        if value is None or other is None:
            assert value is other, name
            continue
        scale = value.double().abs().max() + 1e-3
        assert (other.double() - value.double()).abs().max() <= within * scale, name


def network(genotype: Genotype, dtype: torch.dtype = torch.float64, **size: Any) -> DerivedNetwork:
    """A network whose norms have scales and shifts."""
    net = DerivedNetwork(genotype, classes=7, **size).to(dtype).train()
    with torch.no_grad():
        for number, parameter in enumerate(net.parameters()):
            draws = torch.Generator().manual_seed(number)
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draws, dtype=dtype))
    return net


def images(count: int, side: int, dtype: torch.dtype = torch.float64) -> Tensor:
    draws = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, side, side, generator=draws, dtype=dtype)


@needs_compiler
@pytest.mark.parametrize("seed", range(14))
def test_a_step_is_that_of_the_modules(seed: int) -> None:
    draws = random.Random(seed)  # noqa: S311
    stem = "imagenet" if seed % 4 == 3 else "cifar"
    net = network(
        drawn(draws),
        cells=[1, 2, 3, 4, 6][seed % 5],
        channels=draws.choice([2, 5, 8, 16]),
        stem=stem,
        auxiliary=seed % 2 == 0,
    )
    if seed % 3 == 0:
        net = net.to(memory_format=torch.channels_last)
    side = draws.choice([8, 11, 13]) * (4 if stem == "imagenet" else 1)
    # 35 images are two for some sums of the kernels, and one for the last.
    check_equal(net, images([3, 2, 35][seed % 3], side), rate=0.3 * (seed % 2), within=1e-9)


@needs_compiler
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("kind", ["normal", "reduction"])
def test_each_operation(operation: str, kind: str) -> None:
    chosen, others = (
        tuple(
            (Connection(source=0, operation=name), Connection(source=1, operation=name))
            for _ in range(4)
        )
        for name in (operation, "sep_conv_3x3")
    )
    normal, reduction = (chosen, others) if kind == "normal" else (others, chosen)
    genotype = Genotype(space=DARTS, normal=normal, reduction=reduction)
    net = network(genotype, cells=3, channels=4, auxiliary=True)
    check_equal(net, images(3, 9), rate=0.2, within=1e-9)


@needs_compiler
@pytest.mark.parametrize("connections", [1, 3])
def test_any_number_of_connections(connections: int) -> None:
    space = SearchSpace(nodes=4)
    draws = random.Random(4)  # noqa: S311
    genotype = drawn(draws, connections=connections)
    if connections == 1:  # a chain: all cells are read through their first input
        cell = tuple((Connection(source=k, operation="dil_conv_3x3"),) for k in (1, 2, 0, 1))
        genotype = Genotype(space=space, normal=cell, reduction=cell)
    net = network(genotype, cells=4, channels=4)
    check_equal(net, images(3, 8), rate=0.2, within=1e-9)


@needs_compiler
def test_an_input_that_no_operation_reads() -> None:
    # Its convolution has no gradient, and its norm has running statistics all the same.
    cell = tuple((Connection(source=1, operation="sep_conv_3x3"),) for _ in range(4))
    net = network(Genotype(space=DARTS, normal=cell, reduction=cell), cells=4, channels=4)
    check_equal(net, images(3, 8), rate=0.0, within=1e-9)
    assert net.get_parameter("cells.2.first.even.weight").grad is None


@needs_compiler
def test_float32_is_near() -> None:
    net = network(PDARTS, torch.float32, cells=3, channels=16, auxiliary=True)
    check_equal(net, images(8, 16, torch.float32), rate=0.2, within=2e-3)


def test_modules_compute_what_the_kernels_cannot() -> None:
    net = network(PDARTS, cells=2, channels=4)
    engine = TrainingEngine(net)
    x, draws = images(3, 8), torch.Generator()

    def reason() -> str | None:
        engine(x, rate=0.0, draws=draws)
        return engine.why_not

    net.cells[0].eval()
    assert reason() is not None
    net.train()
    handle = net.cells[1].register_forward_hook(lambda *_: None)
    assert reason() is not None
    handle.remove()
    net.cells[0].first[1] = nn.Conv2d(12, 8, 1).double()  # type: ignore[index,operator]
    assert reason() is not None


def test_modules_compute_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSDARTS_HUB_KERNELS", "portable")
    net = network(PDARTS, cells=2, channels=4)
    twin = copy.deepcopy(net)
    right = stepped(net, net.forward_training, images(3, 8), rate=0.2)
    found = stepped(twin, TrainingEngine(twin), images(3, 8), rate=0.2)
    assert all(
        found[name] is value or torch.equal(found[name], value) for name, value in right.items()
    )  # type: ignore[arg-type]


@needs_compiler
def test_weights_that_were_replaced_are_the_ones_that_count() -> None:
    net = network(PDARTS, cells=2, channels=4)
    engine = TrainingEngine(net)
    engine(images(3, 8), rate=0.0, draws=torch.Generator())
    other = network(PDARTS, cells=2, channels=4, seed=5)
    for name, parameter in other.cells.named_parameters():
        net.cells.get_parameter(name).data = parameter.detach().clone()
    twin = copy.deepcopy(net)
    right = twin.forward_training(images(3, 8), rate=0.0, draws=torch.Generator())[0]
    found = engine(images(3, 8), rate=0.0, draws=torch.Generator())[0]
    torch.testing.assert_close(found, right, rtol=1e-9, atol=1e-9)


@needs_compiler
def test_two_steps_at_once() -> None:
    """Each forward pass keeps its own results until its backward pass."""
    net = network(PDARTS, cells=2, channels=4)
    twin, x, draws = copy.deepcopy(net), images(4, 8), torch.Generator()
    engine = TrainingEngine(twin)
    for forward in (net.forward_training, engine):
        first = forward(x[:3], rate=0.0, draws=draws)[0]
        second = forward(x[1:], rate=0.0, draws=draws)[0]
        first.square().sum().backward()
        second.sum().backward()
    for right, found in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found.grad, right.grad, rtol=1e-8, atol=1e-8)


@needs_compiler
def test_results_do_not_depend_on_the_number_of_threads() -> None:
    found = []
    threads = torch.get_num_threads()
    for count in (1, 3):
        torch.set_num_threads(count)
        net = network(PDARTS, torch.float32, cells=2, channels=8)
        program = _program(net)
        stem = torch.ones(5, 8, 8, 24).cumsum(1).sin()  # read again in the backward pass
        program.forward((stem,))
        planes, *_, channels = program.output.shape
        top = torch.linspace(-1, 1, 5 * planes * channels).view(5, -1)
        to_stem, gradients = program.backward(top, None)
        found.append([*to_stem, *gradients])
    torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def _program(net: DerivedNetwork) -> Any:
    from wsdarts_sdk.models.engine._calls import Extent, Library  # noqa: PLC0415
    from wsdarts_sdk.models.engine._program import Program  # noqa: PLC0415

    library = Library(torch.float32)
    program = Program(net, 5, (Extent(height=8, width=8, channels=24),), library, torch.float32)
    program.factors.fill_(1.0)
    return program
