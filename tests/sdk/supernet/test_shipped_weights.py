"""The trained weights of the shipped zoo, on every kernel: they compute what their checks say."""

from collections.abc import Callable

import pytest
import torch

from reference.network import PlainSupernet
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.artifact.reader import Artifact
from wsdarts_registry.stores.opening import open_registry
from wsdarts_sdk.artifacts.building import artifact_alpha, artifact_weights, run_check
from wsdarts_sdk.supernet.kernels.base import Kernels


@pytest.fixture(scope="module")
def trained() -> list[Artifact]:
    """Every shipped artifact that has weights."""
    store = open_registry(None)
    artifacts = [store.pull(str(entry.reference)) for entry in store.entries()]
    found = [artifact for artifact in artifacts if artifact.check() is not None]
    assert len(found) >= 5
    return found


@pytest.mark.parametrize("kernels", ["compiled", "portable"])
def test_their_checks_hold(
    kernels: str,
    trained: list[Artifact],
    monkeypatch: pytest.MonkeyPatch,
    make_compiled: Callable[[torch.dtype], Kernels],
) -> None:
    make_compiled(torch.float32)  # skips where no compiler is
    monkeypatch.setenv("WSDARTS_HUB_KERNELS", kernels)
    for artifact in trained:
        difference = run_check(artifact)
        assert difference is not None
        assert difference < 1e-5, artifact.manifest.name


def test_the_plain_engine_reads_them(trained: list[Artifact]) -> None:
    artifact = trained[0]
    weights, check, network = artifact.weights(), artifact.check(), artifact.manifest.network
    assert weights is not None
    assert check is not None
    net = PlainSupernet(
        artifact.masks, cells=network.cells, channels=network.channels, classes=[1], seed=0
    )
    alpha = {
        f"alpha.{kind}": torch.from_numpy(artifact_alpha(weights)[kind]) for kind in CELL_KINDS
    }
    found = net.load_state_dict(artifact_weights(weights) | alpha, strict=False)
    assert found.unexpected_keys == []
    assert {name for name in found.missing_keys if "num_batches" not in name} == {
        "heads.0.weight",
        "heads.0.bias",
    }
    with torch.no_grad():
        features = net.eval().features(torch.from_numpy(check["input"]))
    assert torch.allclose(features, torch.from_numpy(check["output"]), rtol=1e-4, atol=1e-5)
