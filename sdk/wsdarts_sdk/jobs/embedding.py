"""Embedding a dataset, and ranking a registry by it."""

from pathlib import Path
from typing import Any

from wsdarts_registry.embedding import TaskEmbedding
from wsdarts_registry.nearest import Ranking
from wsdarts_registry.store import Store
from wsdarts_registry.zoo import open_registry
from wsdarts_sdk.devices import find_device
from wsdarts_sdk.jobs.inputs import Data, find_probe, load_task, probe_for
from wsdarts_sdk.progress import Progress, shown
from wsdarts_sdk.task2vec import FisherSettings, Probe, VariationalSettings, embed


def embed_data(
    data: Data,
    *,
    probe: str | Path | Probe | None = None,
    settings: FisherSettings | VariationalSettings | None = None,
    budget: float | str | None = None,
    target_error: float | None = None,
    device: str | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> TaskEmbedding:
    """The task embedding of a dataset, from its train part alone.

    Args:
        data: Folder of class folders, parquet file, ``"hf:NAME"``, ``"torchvision:NAME"``,
            ``(images, labels)`` or an ``ImageTask``.
        probe: The probe; the shipped one by default.
        settings: How to estimate the Fisher information; the exact or sketched one by default.
        budget: Time after which no more images are added: seconds, or ``"30s"``, ``"2m"``.
        target_error: Relative standard error, such as 0.05, at which no more are added.
        device: ``"cpu"`` or ``"cuda"``; CUDA by default where there is one.
        progress: Told what is done and how much is left; lines on stderr by default.
        options: For ``ImageTask.load``: ``image_column``, ``skip_corrupt``, …

    Raises:
        WsdartsError: Data or probe cannot be read, or a limit is out of range.
    """
    where = find_device(device)
    progress = shown(progress)
    task = load_task(data, progress=progress, **options)
    return embed(
        task,
        find_probe(probe, where),
        settings or FisherSettings(),
        budget=budget,
        target_error=target_error,
        progress=progress,
    )


def nearest(
    data: Data | TaskEmbedding,
    *,
    registry: str | Path | Store | None = None,
    probe: str | Path | Probe | None = None,
    settings: FisherSettings | VariationalSettings | None = None,
    budget: float | str | None = None,
    target_error: float | None = None,
    k: int = 5,
    progress: Progress | None = None,
    **options: Any,
) -> Ranking:
    """The artifacts whose task is nearest to a dataset's, and whether that is near at all.

    Args:
        data: A dataset in any of its forms, or a task embedding.
        registry: Directory of a registry; the shipped zoo by default.
        probe: The probe that embeds the dataset; the shipped one by default. Where the registry
            names another one, it has to be named here.
        settings: As for ``embed``; embeddings by other settings do not compare.
        budget: As for ``embed``.
        target_error: As for ``embed``.
        k: How many to list.
        progress: Told what is done and how much is left; lines on stderr by default.
        options: For ``ImageTask.load``: ``image_column``, ``skip_corrupt``, …

    Raises:
        WsdartsError: Data, probe or registry cannot be read, or the registry holds no
            embedding by this probe and these settings.
    """
    store = open_registry(registry)
    if not isinstance(data, TaskEmbedding):
        data = embed_data(
            data,
            probe=probe_for(probe, store, find_device(options.get("device"))),
            settings=settings,
            budget=budget,
            target_error=target_error,
            progress=progress,
            **options,
        )
    return store.nearest(data, k)
