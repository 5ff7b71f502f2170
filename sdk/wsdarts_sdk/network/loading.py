"""From whatever names a genotype or a trained model to a network."""

import json
from pathlib import Path
from typing import Any

from wsdarts_registry.artifact import Artifact, read_artifact
from wsdarts_registry.errors import RegistryError, RunError, SettingsError, SpaceError
from wsdarts_registry.files import is_directory, is_file
from wsdarts_registry.genotype import Genotype
from wsdarts_registry.manifest import MANIFEST, Manifest
from wsdarts_registry.manifest_file import read_manifest
from wsdarts_registry.store import Store
from wsdarts_registry.training_record import run_of
from wsdarts_registry.zoo import open_for
from wsdarts_sdk.network.classifier import MODEL_FILE, Classifier
from wsdarts_sdk.network.derived import DerivedNetwork, Stem
from wsdarts_sdk.runs.directory import read_config

GENOTYPE_FILE = "genotype.json"
_ARTIFACT = "artifact"
_CONFIG = "config.json"


def load_network(
    source: Genotype | str | Path,
    *,
    registry: str | Path | Store | None = None,
    classes: int | None = None,
    cells: int | None = None,
    channels: int | None = None,
    stem: Stem | None = None,
    auxiliary: bool = False,
    seed: int = 0,
) -> DerivedNetwork | Classifier:
    """The network of a genotype, or a trained model.

    **A genotype has no weights**: its network comes untrained, with random weights, in train
    mode, and wants normalised images. The weights of an artifact are a supernet's, which do not
    fit it. Only a trained model (the file or the run directory of ``train``) comes with
    weights, in eval mode, and wants images in [0, 1].

    Args:
        source: A genotype; its JSON; its text as the public DARTS and P-DARTS code prints it; a
            file with either; the directory of an artifact or of a search; a reference such as
            ``"cifar10-1000@1"``; or a trained model. What exists as a path is read as one.
        registry: Where a reference is looked up; the shipped zoo by default.
        classes: Number of classes; by default that of the task that the genotype was searched
            on, where the source knows it.
        cells: Number of cells; 20 by default.
        channels: Channels of the first cell; 16 by default (the papers' results have 36).
        stem: ``"cifar"``, the default, or ``"imagenet"``; see ``DerivedNetwork``.
        auxiliary: Whether to build the auxiliary tower, which only helps in training.
        seed: Seed of the random weights.

    Returns:
        A ``DerivedNetwork``, or the ``Classifier`` of a trained model; both map images
        of shape ``(B, 3, H, W)`` to logits of shape ``(B, classes)``.

    Raises:
        WsdartsError: There is nothing of that name, it is damaged or no genotype, or the
            numbers do not fit.
    """
    given = {"classes": classes, "cells": cells, "channels": channels, "stem": stem}
    shape: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    model = None if isinstance(source, Genotype) else _trained_file(source)
    if model is not None:
        if shape or auxiliary:
            named = ", ".join(shape) or "auxiliary"
            raise SettingsError(
                f"{source} is a trained model, whose shape is fixed; leave out {named}, or name "
                f"its genotype, such as {model.parent / GENOTYPE_FILE}"
            )
        return Classifier.load(model)
    genotype, known = _find(source, registry)
    shape.setdefault("classes", known)
    if shape["classes"] is None:
        raise SettingsError("a genotype alone has no number of classes; name it: classes=10")
    return DerivedNetwork(genotype, **shape, auxiliary=auxiliary, seed=seed)


def find_genotype(
    source: Genotype | str | Path, *, registry: str | Path | Store | None = None
) -> Genotype:
    """The genotype that ``source`` is or names, as for ``load_network``.

    Raises:
        RunError: The directory has no genotype yet.
        SpaceError: The file or text holds none.
        RegistryError: There is neither a path nor an artifact of that name.
    """
    return _find(source, registry)[0]


def source_run(source: Genotype | str | Path) -> Path | None:
    """Return the run of a search that a genotype was named by; None for anything else.

    A training names the run that it was made from, and a file in a run that run.
    """
    if isinstance(source, Genotype) or (isinstance(source, str) and _is_text(source)):
        return None
    path = Path(source).expanduser()
    for place in (path, path.parent):
        if is_file(place / _CONFIG) and is_directory(place):
            if read_config(place).get("command") == "train":
                return run_of(place)
            return place
    return None


def _trained_file(source: str | Path) -> Path | None:
    """The model file that a path is, or that lies in the run directory of a training."""
    if isinstance(source, str) and _is_text(source):
        return None
    path = Path(source).expanduser()
    if path.suffix == ".safetensors":
        return path
    return path / MODEL_FILE if (path / MODEL_FILE).is_file() else None


def _find(
    source: Genotype | str | Path, registry: str | Path | Store | None
) -> tuple[Genotype, int | None]:
    """A genotype, and the number of classes that it was searched for if that is known."""
    if isinstance(source, Genotype):
        return source, None
    if isinstance(source, str) and _is_text(source):
        return _parse(source), None
    path = Path(source).expanduser()
    if path.is_dir():
        return _in_directory(path)
    if isinstance(source, Path) or path.exists():
        return Genotype.load(path), None
    try:
        store, reference = open_for(source, registry)
        return _of_artifact(store.look(reference))
    except RegistryError as error:
        raise type(error)(f"there is no file or directory {source}, and {error}") from error


def _is_text(source: str) -> bool:
    """Whether a string is a genotype itself; no path and no reference looks like that."""
    return "Genotype(" in source or source.lstrip().startswith("{")


def _parse(text: str) -> Genotype:
    if "Genotype(" in text:
        return Genotype.from_darts(text)
    try:
        return Genotype.from_json(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise SpaceError(f"the text is not a genotype in JSON: {error}") from error


def _in_directory(path: Path) -> tuple[Genotype, int | None]:
    """That of an artifact's directory or of a run."""
    if (path / MANIFEST).is_file():
        return _of_artifact(read_artifact(path))
    read_config(path)
    if not (path / GENOTYPE_FILE).exists():
        raise RunError(f"the run {path} has no genotype yet; finish it with --resume first")
    artifact = path / _ARTIFACT
    known = _classes(read_manifest(artifact)[0]) if (artifact / MANIFEST).is_file() else None
    return Genotype.load(path / GENOTYPE_FILE), known


def _of_artifact(artifact: Artifact) -> tuple[Genotype, int | None]:
    return artifact.genotype, _classes(artifact.manifest)


def _classes(manifest: Manifest) -> int | None:
    return manifest.tasks[0].classes if len(manifest.tasks) == 1 else None
