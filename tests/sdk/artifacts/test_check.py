"""Weights compute what their check says, or nobody uses them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import wsdarts_hub as hub
from tests.error_fields import assert_fields
from tests.registry.factories import SPACE, make_artifact, make_masks
from wsdarts_registry.artifact.manifest import NetworkRecord
from wsdarts_registry.artifact.reader import Artifact, read_artifact
from wsdarts_registry.errors import ArtifactError
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_sdk.artifacts.building import make_check, run_check, tolerance
from wsdarts_sdk.pipelines.starting_points import starting_point
from wsdarts_sdk.presets import TINY
from wsdarts_sdk.search.settings import SearchSettings
from wsdarts_sdk.search.state import transferable
from wsdarts_sdk.supernet.network import Supernet

CPU = torch.device("cpu")
Arrays = dict[str, NDArray[Any]]
Make = Callable[..., Artifact]


@pytest.fixture(scope="module")
def arrays() -> tuple[Arrays, Arrays]:
    """Weights that a network has, and their check."""
    net = Supernet(make_masks(), cells=3, channels=4, classes=[2], seed=0)
    weights = transferable(net)
    alpha = {kind: np.zeros(SPACE.shape) for kind in ("normal", "reduction")}
    check = make_check(
        make_masks(), cells=3, channels=4, image_size=32, weights=weights, alpha=alpha
    )
    found: Arrays = {name: value.numpy() for name, value in weights.items()}
    return found | {f"alpha.{k}": v.astype(np.float32) for k, v in alpha.items()}, dict(check)


@pytest.fixture
def make(arrays: tuple[Arrays, Arrays], tmp_path: Path) -> Make:
    """An artifact with these weights, some of them changed."""

    def build(change: Callable[[Arrays, Arrays], object] = lambda w, c: 0, **more: Any) -> Artifact:
        weights, check = ({n: v.copy() for n, v in part.items()} for part in arrays)
        change(weights, check)
        make_artifact(tmp_path / "made", weights=weights, check=check, **more)
        return read_artifact(tmp_path / "made")

    return build


def test_right_weights(make: Make) -> None:
    difference = run_check(make())
    assert difference is not None
    assert difference < 1e-6


def test_one_weight_that_was_changed(make: Make) -> None:
    def change(weights: Arrays, check: Arrays) -> None:
        weights["stem.0.weight"][0, 0, 1, 1] += 1

    with pytest.raises(ArtifactError) as caught:
        run_check(make(change))
    assert float(caught.value.found) != float(caught.value.expected)
    assert "allowed 1e-04" in caught.value.hint
    assert "--mode topology" in caught.value.hint


def test_alpha_that_was_changed(make: Make) -> None:
    def change(weights: Arrays, check: Arrays) -> None:
        weights["alpha.normal"][:, 1] += 2

    with pytest.raises(ArtifactError, match="relative difference"):
        run_check(make(change))


def test_weights_that_are_stored_as_float16(make: Make) -> None:
    def halve(weights: Arrays, check: Arrays) -> None:
        for name in weights:
            weights[name] = weights[name].astype(np.float16)

    difference = run_check(make(halve))
    assert difference is not None
    assert 1e-4 < difference < 1e-2  # what float32 is allowed would refuse them


def test_bfloat16_is_held_to_less(make: Make) -> None:
    difference = run_check(make(), dtype=torch.bfloat16)
    assert difference is not None
    assert 1e-4 < difference < 5e-2


@pytest.mark.parametrize(
    ("halved", "device", "dtype", "allowed"),
    [
        (False, "cpu", torch.float32, 1e-4),
        (True, "cpu", torch.float32, 1e-2),
        (False, "cuda", torch.float32, 1e-2),
        (False, "cpu", torch.bfloat16, 5e-2),
        (True, "cuda", torch.bfloat16, 5e-2),
    ],
)
def test_tolerances(halved: bool, device: str, dtype: torch.dtype, allowed: float) -> None:
    assert tolerance(halved=halved, device=torch.device(device), dtype=dtype) == allowed


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda(make: Make) -> None:
    assert run_check(make(), device=torch.device("cuda")) is not None


def test_an_output_of_another_width(make: Make) -> None:
    def change(weights: Arrays, check: Arrays) -> None:
        check["output"] = check["output"][:, :5]

    with pytest.raises(ArtifactError, match=r"expected \(2, 5\)"):
        run_check(make(change))


@pytest.mark.parametrize(
    ("cells", "channels", "what"),
    [
        (3, 100_000, ("supernet of 3 cells", "100000 channels", "expected at most")),
        (1000, 4, ("tensors of weights", "1000 cells")),
        (4, 4, ("supernet of 4 cells", "4 channels", "expected at most")),
    ],
)
def test_a_manifest_that_claims_a_huge_network(
    cells: int, channels: int, what: tuple[str, ...], make: Make
) -> None:
    network = NetworkRecord(cells=cells, channels=channels, image_size=32)

    def small(weights: Arrays, check: Arrays) -> None:
        check["input"] = np.zeros((2, 3, 8, 8), np.float32)

    with pytest.raises(ArtifactError) as caught:
        run_check(make(small, network=network))
    assert_fields(caught.value, what=("do not fit", "own network", *what))


def test_a_check_with_far_too_many_pixels(make: Make) -> None:
    def change(weights: Arrays, check: Arrays) -> None:
        check["input"] = np.zeros((2, 3, 3000, 3000), np.float16)

    with pytest.raises(ArtifactError, match=r"channels at most 67108864"):
        make(change)


def test_pull_checks_before_it_writes(make: Make, tmp_path: Path) -> None:
    def change(weights: Arrays, check: Arrays) -> None:
        check["output"] *= 1.01

    store = DirectoryStore(tmp_path / "zoo", create=True)
    store.publish(make(change).directory, "wrong")
    with pytest.raises(ArtifactError, match="relative difference"):
        hub.pull("wrong", registry=store, out=tmp_path / "out", check=True)
    assert not (tmp_path / "out").exists()
    # Masks are of use without the weights; who asks for no check gets them.
    assert hub.pull("wrong", registry=store, out=tmp_path / "out").masks == make_masks()


def test_pull_with_a_check_that_holds(make: Make, tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "zoo", create=True)
    entry = store.publish(make().directory, "right")
    pulled = hub.pull("right", registry=store, out=tmp_path / "out", check=True)
    assert (pulled.digest, pulled.directory) == (entry.digest, tmp_path / "out")


def test_a_search_starts_from_no_weights_that_fail_their_check(make: Make) -> None:
    def change(weights: Arrays, check: Arrays) -> None:
        weights["stem.0.weight"] *= 1.1

    artifact = make(change)
    settings = SearchSettings(space=SPACE, stages=TINY.search.stages[:1])
    with pytest.raises(ArtifactError, match="relative difference"):
        starting_point("trained", [("wrong@1", artifact)], settings)
    assert starting_point("topology", [("wrong@1", artifact)], settings).masks == make_masks()
