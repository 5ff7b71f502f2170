"""Publishing a run's artifact under a name, and pulling artifacts."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from wsdarts_registry._files import as_path, exists, is_file
from wsdarts_registry.artifact.manifest import MANIFEST
from wsdarts_registry.artifact.reader import HEAVY, Artifact, read_artifact
from wsdarts_registry.artifact.reference import Reference
from wsdarts_registry.artifact.writer import Edition
from wsdarts_registry.errors import ArtifactError
from wsdarts_registry.publishing.card import written_files
from wsdarts_registry.publishing.training import with_training
from wsdarts_registry.stores.opening import open_for, open_registry
from wsdarts_registry.stores.signature_policy import Required, SignaturePolicy
from wsdarts_registry.stores.store import Entry, Store

_ARTIFACT = "artifact"


def push(
    run: str | Path,
    name: str,
    *,
    registry: str | Path | Store | None = None,
    version: int | None = None,
    license: str | None = None,  # noqa: A002
    description: str | None = None,
    sign: str | Path | None = None,
    training: str | Path | None = None,
) -> Entry:
    """Publish a finished run, or an artifact directory, as a new version of a name.

    The model card is written with that name, and a picture of the cells for it; everything else
    stays as the run wrote it. The card names what is nearest in the registry now. Where a
    training of the found cells is finished, its accuracy goes along: the run knows those that
    were made from it, wherever they lie. Of several it is the one that finished last.

    Args:
        run: A run directory of a search or warm start, or an artifact directory.
        name: Name to publish under.
        registry: Directory of a registry, made if it is missing, or ``hf://OWNER``; by default
            what the environment variable WSDARTS_HUB_REGISTRY names.
        version: Exact version; the next one by default.
        license: Licence of the artifact, such as ``"cc-by-nc-4.0"``; kept as it is by default.
        description: A few words for the card; kept as they are by default.
        sign: File of a private key to sign it with; not signed by default.
        training: Run directory of the training whose accuracy goes along; by default the last one
            that the run knows of.

    Returns:
        The new version, or the one that has this content already, card and picture apart.

    Raises:
        ArtifactError: The run is not finished, or its artifact is damaged.
        RunError: The training is not finished, or is of other cells or another task.
        VersionConflictError: The version exists with other content.
        RegistryError: The registry cannot be written.
        SignatureError: The key cannot sign; nothing was published.
    """
    Reference(name=name, version=version)
    if sign is not None:
        _signing().check_key(sign)
    place = as_path(run, "the run")
    chosen = None if training is None else as_path(training, "the training")
    directory = _artifact_directory(place)
    store = open_registry(registry, create=True)
    artifact = read_artifact(directory, unhashed=HEAVY)
    manifest = with_training(artifact.manifest, artifact.genotype, place, chosen)
    manifest = manifest.model_copy(
        update={
            "license": manifest.license if license is None else license,
            "description": manifest.description if description is None else description,
        }
    )
    files = written_files(artifact, manifest, store, name, version)
    entry = store.publish(Edition.changed(artifact, manifest, files), name, version)
    return entry if sign is None else sign_version(entry.reference, key=sign, registry=store)


def sign_version(
    reference: str | Reference,
    *,
    key: str | Path,
    registry: str | Path | Store | None = None,
) -> Entry:
    """Sign a published version; a signature that it has already is replaced.

    The signature says that this name and version has this content; it fits no other.

    Args:
        reference: ``NAME``, ``NAME@3``, ``NAME@stable`` or ``NAME@sha256:…``.
        key: File of a private key, as ``wsdarts-hub keygen`` makes it; it stays where it is.
        registry: Directory of a registry.

    Returns:
        The version, signed.

    Raises:
        ReferenceNotFoundError: There is no such version.
        ArtifactError: It is damaged.
        SignatureError: The key cannot sign, or the package cryptography is missing.
        RegistryError: The registry cannot be written.
    """
    signing = _signing()
    signing.check_key(key)
    unsigned = SignaturePolicy.of_nothing()
    store, within = open_for(str(reference), registry, writable=True, require_signature=unsigned)
    entry = store.resolve(within)
    artifact = store.pull(entry.reference)
    signature = signing.make_signature(artifact, entry.reference, key)
    store.write_signature(entry.name, entry.version, signature)
    return store.entry(entry.name, entry.version)


def pull(
    reference: str,
    *,
    registry: str | Path | Store | None = None,
    out: str | Path | None = None,
    require_signature: Required = None,
    accept: Callable[[Artifact], object] | None = None,
) -> Artifact:
    """Fetch and verify an artifact.

    Args:
        reference: ``NAME``, ``NAME@3``, ``NAME@stable`` or ``NAME@sha256:…``; or one of these with
            its registry on the Hugging Face Hub, ``hf://OWNER/NAME@3``.
        registry: Directory of a registry or ``hf://OWNER``; the shipped zoo by default.
        out: A new or empty directory to put it into; None reads it in place, or in the cache.
        require_signature: Files of public keys, one of which has to have signed this version, or
            a ``SignaturePolicy``; by default the user's own policy decides.
        accept: Looks at the verified artifact before it is put anywhere, and raises a
            WsdartsError if it is not to be used.

    Raises:
        ReferenceNotFoundError: There is no such artifact.
        ArtifactError: It is damaged.
        SignatureError: It is not signed as is required.
        RegistryError: The registry cannot be read, or ``out`` is not empty.
    """
    store, within = open_for(reference, registry, require_signature=require_signature)
    target = None if out is None else as_path(out, "out")
    if accept is None:
        return store.pull(within, target)
    entry = store.resolve(within)
    artifact = store.pull(entry.reference)
    accept(artifact)
    if target is None:
        return artifact
    # By digest: what is put there is what was accepted, whatever happened in between.
    exact = Reference(name=entry.name, digest=artifact.digest)
    return store.pull(exact, target)


def _signing() -> ModuleType:
    # Imported here: only who signs or asks for a signature needs it.
    from wsdarts_registry.artifact import signing  # noqa: PLC0415

    return signing


def _artifact_directory(run: Path) -> Path:
    for candidate in (run / _ARTIFACT, run):
        if is_file(candidate / MANIFEST):
            return candidate
    if not exists(run):
        raise ArtifactError(
            f"{run} does not exist", expected="the --out of a `wsdarts-hub search` or `warm-start`"
        )
    raise ArtifactError(
        f"{run} has no artifact to publish",
        hint=(
            "finish the search with --resume, or name a run directory of `wsdarts-hub search` or "
            "`warm-start`"
        ),
    )
