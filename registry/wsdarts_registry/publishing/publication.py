"""Push, sign, pull and copy artifacts.

``push`` adds the model card, and the picture that the card shows, to what a run wrote.
"""

import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Literal

from wsdarts_registry._files import as_path, exists, is_file
from wsdarts_registry.artifact.manifest import (
    CARD,
    MANIFEST,
    PICTURE,
    Manifest,
    same_but_for_card,
)
from wsdarts_registry.artifact.reader import HEAVY, Artifact, read_artifact
from wsdarts_registry.artifact.reference import Reference, is_name
from wsdarts_registry.artifact.writer import Edition
from wsdarts_registry.drawing.cells import genotype_svg
from wsdarts_registry.errors import (
    ArtifactError,
    CacheError,
    RegistryError,
    RegistryWarning,
    SignatureError,
)
from wsdarts_registry.publishing._neighbours import neighbourhood
from wsdarts_registry.publishing.card import CardFacts, render_card
from wsdarts_registry.publishing.training_record import RUN_ARTIFACT, with_training
from wsdarts_registry.stores.catalogue import DAMAGE, Catalogue
from wsdarts_registry.stores.opening import open_for, open_registry
from wsdarts_registry.stores.records import Entry
from wsdarts_registry.stores.signature_policy import Required, SignaturePolicy
from wsdarts_registry.stores.store import Store, published_version

SignatureFate = Literal["none", "copied", "there already", "another one there", "another name"]


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
    files = card_files(artifact, manifest, store, name, version)
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
    store.set_signature(entry.name, entry.version, signature)
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


@dataclass(frozen=True, kw_only=True)
class Copied:
    """Outcome of a copy.

    Attributes:
        source: The version that was copied.
        entry: The version that has its content now, with the same digest.
        made: Whether it was copied now; False if the content was there already.
        signature: Whether the source has a ``"none"``, or it was ``"copied"``, ``"there
            already"``, or not copied since there is ``"another one there"`` or since it is of
            ``"another name"`` or version than the copy has.
    """

    source: Entry
    entry: Entry
    made: bool
    signature: SignatureFate


def copy(
    reference: str,
    to: str | Path | Store,
    *,
    registry: str | Path | Store | None = None,
    name: str | None = None,
    version: int | None = None,
    require_signature: Required = None,
) -> Copied:
    """Copy an artifact to another registry; its digest stays the same.

    A signature travels with it where it fits: one that says which version it is of fits no other
    name or version, which has to be signed again. Aliases and whether it was yanked do not: those
    are what a registry says about its own versions. Copying what is there already changes nothing,
    but a signature that is missing there is added.

    Args:
        reference: ``NAME``, ``NAME@3``, ``NAME@stable`` or ``NAME@sha256:…``. A yanked version is
            copied only if it is named by its version or digest.
        to: Registry to copy to, a directory is made if it is missing.
        registry: Registry to copy from; the shipped zoo by default.
        name: Name to publish under; its own by default.
        version: Exact version; the next one by default.
        require_signature: Files of public keys, one of which has to have signed the version that
            is copied, or a ``SignaturePolicy``; by default the user's own policy decides.

    Raises:
        SignatureError: It is not signed as is required.
        ReferenceNotFoundError: There is no such artifact, or all that fit are yanked.
        ArtifactError: It is damaged.
        VersionConflictError: The version exists there with other content, or the content as
            another version.
        RegistryError: A registry cannot be read or written, or the content was yanked there.
    """
    store, within = open_for(reference, registry, require_signature=require_signature)
    source = store.resolve(within)
    wanted = Reference(name=source.name if name is None else name, version=version)
    artifact = store.pull(Reference(name=source.name, digest=source.digest))
    target = open_registry(to, create=True)
    known = published_version(target, wanted.name, version, source.digest)
    entry = target.publish(artifact.directory, wanted.name, version)
    fate = _copy_signature(store.signature(source.name, source.version), target, entry)
    return Copied(
        source=source,
        entry=target.entry(entry.name, entry.version),
        made=known is None,
        signature=fate,
    )


def _copy_signature(signature: bytes | None, target: Store, entry: Entry) -> SignatureFate:
    if signature is None:
        return "none"
    with target.changing():
        known = target.signature(entry.name, entry.version)
        if known is not None:
            return "there already" if known == signature else "another one there"
        try:
            signed = _signing().signed_reference(signature, what=str(entry.reference))
        except SignatureError:
            signed = None  # copied as it is: its verification says what is wrong
        if signed not in (None, entry.reference):
            return "another name"
        target.set_signature(entry.name, entry.version, signature)
        return "copied"


def _signing() -> ModuleType:
    # Imported here: only who signs or asks for a signature needs it.
    from wsdarts_registry.artifact import signing  # noqa: PLC0415

    return signing


def _artifact_directory(run: Path) -> Path:
    for candidate in (run / RUN_ARTIFACT, run):
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


def card_files(
    artifact: Artifact, manifest: Manifest, store: Store, name: str, version: int | None
) -> dict[str, bytes]:
    """Return the card and the picture for an artifact, by path.

    The card names what else was in the registry, and when. A published version with the same
    content lends its card, so that pushing a run once more is idempotent.

    Args:
        artifact: What is about to be published.
        manifest: Its manifest, as it is to be.
        store: Where.
        name: Name to publish under.
        version: The version that was asked for; None for the next one.

    Raises:
        RegistryError: The registry cannot be asked.
    """
    store.finish_push(name)
    seen = _catalogue(store)
    same = _same_content(store, seen, manifest, name, version)
    if same is not None:
        return {p: store.read(same, p) for p in (CARD, PICTURE) if p in same.manifest.files}
    return new_card_files(artifact, manifest, store, seen, name)


def new_card_files(
    artifact: Artifact, manifest: Manifest, store: Store, seen: Catalogue | None, name: str
) -> dict[str, bytes]:
    """Return card and picture as they are written today; see ``card_files``.

    Args:
        artifact: What is about to be published.
        manifest: Its manifest, as it is to be.
        store: Where.
        seen: What that holds now; None if it cannot be had.
        name: Name to publish under.
    """
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    facts = CardFacts(
        manifest=manifest,
        genotype=artifact.genotype,
        name=name,
        home=None if store.hub_id(name) is None else store.location,
        base_models=_base_models(store, manifest),
        neighbourhood=None if seen is None else neighbourhood(seen, name, artifact, day=day),
    )
    return {
        CARD: render_card(facts).encode(),
        PICTURE: genotype_svg(artifact.genotype).encode(),
    }


def _catalogue(store: Store) -> Catalogue | None:
    """Return the catalogue of the registry; None if only single names can be read."""
    with warnings.catch_warnings():
        # Pushing brings an index up to date that is behind, and says where that fails.
        warnings.simplefilter("ignore", RegistryWarning)
        try:
            return store.catalogue()
        except CacheError:
            raise
        except RegistryError:
            return None


def _same_content(
    store: Store, seen: Catalogue | None, manifest: Manifest, name: str, version: int | None
) -> Entry | None:
    """Return the published version that differs in nothing but what ``push`` writes."""
    same = []
    # What was listed may lag behind the name itself.
    listed = {} if seen is None else {info.version: info.digest for info in seen.versions(name)}
    for info in store.versions(name):
        known = listed.get(info.version) == info.digest
        source: Catalogue = seen if seen is not None and known else store
        with suppress(*DAMAGE):  # so not the same
            entry = source.entry(name, info.version)
            if CARD in entry.manifest.files and same_but_for_card(entry.manifest, manifest):
                same.append(entry)
    best = sorted(same, key=lambda e: (e.version == version, e.yanked is None, e.version))
    return best[-1] if best else None


def _base_models(store: Store, manifest: Manifest) -> tuple[str, ...]:
    """Return the ids on the Hub of the artifacts that a search started from, if they have any."""
    found = []
    for parent in manifest.lineage.parents:
        name = parent.reference.partition("@")[0]
        repository = store.hub_id(name) if is_name(name) else None
        if repository and any(info.digest == parent.digest for info in store.versions(name)):
            found.append(repository)
    return tuple(found)
