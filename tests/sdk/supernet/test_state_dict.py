"""One vector in memory, one tensor for each weight of each operation on disk."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from reference.comparison import assert_agree, by_name, expected, random_batch, statistics, twins
from reference.network import PlainSupernet
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import DARTS, SearchSpace
from wsdarts_sdk.supernet.kernels.base import Kernels
from wsdarts_sdk.supernet.kernels.portable import PortableKernels
from wsdarts_sdk.supernet.network import Supernet

MakeKernels = Callable[[torch.dtype], Kernels]
FIVE_EDGES = SearchSpace(nodes=2)
SOME = "cells.1.edges.0.operations.sep_conv_3x3.5.weight"


def supernet(seed: int = 0) -> Supernet:
    masks = OperationMasks.full(FIVE_EDGES)
    return Supernet(masks, cells=4, channels=4, classes=[3, 2], seed=seed)


def plain_supernet(seed: int = 0) -> PlainSupernet:
    masks = OperationMasks.full(FIVE_EDGES)
    return PlainSupernet(masks, cells=4, channels=4, classes=[3, 2], seed=seed)


def test_from_plain_and_back() -> None:
    plain, net, back = plain_supernet(1), supernet(2), plain_supernet(3)
    plain(torch.randn(4, 3, 8, 8))  # running statistics that are not those of the beginning
    net.load_state_dict(plain.state_dict())
    back.load_state_dict(net.state_dict())
    wanted = plain.state_dict()
    for name, value in back.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(value, wanted[name]), name
    assert len(statistics(net)) > 100
    assert net.state_dict()["stem.1.num_batches_tracked"].item() == 1


def test_the_vectors_are_not_among_the_names() -> None:
    names = supernet().state_dict().keys()
    counts = {name for name in plain_supernet().state_dict() if name.endswith("tracked")}
    assert names == plain_supernet().state_dict().keys() - counts | {"stem.1.num_batches_tracked"}


def test_a_missing_name_is_told() -> None:
    state = supernet().state_dict()
    del state[SOME], state["cells.0.second.2.running_var"]
    with pytest.raises(RuntimeError, match=r"Missing key\(s\)") as caught:
        supernet().load_state_dict(state)
    assert f'"{SOME}"' in str(caught.value)
    assert '"cells.0.second.2.running_var"' in str(caught.value)
    assert "cell_weights" not in str(caught.value)


def test_an_unexpected_name_is_told() -> None:
    state = supernet().state_dict() | {"cells.9.first.1.weight": torch.zeros(1)}
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) .* "cells\.9\.first\.1\.weight"'):
        supernet().load_state_dict(state)


@pytest.mark.parametrize("name", [SOME, "cells.0.second.2.running_mean", "heads.1.bias"])
def test_a_wrong_shape_is_told(name: str) -> None:
    state = supernet().state_dict()
    state[name] = torch.zeros(5)
    with pytest.raises(RuntimeError, match=rf"size mismatch for {name}: .*torch.Size\(\[5\]\)"):
        supernet().load_state_dict(state)


def test_what_is_not_strict_is_left_as_it_is() -> None:
    net, other = supernet(0), supernet(1)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = net.load_state_dict({SOME: other.state_dict()[SOME]}, strict=False)
    assert set(found.missing_keys) == before.keys() - {SOME, "stem.1.num_batches_tracked"}
    for name, value in net.state_dict().items():
        wanted = other.state_dict()[SOME] if name == SOME else before[name]
        assert torch.equal(value, wanted), name


def test_loading_does_not_change_what_was_loaded() -> None:
    state = {name: value.clone() for name, value in supernet(1).state_dict().items()}
    names = set(state)
    net = supernet(0)
    net.load_state_dict(state)
    with torch.no_grad():
        net.cell_weights.zero_()
    assert set(state) == names
    assert torch.equal(state[SOME], supernet(1).state_dict()[SOME])


def test_every_element_of_the_vector_has_one_name() -> None:
    for masks in (OperationMasks.full(DARTS), OperationMasks.full(FIVE_EDGES)):
        net = Supernet(masks, cells=4, channels=3, classes=[2], seed=0)
        counted = torch.zeros_like(net.cell_weights.detach())
        for view in net.named_views("cell_weights", counted).values():
            view.add_(1)
        assert torch.equal(counted, torch.ones_like(counted))
        for value in (net.get_buffer("running_mean"), net.get_buffer("running_variance")):
            counted = torch.zeros_like(value)
            for view in net.statistics.views(counted).values():
                view.add_(1)
            assert torch.equal(counted, torch.ones_like(counted))


def test_other_parameters_keep_their_names() -> None:
    net = supernet()
    alpha = net.alpha["normal"]
    assert net.named_views("alpha.normal", alpha).keys() == {"alpha.normal"}


def gradients(net: Supernet) -> dict[str, Tensor]:
    batch = random_batch((8, 8), images=3, classes=3)
    return by_name(net, net.gradients(batch, "both"))


def pickled(net: Supernet) -> Supernet:
    again: Supernet = pickle.loads(pickle.dumps(net))  # noqa: S301
    return again


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
@pytest.mark.parametrize("used", [False, True])
def test_copies(used: bool, copied: Callable[[Supernet], Supernet]) -> None:
    net = supernet().double()
    if used:
        gradients(net)
    twin = copied(net)
    assert torch.equal(twin.state_dict()[SOME], net.state_dict()[SOME])
    wanted = gradients(net)
    found = gradients(twin)
    assert all(torch.equal(value, wanted[name]) for name, value in found.items())
    kept = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.no_grad():
        twin.cell_weights.zero_()
    gradients(twin)
    for name, value in net.state_dict().items():
        assert torch.equal(value, kept[name]), name


def test_another_dtype_binds_anew() -> None:
    net = supernet()
    batch = random_batch((8, 8), images=3, classes=3)
    single = net(batch.images.float())
    double = net.double()(batch.images)
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    assert torch.allclose(single.double(), double, atol=1e-4)
    plain = plain_supernet().double()
    plain.load_state_dict(net.state_dict())
    wanted = expected(plain, batch)
    assert_agree(gradients(net), wanted)
    assert_agree(statistics(net), statistics(plain))
    assert net.float()(batch.images.float()).dtype == torch.float32


def test_what_the_optimiser_changes_is_what_is_computed_with() -> None:
    plain, net = twins(OperationMasks.full(FIVE_EDGES), cells=3, channels=2, classes=[3])
    gradients(net)
    sgd = torch.optim.SGD(net.weight_parameters(), lr=0.1)
    for weight in net.weight_parameters():
        weight.grad = torch.ones_like(weight)
    sgd.step()
    plain.load_state_dict(net.state_dict())
    wanted = expected(plain, random_batch((8, 8), images=3, classes=3))
    assert_agree(gradients(net), wanted)


def test_kernels_of_another_dtype_are_refused(make_compiled: MakeKernels) -> None:
    # They would read memory that is not there.
    net = supernet().double()
    net.use(make_compiled(torch.float32))
    with pytest.raises(TypeError, match=r"torch\.float32 .* found torch\.float64"):
        gradients(net)


def test_kernels_of_another_dtype_than_computed_in_are_refused(make_compiled: MakeKernels) -> None:
    # α is float32 all the same; what the cells read is not.
    net = supernet()
    net.use(make_compiled(torch.float32))
    net.compute_dtype = torch.bfloat16
    with pytest.raises(TypeError, match=r"torch\.float32 .* found torch\.bfloat16"):
        net(torch.randn(2, 3, 8, 8))


def test_kernels_asked_for_stay(make_compiled: MakeKernels) -> None:
    asked = PortableKernels()
    net = supernet()
    net.use(asked)
    net(torch.randn(2, 3, 8, 8))
    assert copy.deepcopy(net).kernels is asked
    assert net.double().kernels is asked
    assert pickled(net).kernels is not asked
    net.use(make_compiled(torch.float64))
    gradients(net)
    net.float()
    for _ in range(2):  # the first refusal leaves nothing behind that the second would run on
        with pytest.raises(TypeError, match=r"torch\.float64 on"):
            net(torch.randn(2, 3, 8, 8))
