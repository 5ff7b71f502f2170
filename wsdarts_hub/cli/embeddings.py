"""Commands about task embeddings: ``embed`` and ``nearest``."""

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import wsdarts_hub as hub
from wsdarts_hub.cli.shared import display, options
from wsdarts_hub.cli.shared.long_work import show_estimate, unread, working
from wsdarts_registry._files import check_writable
from wsdarts_registry._format import count, pluralize
from wsdarts_registry.errors import EmbeddingError

if TYPE_CHECKING:
    from wsdarts_registry.embedding.embedding import EmbeddingSpace, TaskEmbedding
    from wsdarts_registry.embedding.ranking import Neighbour, Ranking
    from wsdarts_sdk.data.options import DataOptions
    from wsdarts_sdk.data.task import ImageTask
    from wsdarts_sdk.task2vec.fisher import FisherSettings
    from wsdarts_sdk.task2vec.variational import VariationalSettings

_SUFFIX = ".safetensors"


@options.reads_data
def embed(
    data: options.DataArgument,
    *,
    probe: Annotated[
        str | None,
        options.value_option(
            "PROBE",
            "Probe network: shipped, timm:NAME, FILE.safetensors or NAME=FILE.safetensors. "
            "The shipped one by default.",
        ),
    ] = None,
    estimator: options.EstimatorOption = None,
    budget: options.BudgetOption = None,
    target_error: options.TargetErrorOption = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File to write, NAME.embedding.safetensors by default."),
    ] = None,
    dry_run: options.DryRunOption = False,
    reading: "DataOptions",
    device: options.DeviceOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Write the Task2Vec embedding of a dataset to a file.

    Only the train part of the dataset is used. `nearest` takes the file instead of the dataset,
    and then needs neither the images nor torch.

    The standard error is the relative change of a filter's value with other images, on average,
    for a fixed classifier on top of the probe.

    JSON:
        embedding: the file
        task: name of the dataset
        images: its number of images
        classes: its number of classes
        given_split: images in each part of a split that came with it, in words; else null
        groups: number of groups of images that are kept together; null without
        digest: identity of the dataset
        probe: name of the probe network
        probe_digest: its identity
        estimator: fisher or variational
        estimator_version: version of that estimator
        estimator_settings: what else decides the numbers
        filters: length of the embedding
        embedded_images: number of images in the embedding
        embedded_classes: number of their classes
        relative_error: standard error of a value, relative to it; null where unknown
        distance_error: its effect on a distance; null where unknown

    Example:
        wsdarts-hub embed path/to/images --out images.safetensors --budget 30s

    Python:
        from wsdarts_hub import embed
        embed("path/to/images", budget="30s").save("images.safetensors")
    """
    if out is not None:
        from wsdarts_sdk.pipelines.run_context import check_apart  # noqa: PLC0415 - it loads torch

        check_apart(out, [data])
        try:
            check_writable(out)
        except OSError as error:
            raise _unwritable(out, error.strerror) from error
    read: list[ImageTask] = []
    with working(quiet=quiet) as work:
        unread_data = unread(data, reading=reading, quiet=quiet, on_load=read.append)
        if dry_run:
            estimate = hub.estimate_embedding(
                unread_data,
                probe=probe,
                settings=_settings(estimator),
                budget=budget,
                device=device,
                progress=work.progress,
            )
            show_estimate(estimate, as_json=as_json)
            return
        embedding = hub.embed(
            unread_data,
            probe=probe,
            settings=_settings(estimator),
            budget=budget,
            target_error=target_error,
            device=device,
            progress=work.progress,
        )
    (task,) = read
    path = out or Path(f"{_file_stem(task.name)}.embedding{_SUFFIX}")
    try:
        embedding.save(path)
    except OSError as error:
        raise _unwritable(path, error.strerror) from error
    if as_json:
        display.json_data({"embedding": path, **_embedding_json(task, embedding)})
        return
    display.line(str(path))
    if not quiet:
        _show_embedding(task, embedding)


def _embedding_json(task: "ImageTask", embedding: "TaskEmbedding") -> dict[str, Any]:
    return {
        "task": task.name,
        "images": len(task),
        "classes": task.classes,
        "given_split": task.part_sizes if task.given_split else None,
        "groups": task.group_count,
        "digest": task.digest,
        "probe": embedding.space.probe,
        "probe_digest": embedding.space.probe_digest,
        "estimator": embedding.space.estimator,
        "estimator_version": embedding.space.version,
        "estimator_settings": dict(embedding.space.settings),
        "filters": len(embedding.values),
        "embedded_images": embedding.images,
        "embedded_classes": embedding.classes,
        "relative_error": embedding.relative_error,
        "distance_error": embedding.distance_error,
    }


def _show_embedding(task: "ImageTask", embedding: "TaskEmbedding") -> None:
    space = embedding.space
    images, classes = pluralize(len(task), "image"), pluralize(task.classes, "class")
    display.facts(
        [
            ("task", f"{task.name}, {images}, {classes}"),
            *([("given split", task.part_sizes)] if task.given_split else []),
            *([("groups", count(task.group_count))] if task.group_count else []),
            ("digest", task.digest),
            ("probe", f"{space.probe} ({space.probe_digest})"),
            ("estimator", _estimator(space)),
            ("filters", count(len(embedding.values))),
            ("embedded", _embedded(embedding)),
            ("standard error", _standard_error(embedding)),
        ]
    )


@options.reads_data
def nearest(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA|EMBEDDING",
            help="Folder of class folders, parquet file, hf:NAME, torchvision:NAME, or a "
            f"{_SUFFIX} file that `embed` wrote.",
            show_default=False,
        ),
    ],
    *,
    registry: options.RegistryOption = None,
    probe: options.ProbeOption = None,
    estimator: options.EstimatorOption = None,
    budget: options.BudgetOption = None,
    target_error: options.TargetErrorOption = None,
    k: options.NeighboursOption = 5,
    dry_run: options.DryRunOption = False,
    as_json: options.JsonOption = False,
    reading: "DataOptions",
    device: options.DeviceOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """List the artifacts nearest to a dataset, nearest first.

    The line below them says how many there are where not all are shown, and the last one whether
    the first is near, by a measured threshold.

    The column `embedded` is the number of images in an embedding, which may be smaller than the
    dataset; `list` counts the images of the dataset.

    JSON:
        near: whether the nearest is near; null without a threshold
        threshold: the largest distance that counts as near, or null
        why: the same as a sentence
        damaged: damaged versions, each with reference and damaged
        neighbours: nearest first; each has the keys that follow
        neighbours.reference: exact version
        neighbours.distance: from 0 to 1
        neighbours.kind: transfer or meta-transfer
        neighbours.task: name of its dataset or datasets
        neighbours.images: number of images in its embedding
        neighbours.classes: number of classes in its embedding

    Example:
        wsdarts-hub nearest path/to/images -k 3

    Python:
        from wsdarts_hub import nearest
        for neighbour in nearest("path/to/images", k=3).neighbours:
            print(neighbour.reference, neighbour.distance)
    """
    if data.endswith(_SUFFIX):
        _refuse_data_options(
            probe=probe,
            estimator=estimator,
            budget=budget,
            target_error=target_error,
            **reading,
            device=device,
            dry_run=dry_run or None,
        )
        embedding = hub.TaskEmbedding.load(data)
        ranking = hub.open_registry(registry).nearest(embedding, k)
    else:
        with working(quiet=quiet) as work:
            unread_data = unread(data, reading=reading, quiet=quiet)
            if dry_run:
                estimate = hub.estimate_nearest(
                    unread_data,
                    registry=registry,
                    probe=probe,
                    settings=_settings(estimator),
                    budget=budget,
                    device=device,
                    progress=work.progress,
                )
                show_estimate(estimate, as_json=as_json)
                return
            ranking = hub.nearest(
                unread_data,
                registry=registry,
                probe=probe,
                settings=_settings(estimator),
                budget=budget,
                target_error=target_error,
                k=k,
                device=device,
                progress=work.progress,
            )
    if as_json:
        display.json_data(ranking_json(ranking))
    elif quiet:
        for neighbour, distance in zip(ranking.neighbours, ranking.figures.distances, strict=True):
            display.line(f"{neighbour.reference} {distance}")
    else:
        show_ranking(ranking, k=k)
        if not data.endswith(_SUFFIX):
            display.heading("next")
            display.line(_warm_start_command(data, registry, probe, reading, device))


def _warm_start_command(
    data: str, registry: str | None, probe: str | None, reading: "DataOptions", device: str | None
) -> str:
    """Return the command that warm-starts a search on the same data with the same options."""
    command = ["wsdarts-hub", "warm-start", data]
    command += ["--registry", str(registry)] if registry else []
    command += ["--probe", probe] if probe else []
    command += [*options.as_typed(reading), *(["--device", device] if device else [])]
    return shlex.join([*command, "--preset", "small"])


def show_ranking(ranking: "Ranking", *, k: int | None = None) -> None:
    """Print the neighbours as a table, whether there are more, and whether they are near.

    Args:
        ranking: The ranking.
        k: How many neighbours the option ``-k`` asked for; None where there is no such option.
    """
    show_neighbours(ranking.neighbours, ranking.threshold)
    if k is not None and (more := _more(ranking, k)):
        display.line(more)
    typer.echo()
    display.sentence(ranking.why)


def _more(ranking: "Ranking", k: int) -> str:
    """Return how many of all are shown and how to see the others; empty where all are."""
    shown, total = len(ranking.neighbours), ranking.total
    if total is None:
        return f"the {shown} nearest; `-k` for more" if shown == k else ""
    return f"{shown} of {count(total)}; `-k {total}` for all" if shown < total else ""


def show_neighbours(neighbours: "tuple[Neighbour, ...]", threshold: float | None) -> None:
    """Print neighbours as a table, with digits that tell them from the threshold."""
    from wsdarts_registry.embedding.embedding_space import figures  # noqa: PLC0415 - it loads pydantic

    distances = figures((n.distance for n in neighbours), threshold).distances
    display.table(
        ("reference", "distance", "kind", "task", "embedded", "classes"),
        [
            (
                n.reference,
                distance,
                n.kind,
                n.task_name,
                count(n.images),
                count(n.classes),
            )
            for n, distance in zip(neighbours, distances, strict=True)
        ],
        right=("distance", "embedded", "classes"),
        whole=("reference", "kind"),
        cut=("task",),
        optional=("embedded", "classes", "kind"),
    )


def ranking_json(ranking: "Ranking") -> dict[str, Any]:
    """Return a ranking as ``nearest --json`` prints it."""
    return {
        "near": ranking.near,
        "threshold": ranking.threshold,
        "why": ranking.why,
        "damaged": [
            {"reference": str(version.reference), "damaged": version.why}
            for version in ranking.damaged
        ],
        "neighbours": [
            {
                "reference": neighbour.reference,
                "distance": neighbour.distance,
                "kind": neighbour.kind,
                "task": neighbour.task_name,
                "images": neighbour.images,
                "classes": neighbour.classes,
            }
            for neighbour in ranking.neighbours
        ],
    }


def _settings(
    estimator: options.Estimator | None,
) -> "FisherSettings | VariationalSettings | None":
    return hub.VariationalSettings() if estimator == "variational" else None


def _estimator(space: "EmbeddingSpace") -> str:
    settings = ", ".join(f"{name} {value}" for name, value in space.settings)
    return f"{space.estimator} version {space.version} ({settings})"


def _embedded(embedding: "TaskEmbedding") -> str:
    return f"{pluralize(embedding.images, 'image')}, {pluralize(embedding.classes, 'class')}"


def _standard_error(embedding: "TaskEmbedding") -> str:
    relative, distance = embedding.relative_error, embedding.distance_error
    if relative is None or distance is None:
        return "unknown"
    return f"{100 * relative:.2g} % of a value; adds about {distance:.2g} to a distance"


def _refuse_data_options(**given: object) -> None:
    names = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
    if names:
        raise typer.BadParameter(
            f"{', '.join(names)} cannot be used with an embedding, which is made already; leave "
            "it out, or name the dataset instead"
        )


def _unwritable(path: Path, reason: str | None) -> EmbeddingError:
    return EmbeddingError(f"cannot write {path}: {reason}", hint="name another file with --out")


def _file_stem(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data"
