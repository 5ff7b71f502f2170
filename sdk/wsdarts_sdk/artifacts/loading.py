"""Networks by name: of a genotype, a file, a run, a reference or a trained model."""

from pathlib import Path
from typing import Any

from wsdarts_registry._files import exists, expanded, is_directory, is_file
from wsdarts_registry._text import sanitize_spaced
from wsdarts_registry.architecture.genotype import Genotype, holds_genotype
from wsdarts_registry.artifact.checked_files import read_manifest
from wsdarts_registry.artifact.manifest import MANIFEST, Manifest
from wsdarts_registry.artifact.reader import Artifact, read_artifact
from wsdarts_registry.errors import RegistryError, RunError, SettingsError, SignatureError
from wsdarts_registry.publishing.training_record import run_of
from wsdarts_registry.stores.opening import open_for
from wsdarts_registry.stores.signature_policy import Required, SignaturePolicy
from wsdarts_registry.stores.store import Store
from wsdarts_sdk.artifacts.building import artifact_weights, run_check
from wsdarts_sdk.models.classifier import Classifier
from wsdarts_sdk.models.facts import LineageFacts
from wsdarts_sdk.models.inheritance import SupernetWeights, inherit
from wsdarts_sdk.models.network import DerivedNetwork, Stem
from wsdarts_sdk.models.settings import WeightsToBeginWith
from wsdarts_sdk.runs.directory import (
    ARTIFACT_FOLDER,
    CONFIG_FILE,
    GENOTYPE_FILE,
    MODEL_FILE,
    read_config,
)
from wsdarts_sdk.setting_fields import check_value

_WHAT = "the genotype or model"
_RANDOM = "begin with random weights (training.weights=random)"
_MANY_CLASSES = 100_000


def load_network(
    source: Genotype | str | Path,
    *,
    registry: str | Path | Store | None = None,
    classes: int | None = None,
    cells: int | None = None,
    channels: int | None = None,
    stem: Stem | None = None,
    auxiliary: bool = False,
    weights: WeightsToBeginWith = "random",
    seed: int = 0,
    require_signature: Required = None,
) -> DerivedNetwork | Classifier:
    """Return the network of a genotype, or a trained model.

    **A genotype has no trained weights**: its network comes in train mode and wants normalised
    images. It begins with random weights, or with those of the supernet that found it, a better
    place to train from (``weights="inherited"``; the network's ``inherited`` says which were
    taken). Only a trained model (the file or the run directory of ``train``) comes trained, in
    eval mode, and wants images in [0, 1].

    Args:
        source: A genotype; its JSON; its text as the public DARTS and P-DARTS code prints it, or
            a log with such text, of which the last counts; a file with either; the directory of
            an artifact or of a search; a reference such as ``"cifar10-1000@3"``; or a trained
            model. What exists as a path is read as one.
        registry: Where a reference is looked up; the shipped zoo by default.
        classes: Number of classes; by default that of the task that the genotype was searched
            on, where the source knows it.
        cells: Number of cells; 20 by default, or the supernet's if its weights are inherited.
        channels: Channels of the first cell; 16 by default (the papers' results have 36), or the
            supernet's if its weights are inherited, which fit no other number.
        stem: ``"cifar"``, the default, or ``"imagenet"``; see ``DerivedNetwork``.
        auxiliary: Whether to build the auxiliary tower, which only helps in training.
        weights: What to begin with: ``"random"`` weights, or those ``"inherited"`` from the run or
            the artifact that ``source`` names, as ``train`` takes them. The classifier is fresh.
        seed: Seed of the random weights.
        require_signature: Files of public keys, one of which has to have signed the artifact of a
            reference, or a ``SignaturePolicy``; by default the user's own policy decides. What
            is no reference lies in no registry, and has no signature.

    Returns:
        A ``DerivedNetwork``, or the ``Classifier`` of a trained model; both map images
        of shape ``(B, 3, H, W)`` to logits of shape ``(B, classes)``.

    Raises:
        WsdartsError: There is nothing of that name, it is damaged or no genotype, or the
            numbers do not fit; or it is not signed as is required.
    """
    given = {"classes": classes, "cells": cells, "channels": channels, "stem": stem}
    shape: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    model = None if isinstance(source, Genotype) else _trained_file(source)
    if model is not None:
        _refuse_unsigned(source, require_signature)
        changed = [*shape, *(["auxiliary"] if auxiliary else [])]
        changed += ["weights"] if weights != "random" else []
        _check_unchanged(source, model, changed)
        return Classifier.load(model)
    check_value("weights", weights, WeightsToBeginWith)
    supernet = None
    if weights == "inherited":
        supernet = find_supernet(source, registry=registry, require_signature=require_signature)
        shape = {"cells": supernet.cells, "channels": supernet.channels, **shape}
    genotype, known = _find(source, registry, require_signature)
    if classes is None:
        shape["classes"] = _known_classes(source, known)
    network = DerivedNetwork(genotype, **shape, auxiliary=auxiliary, seed=seed)
    network.image_size = None if known is None else known.network.image_size
    if supernet is not None:
        inherit(network, genotype, supernet)
    return network


def _check_unchanged(source: str | Path | Genotype, model: Path, changed: list[str]) -> None:
    """Refuse to change the shape of a trained model."""
    if changed:
        raise SettingsError(
            f"{source} is a trained model, whose shape is fixed",
            hint=(
                f"leave out {', '.join(changed)}, or name its genotype, such as "
                f"{model.parent / GENOTYPE_FILE}"
            ),
        )


def _known_classes(source: Genotype | str | Path, known: Manifest | None) -> int:
    """Return the number of classes of the one task of a source; refuse none, and too many."""
    if known is None or len(known.tasks) != 1:
        raise SettingsError("a genotype alone has no number of classes", hint="name it: classes=10")
    classes = known.tasks[0].classes
    if classes > _MANY_CLASSES:
        raise SettingsError(
            f"{source} names {classes} classes, more than any dataset has",
            expected=f"at most {_MANY_CLASSES}",
            hint="name their number, classes=10",
        )
    return classes


def find_genotype(
    source: Genotype | str | Path,
    *,
    registry: str | Path | Store | None = None,
    require_signature: Required = None,
) -> Genotype:
    """Return the genotype that ``source`` is or names, as for ``load_network``.

    Raises:
        RunError: The directory has no genotype yet.
        SpaceError: The file or text holds none.
        RegistryError: There is neither a path nor an artifact of that name.
        SignatureError: It is not signed as is required.
    """
    return _find(source, registry, require_signature)[0]


def find_lineage(
    source: Genotype | str | Path,
    *,
    registry: str | Path | Store | None = None,
    require_signature: Required = None,
) -> LineageFacts | None:
    """Return the search that found a genotype; None if it is unknown.

    Args:
        source: A genotype, or what names one, as for ``load_network``.
        registry: Where a reference is looked up.
        require_signature: Whose signature the artifact of a reference needs.
    """
    if isinstance(source, Genotype) or (isinstance(source, str) and is_genotype_text(source)):
        return None
    run, path = source_run(source), expanded(source, _WHAT)
    for place in (path, *(() if run is None else (run / ARTIFACT_FOLDER,))):
        if is_file(place / MANIFEST):
            manifest, digest = read_manifest(place)
            return _lineage_facts(manifest, digest)
    if run is not None or isinstance(source, Path) or exists(path):
        return None
    store, reference = open_for(source, registry, require_signature=require_signature)
    entry = store.resolve(reference)
    name = str(entry.reference)
    return _lineage_facts(entry.manifest, entry.digest, name, store.hub_id(entry.name))


def _lineage_facts(
    manifest: Manifest, digest: str, reference: str | None = None, repository: str | None = None
) -> LineageFacts:
    return LineageFacts(
        digest=digest,
        reference=reference,
        repository=repository,
        mode=manifest.lineage.mode,
        parents=manifest.lineage.parents,
    )


def source_run(source: Genotype | str | Path) -> Path | None:
    """Return the run of a search that a genotype was named by; None for anything else.

    A training names the run that it was made from, and a file in a run that run.
    """
    if isinstance(source, Genotype) or (isinstance(source, str) and is_genotype_text(source)):
        return None
    path = expanded(source, _WHAT)
    for place in (path, path.parent):
        if is_file(place / CONFIG_FILE) and is_directory(place):
            if read_config(place).get("command") == "train":
                return run_of(place)
            return place
    return None


def _trained_file(source: str | Path) -> Path | None:
    """Return the model file that a path is, or that of a training's run directory."""
    if isinstance(source, str) and is_genotype_text(source):
        return None
    path = expanded(source, _WHAT)
    if path.suffix == ".safetensors":
        return path
    return path / MODEL_FILE if is_file(path / MODEL_FILE) else None


def _find(
    source: Genotype | str | Path,
    registry: str | Path | Store | None,
    require_signature: Required,
) -> tuple[Genotype, Manifest | None]:
    """Return a genotype, and the manifest of the search that found it, if known."""
    if isinstance(source, Genotype):
        return source, None
    if isinstance(source, str) and is_genotype_text(source):
        _refuse_unsigned("the text of a genotype", require_signature)
        return Genotype.from_text(source), None
    path = expanded(source, _WHAT)
    if is_directory(path):
        _refuse_unsigned(source, require_signature)
        return _in_directory(path)
    if isinstance(source, Path) or exists(path):
        _refuse_unsigned(source, require_signature)
        return Genotype.load(path), None
    try:
        store, reference = open_for(source, registry, require_signature=require_signature)
        return _of_artifact(store.pull_without_weights(reference))
    except RegistryError as error:
        shown = sanitize_spaced(source)
        raise type(error)(f"there is no file or directory {shown}, and {error}") from error


def _refuse_unsigned(source: object, required: Required) -> None:
    """Raise an error for a file or directory where keys are named: it has no signatures."""
    if required is not None and not isinstance(required, SignaturePolicy):
        raise SignatureError(
            f"a signature lies in a registry, not with {source}",
            hint="name the artifact there, such as NAME@3, or leave out the required signature",
        )


def is_genotype_text(source: str) -> bool:
    """Return whether a string is a genotype itself; no path or reference looks like that."""
    return holds_genotype(source) or source.lstrip().startswith(("{", "```")) or "\n" in source


def _in_directory(path: Path) -> tuple[Genotype, Manifest | None]:
    """Return the genotype and manifest of an artifact's directory or of a run."""
    if is_file(path / MANIFEST):
        return _of_artifact(read_artifact(path))
    read_config(path)
    if not exists(path / GENOTYPE_FILE):
        raise RunError(f"the run {path} has no genotype yet", hint="finish it with --resume first")
    artifact = path / ARTIFACT_FOLDER
    known = read_manifest(artifact)[0] if is_file(artifact / MANIFEST) else None
    return Genotype.load(path / GENOTYPE_FILE), known


def _of_artifact(artifact: Artifact) -> tuple[Genotype, Manifest]:
    return artifact.genotype, artifact.manifest


def find_supernet(
    source: Genotype | str | Path,
    *,
    registry: str | Path | Store | None = None,
    require_signature: Required = None,
) -> SupernetWeights:
    """Return the weights of the supernet that found a genotype.

    Args:
        source: What names the genotype: a run, an artifact's directory or a reference.
        registry: Where a reference is looked up; the shipped zoo by default.
        require_signature: Whose signature the artifact of a reference needs.

    Raises:
        SettingsError: It names a genotype alone, or an artifact without weights.
        ArtifactError: The weights are damaged, or compute something else than they must.
        RegistryError: There is no artifact of that name.
        SignatureError: It is not signed as is required.
    """
    artifact = _find_artifact(source, registry, require_signature)
    weights = None if artifact is None else artifact.weights()
    if artifact is None or weights is None:
        shown = "a genotype alone" if isinstance(source, Genotype) else str(source)
        raise SettingsError(
            f"{shown} has no weights to inherit",
            expected="a finished search, or an artifact with weights",
            hint=f"name one, or {_RANDOM}",
        )
    run_check(artifact)
    network = artifact.manifest.network
    return SupernetWeights(
        source=str(source),
        space=artifact.masks.space,
        cells=network.cells,
        channels=network.channels,
        tensors=artifact_weights(weights),
    )


def _find_artifact(
    source: Genotype | str | Path, registry: str | Path | Store | None, required: Required
) -> Artifact | None:
    if isinstance(source, Genotype) or (isinstance(source, str) and is_genotype_text(source)):
        return None
    run, path = source_run(source), expanded(source, "the source of the weights")
    for place in (path, *(() if run is None else (run / ARTIFACT_FOLDER,))):
        if is_directory(place) and is_file(place / MANIFEST):
            return read_artifact(place)
    if run is not None or isinstance(source, Path) or exists(path):
        return None
    store, reference = open_for(source, registry, require_signature=required)
    return store.pull(reference)
