"""Artifact of a finished search, which ``push`` publishes, and the check of its weights.

The check is a fixed input, and the output of the network: who takes the weights, by a pull or for a
warm start, can prove that they compute what they must.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from wsdarts_registry._json import now
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.artifact.contents import alpha_name
from wsdarts_registry.artifact.manifest import (
    Lineage,
    NetworkRecord,
    Parent,
    Provenance,
    SplitRecord,
    TaskRecord,
)
from wsdarts_registry.artifact.reader import Artifact
from wsdarts_registry.artifact.writer import ArtifactDraft, write_artifact
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.errors import ArtifactError, SettingsError
from wsdarts_sdk.data.loader import stream
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.devices import code_version, hardware, library_versions
from wsdarts_sdk.models.network import final_sizes
from wsdarts_sdk.runs.result_records import GenotypeChoice
from wsdarts_sdk.search.derivation import ranked_candidates
from wsdarts_sdk.search.loop import SearchResult
from wsdarts_sdk.search.settings import SearchSettings, settings_json
from wsdarts_sdk.search.state import Array, load_weights
from wsdarts_sdk.supernet.network import Supernet

_IMAGES = 2  # of the check
_ADVICE = "pull it again, or use its masks alone (--mode topology)"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Start of a search, for the lineage of its artifact.

    Attributes:
        mode: Mode of the warm start, or ``cold``.
        parents: Exact reference and digest of each artifact that it started from.
    """

    mode: str = "cold"
    parents: tuple[tuple[str, str], ...] = ()


def build_artifact(
    directory: Path,
    *,
    tasks: Sequence[ImageTask],
    settings: SearchSettings,
    preset: str,
    result: SearchResult,
    embeddings: Sequence[TaskEmbedding],
    seconds: float,
    device: torch.device,
    origin: Origin | None = None,
    choice: GenotypeChoice | None = None,
    choice_config: Mapping[str, Any] | None = None,
) -> str:
    """Write the artifact of a search into a new directory and return its digest.

    It has no model card yet: ``push`` writes that, with the name.

    Args:
        directory: New or empty.
        tasks: What was searched on; several make a meta-transfer artifact.
        settings: The search's settings.
        preset: Name of the preset that they came from.
        result: What the search found.
        embeddings: One for each task and probe.
        seconds: Wall time of the search, and of the choice.
        device: Where it ran.
        origin: What it started from; cold by default.
        choice: How the genotype was chosen, and by which settings; by default α decided.
        choice_config: Those settings, as part of the artifact's configuration.
    """
    origin = origin or Origin()
    masks, last = result.stage_masks[-1], settings.stages[-1]
    kind: Literal["transfer", "meta-transfer"] = "transfer" if len(tasks) == 1 else "meta-transfer"
    weights = {name: value.cpu().numpy() for name, value in result.weights.items()}
    alpha = {alpha_name(k): result.alpha[k].astype(np.float32) for k in CELL_KINDS}
    draft = ArtifactDraft(
        kind=kind,
        tasks=[_task_record(task, settings.image_size) for task in tasks],
        network=NetworkRecord(
            cells=last.cells, channels=settings.channels, image_size=settings.image_size
        ),
        genotype=result.genotype,
        ranked=ranked_candidates(masks, result.alpha),
        stage_masks=result.stage_masks,
        embeddings=embeddings,
        weights={**weights, **alpha},
        check=make_check(
            masks,
            cells=last.cells,
            channels=settings.channels,
            image_size=settings.image_size,
            weights={name: value.cpu() for name, value in result.weights.items()},
            alpha=result.alpha,
        ),
        config={"preset": preset, **settings_json(settings), **(choice_config or {})},
        metrics={**_metrics(result), **({} if choice is None else choice.metrics)},
        provenance=Provenance(
            code_version=code_version(),
            libraries=library_versions(),
            hardware=hardware(device),
            seed=settings.seed,
            seconds=round(seconds, 3),
            created=now(),
        ),
        lineage=Lineage(
            mode=origin.mode,
            parents=tuple(Parent(reference=r, digest=d) for r, d in origin.parents),
        ),
    )
    return write_artifact(directory, draft)


def _task_record(task: ImageTask, image_size: int) -> TaskRecord:
    return TaskRecord(
        name=task.name,
        digest=task.digest,
        images=len(task),
        classes=task.classes,
        image_size=image_size,
        dataset=task.dataset,
        split=_given_split(task),
        groups=task.group_count,
    )


def _given_split(task: ImageTask) -> SplitRecord | None:
    if not task.given_split:
        return None
    return SplitRecord(
        train=len(task.train_indices),
        validation=len(task.indices(Part.VALIDATION)),
        test=len(task.indices(Part.TEST)) or None,
    )


def _metrics(result: SearchResult) -> dict[str, int | float]:
    """Return steps of the weights, figures of the last epoch, skip-connects and final size."""
    last: dict[str, Any] = result.rows[-1] if result.rows else {}
    names = ("weights_loss", "weights_accuracy", "alpha_loss", "alpha_accuracy")
    found = {name: last[name] for name in names if last.get(name) is not None}
    steps = sum(row["steps"] for row in result.rows)
    skips = result.genotype.count("skip_connect")
    return {"steps": steps, **found, "skip_connects": skips, **final_sizes(result.genotype)}


@dataclass(frozen=True, kw_only=True)
class _Weights:
    """A supernet's weights and α, and the network that they are of."""

    masks: OperationMasks
    cells: int
    channels: int
    weights: dict[str, torch.Tensor]
    alpha: dict[str, Array]


def make_check(
    masks: OperationMasks,
    *,
    cells: int,
    channels: int,
    image_size: int,
    weights: dict[str, torch.Tensor],
    alpha: dict[str, Array],
) -> dict[str, NDArray[np.float32]]:
    """Return a random input in [-1, 1] and the pooled features that the supernet makes of it.

    Returns:
        ``input`` of shape ``(2, 3, image_size, image_size)`` and ``output`` of shape
        ``(2, width)``, float32.
    """
    shape = (_IMAGES, 3, image_size, image_size)
    images = torch.rand(shape, generator=stream("check")) * 2 - 1
    held = _Weights(masks=masks, cells=cells, channels=channels, weights=weights, alpha=alpha)
    output = _features(held, images, torch.device("cpu"), torch.float32, "this search")
    return {"input": images.numpy(), "output": output}


def run_check(
    artifact: Artifact,
    *,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> float | None:
    """Load an artifact's weights and compare what they compute with what they must.

    Args:
        artifact: A verified artifact.
        device: Where to compute; the CPU by default.
        dtype: What to compute in.

    Returns:
        The largest difference relative to the largest output, or None without weights or check.

    Raises:
        ArtifactError: The weights do not fit the artifact's own network, or compute
            something else.
    """
    weights, check = artifact.weights(), artifact.check()
    if weights is None or check is None:
        return None
    place, network = device or torch.device("cpu"), artifact.manifest.network
    held = _Weights(
        masks=artifact.masks,
        cells=network.cells,
        channels=network.channels,
        weights=artifact_weights(weights),
        alpha=artifact_alpha(weights),
    )
    images = torch.from_numpy(check["input"].astype(np.float32))
    try:
        found = _features(held, images, place, dtype, "the artifact")
    except SettingsError as error:
        raise ArtifactError(
            f"the artifact's weights do not fit its own network: {error}"
        ) from error
    halved = any(value.dtype == np.float16 for value in weights.values())
    return _compare(found, check["output"], tolerance(halved=halved, device=place, dtype=dtype))


def tolerance(*, halved: bool, device: torch.device, dtype: torch.dtype) -> float:
    """Return the tolerance of the check, relative to the largest output.

    Measured on the shipped zoo: sums of float32 in another order differ by up to 4e-7, weights
    that were rounded to float16 or to TF32 by up to 2e-3, bfloat16 by up to 1.3e-2. One
    convolution whose filters are in reverse order differs by 1.3e-2 or more, so that bfloat16
    finds only what is grossly wrong.

    Args:
        halved: Whether weights are stored as float16.
        device: Where it is computed; CUDA may round factors to TF32, of ten bits.
        dtype: What it is computed in.
    """
    if dtype == torch.bfloat16:
        return 5e-2
    if halved or dtype == torch.float16 or device.type == "cuda":
        return 1e-2
    return 1e-4


def artifact_weights(tensors: dict[str, NDArray[np.float32]]) -> dict[str, torch.Tensor]:
    """Return the supernet weights of ``weights.safetensors``, without α."""
    return {
        name: torch.from_numpy(np.array(value, dtype=np.float32))
        for name, value in tensors.items()
        if name not in map(alpha_name, CELL_KINDS)
    }


def artifact_alpha(tensors: dict[str, NDArray[np.float32]]) -> dict[str, Array]:
    """Return α of both cell kinds of ``weights.safetensors``."""
    return {kind: tensors[alpha_name(kind)].astype(np.float64) for kind in CELL_KINDS}


def _compare(found: NDArray[np.float32], expected: NDArray[np.float32], allowed: float) -> float:
    if found.shape != expected.shape:
        raise ArtifactError(
            "shape of the outputs that the artifact's weights give",
            found=found.shape,
            expected=expected.shape,
            hint=f"it is damaged or was made by another engine: {_ADVICE}",
        )
    differences = np.abs(found - expected)
    difference = float(differences.max() / max(np.abs(expected).max(), 1e-12))
    if not difference <= allowed:
        worst = np.unravel_index(differences.argmax(), differences.shape)
        raise ArtifactError(
            "an output that the artifact's weights give",
            found=f"{found[worst]:.6g}",
            expected=f"{expected[worst]:.6g}",
            hint=f"relative difference {difference:.1e}, allowed {allowed:.0e}; {_ADVICE}",
        )
    return difference


def _features(
    held: _Weights,
    images: torch.Tensor,
    device: torch.device,
    dtype: torch.dtype,
    source: str,
) -> NDArray[np.float32]:
    # The manifest says how large the network is; memory is claimed for what is there.
    there = sum(value.numel() for value in held.weights.values())
    if held.cells > len(held.weights):
        raise SettingsError(
            f"{source} has {len(held.weights)} tensors of weights for {held.cells} cells"
        )
    net = Supernet(
        held.masks,
        cells=held.cells,
        channels=held.channels,
        classes=[1],
        seed=0,
        at_most=there,
    )
    load_weights(net, held.weights, source)
    with torch.no_grad():
        for kind in CELL_KINDS:
            net.alpha[kind].copy_(torch.from_numpy(held.alpha[kind]))
        net.compute_dtype = None if dtype == torch.float32 else dtype
        features = net.eval().to(device).features(images.to(device))
    found: NDArray[np.float32] = features.float().cpu().numpy()
    return found
