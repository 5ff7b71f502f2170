"""Embedding a dataset, and ranking a registry by it."""

from pathlib import Path
from typing import Unpack

from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.embedding.ranking import Ranking
from wsdarts_registry.stores.nearest_artifacts import (
    check_k,
    check_rankable,
    nearest_so_far,
    rank_registry,
)
from wsdarts_registry.stores.opening import open_registry
from wsdarts_registry.stores.store import Store
from wsdarts_sdk.data.options import DataOptions
from wsdarts_sdk.devices import find_device
from wsdarts_sdk.pipelines.run_context import (
    Data,
    checks_keywords,
    find_probe,
    load_task,
    probe_for,
)
from wsdarts_sdk.progress import Progress, shown
from wsdarts_sdk.task2vec.embedding import check_limits, embed, embedding_space
from wsdarts_sdk.task2vec.fisher import FisherSettings
from wsdarts_sdk.task2vec.probe import Probe
from wsdarts_sdk.task2vec.variational import VariationalSettings


@checks_keywords("embed")
def embed_data(
    data: Data,
    *,
    probe: str | Path | Probe | None = None,
    settings: FisherSettings | VariationalSettings | None = None,
    budget: float | str | None = None,
    target_error: float | None = None,
    device: str | None = None,
    progress: Progress | None = None,
    **reading: Unpack[DataOptions],
) -> TaskEmbedding:
    """Return the task embedding of a dataset, from its train part alone.

    Args:
        data: Folder of class folders, parquet file, ``"hf:NAME"``, ``"torchvision:NAME"``,
            ``(images, labels)`` or an ``ImageTask``.
        probe: The probe; the shipped one by default.
        settings: How to estimate the Fisher information; the exact or sketched one by default.
        budget: Time after which no more images are added: seconds, or ``"30s"``, ``"2m"``.
        target_error: Relative standard error, such as 0.05, at which no more are added.
        device: ``"cpu"`` or ``"cuda"``; CUDA by default where there is one.
        progress: Told what is done and how much is left; lines on stderr by default.
        reading: Options of reading the dataset, see ``DataOptions``.

    Raises:
        WsdartsError: Data or probe cannot be read, or a limit is out of range.
    """
    settings = settings or FisherSettings()
    check_limits(settings, budget, target_error)
    network = find_probe(probe, find_device(device))
    progress = shown(progress)
    return embed(
        load_task(data, reading, progress=progress),
        network,
        settings,
        budget=budget,
        target_error=target_error,
        progress=progress,
    )


@checks_keywords("nearest")
def nearest(
    data: Data | TaskEmbedding,
    *,
    registry: str | Path | Store | None = None,
    probe: str | Path | Probe | None = None,
    settings: FisherSettings | VariationalSettings | None = None,
    budget: float | str | None = None,
    target_error: float | None = None,
    k: int = 5,
    device: str | None = None,
    progress: Progress | None = None,
    **reading: Unpack[DataOptions],
) -> Ranking:
    """Return the artifacts whose task is nearest to a dataset's, and whether that is near at all.

    Args:
        data: A dataset in any of its forms, or a task embedding or the ``.safetensors`` file of
            one.
        registry: Directory of a registry; the shipped zoo by default.
        probe: The probe that embeds the dataset; the shipped one by default. Where the registry
            names another one, it has to be named here.
        settings: As for ``embed``; embeddings by other settings do not compare.
        budget: As for ``embed``.
        target_error: As for ``embed``.
        k: How many to list.
        device: ``"cpu"`` or ``"cuda"``; CUDA by default where there is one.
        progress: Told what is done and how much is left; lines on stderr by default.
        reading: Options of reading the dataset, see ``DataOptions``.

    Raises:
        WsdartsError: Data, probe or registry cannot be read, or the registry holds no
            embedding by this probe and these settings.
    """
    check_k(k)
    catalogue = open_registry(registry).catalogue()
    if isinstance(data, str | Path) and str(data).endswith(".safetensors"):
        data = TaskEmbedding.load(data)
    if isinstance(data, TaskEmbedding):
        return rank_registry(catalogue, data, k)
    settings = settings or FisherSettings()
    check_limits(settings, budget, target_error)
    network = probe_for(probe, catalogue, find_device(device))
    check_rankable(catalogue, embedding_space(network, settings))
    progress = shown(progress)
    embedding = embed(
        load_task(data, reading, progress=progress),
        network,
        settings,
        budget=budget,
        target_error=target_error,
        progress=progress,
        preview=nearest_so_far(catalogue),
    )
    return rank_registry(catalogue, embedding, k)
