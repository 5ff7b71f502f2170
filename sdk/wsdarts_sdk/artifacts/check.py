"""The proof that weights load right: a fixed input and the output that it must give."""

import numpy as np
import torch
from numpy.typing import NDArray

from wsdarts_registry.artifact import Artifact
from wsdarts_registry.contents import alpha_name
from wsdarts_registry.errors import ArtifactError
from wsdarts_registry.masks import OperationMasks
from wsdarts_registry.space import CELL_KINDS
from wsdarts_sdk.search.randomness import stream
from wsdarts_sdk.search.state import Array, load_weights
from wsdarts_sdk.supernet import Supernet

_IMAGES = 2
# Float32 sums in another order differ by about 1e-6; another weight differs by far more.
_TOLERANCE = 1e-4


def make_check(
    masks: OperationMasks,
    *,
    cells: int,
    channels: int,
    image_size: int,
    weights: dict[str, torch.Tensor],
    alpha: dict[str, Array],
) -> dict[str, NDArray[np.float32]]:
    """A random input in [-1, 1] and the pooled features that the supernet gives in eval mode.

    Returns:
        ``input`` of shape ``(2, 3, image_size, image_size)`` and ``output`` of shape
        ``(2, width)``, float32.
    """
    shape = (_IMAGES, 3, image_size, image_size)
    images = torch.rand(shape, generator=stream("check")) * 2 - 1
    output = _features(masks, cells, channels, weights, alpha, images, "this search")
    return {"input": images.numpy(), "output": output}


def run_check(artifact: Artifact) -> float | None:
    """Load an artifact's weights and compare what they compute with what they must.

    Returns:
        The largest difference relative to the largest output, or None for a bare λ.

    Raises:
        ArtifactError: The weights do not fit the artifact's own network, or compute
            something else.
    """
    weights, check = artifact.weights(), artifact.check()
    if weights is None or check is None:
        return None
    network = artifact.manifest.network
    found = _features(
        artifact.masks,
        network.cells,
        network.channels,
        artifact_weights(weights),
        artifact_alpha(weights),
        torch.from_numpy(check["input"].astype(np.float32)),
        "the artifact",
    )
    expected = check["output"]
    if found.shape != expected.shape:
        raise ArtifactError(
            f"the artifact's check expects outputs of shape {expected.shape}; its weights give "
            f"{found.shape}: it is damaged or was made by another engine"
        )
    difference = float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-12))
    if not difference <= _TOLERANCE:
        raise ArtifactError(
            f"the artifact's weights do not compute what its check says (relative difference "
            f"{difference:.1e}, allowed {_TOLERANCE:.0e}); use its masks alone (--mode topology)"
        )
    return difference


def artifact_weights(tensors: dict[str, NDArray[np.float32]]) -> dict[str, torch.Tensor]:
    """The supernet weights of ``weights.safetensors``, without α."""
    return {
        name: torch.from_numpy(np.array(value, dtype=np.float32))
        for name, value in tensors.items()
        if name not in map(alpha_name, CELL_KINDS)
    }


def artifact_alpha(tensors: dict[str, NDArray[np.float32]]) -> dict[str, Array]:
    """α of both cell kinds of ``weights.safetensors``."""
    return {kind: tensors[alpha_name(kind)].astype(np.float64) for kind in CELL_KINDS}


def _features(
    masks: OperationMasks,
    cells: int,
    channels: int,
    weights: dict[str, torch.Tensor],
    alpha: dict[str, Array],
    images: torch.Tensor,
    source: str,
) -> NDArray[np.float32]:
    net = Supernet(masks, cells=cells, channels=channels, classes=[1], seed=0)
    load_weights(net, weights, source)
    with torch.no_grad():
        for kind in CELL_KINDS:
            net.alpha[kind].copy_(torch.from_numpy(alpha[kind]))
        features: NDArray[np.float32] = net.eval().features(images).numpy()
    return features
