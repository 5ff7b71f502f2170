"""Weights of a trained supernet, from the run or the artifact that a genotype came from."""

from pathlib import Path

from wsdarts_registry._files import exists, expanded, is_directory, is_file
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.artifact.manifest import MANIFEST
from wsdarts_registry.artifact.reader import Artifact, read_artifact
from wsdarts_registry.errors import SettingsError
from wsdarts_registry.stores.opening import open_for
from wsdarts_registry.stores.signature_policy import Required
from wsdarts_registry.stores.store import Store
from wsdarts_sdk.artifacts.check import artifact_weights, run_check
from wsdarts_sdk.models.inheritance import SupernetWeights
from wsdarts_sdk.models.loading import is_genotype_text, source_run
from wsdarts_sdk.runs.file_names import ARTIFACT_FOLDER

_RANDOM = "train from random weights (training.weights=random)"


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
