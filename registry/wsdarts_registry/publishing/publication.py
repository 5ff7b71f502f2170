"""Push, sign, pull and copy artifacts.

``push`` adds the model card, and the picture that the card shows, to what a run wrote.
"""

import logging
import warnings
from collections.abc import Callable, Sequence
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
    Parent,
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
    VersionConflictError,
)
from wsdarts_registry.publishing._card import CardFacts, neighbourhood, render_card
from wsdarts_registry.publishing.training_record import RUN_ARTIFACT, with_training
from wsdarts_registry.stores.catalogue import DAMAGE, Catalogue
from wsdarts_registry.stores.opening import open_for, open_registry, shipped_version
from wsdarts_registry.stores.records import Entry
from wsdarts_registry.stores.signature_policy import Required, SignaturePolicy
from wsdarts_registry.stores.store import Store, published_version

_log = logging.getLogger("wsdarts_hub.push")
SignatureFate = Literal["none", "copied", "there already", "another one there", "another name"]


@dataclass(frozen=True, kw_only=True)
class Published:
    """Outcome of a push.

    Attributes:
        entry: The new version, or the one that has this content already, card and picture apart.
        inherited: Which of ``"licence"`` and ``"description"`` are as in an earlier version.
        inherited_from: That version; None where neither is.
        training: Run directory of the training whose accuracy went along; None without one.
    """

    entry: Entry
    inherited: tuple[str, ...]
    inherited_from: Entry | None
    training: Path | None

    @property
    def note(self) -> str | None:
        """The inheritance in words; None where there is none, or nothing new was published."""
        if self.inherited_from is None or self.inherited_from.reference == self.entry.reference:
            return None
        return f"{' and '.join(self.inherited)} as in {self.inherited_from.reference}"


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

    A licence or a description that is neither given nor stated by the artifact itself is that of
    the name's latest version that was not yanked. An artifact that was started from another with
    another licence is published with a RegistryWarning.

    Args:
        run: A run directory of a search or warm start, or an artifact directory.
        name: Name to publish under.
        registry: Directory of a registry, made if it is missing, or ``hf://OWNER``; by default
            what the environment variable WSDARTS_HUB_REGISTRY names.
        version: Exact version; the next one by default.
        license: Licence of the artifact, such as ``"cc-by-nc-4.0"``; ``""`` for none.
        description: A few words for the card; ``""`` for none.
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
    return publish_run(
        run,
        name,
        registry=registry,
        version=version,
        license=license,
        description=description,
        sign=sign,
        training=training,
    ).entry


def publish_run(
    run: str | Path,
    name: str,
    *,
    registry: str | Path | Store | None = None,
    version: int | None = None,
    license: str | None = None,  # noqa: A002
    description: str | None = None,
    sign: str | Path | None = None,
    training: str | Path | None = None,
) -> Published:
    """Publish as ``push`` does; return what went along, too. See ``push`` for the arguments."""
    Reference(name=name, version=version)
    if sign is not None:
        _signing().check_key(sign)
    place = as_path(run, "the run")
    chosen = None if training is None else as_path(training, "the training")
    directory = _artifact_directory(place)
    store = open_registry(registry, create=True)
    artifact = read_artifact(directory, unhashed=HEAVY)
    measured, used = with_training(artifact.manifest, artifact.genotype, place, chosen)
    store.finish_push(name)
    seen = _catalogue(store)
    versions = _readable_versions(store, seen, name)
    manifest, inherited, source = _with_terms(measured, license, description, versions)
    _warn_of_other_licences(manifest, store, seen)
    same = _same(versions, manifest, version)
    if same is None:
        files = new_card_files(artifact, manifest, store, seen, name)
    else:  # its card is kept, so that pushing a run once more adds nothing
        files = {p: store.read(same, p) for p in (CARD, PICTURE) if p in same.manifest.files}
    entry = store.publish(Edition.changed(artifact, manifest, files), name, version)
    if sign is not None:
        entry = sign_version(entry.reference, key=sign, registry=store)
    done = Published(entry=entry, inherited=inherited, inherited_from=source, training=used)
    if done.note:
        _log.info("%s: %s", entry.reference, done.note)
    return done


def _with_terms(
    manifest: Manifest, licence: str | None, description: str | None, versions: Sequence[Entry]
) -> tuple[Manifest, tuple[str, ...], Entry | None]:
    """Return a manifest with licence and description; what is inherited, and the version it is of.

    Args:
        manifest: Of the artifact.
        licence: The licence that was given.
        description: The description that was given.
        versions: Versions of the name, ascending.
    """
    latest = next((entry for entry in reversed(versions) if entry.yanked is None), None)
    changes, inherited = {}, []
    for key, word, given in (
        ("license", "licence", licence),
        ("description", "description", description),
    ):
        value = getattr(manifest, key) if given is None else given
        if given is None and not value and latest is not None:
            value = getattr(latest.manifest, key)
            inherited += [word] if value else []
        changes[key] = value
    return manifest.model_copy(update=changes), tuple(inherited), latest if inherited else None


def _warn_of_other_licences(manifest: Manifest, store: Store, seen: Catalogue | None) -> None:
    """Warn where a parent states another licence.

    Parents are looked up in the shipped zoo and in what was read of the registry already.
    """
    if not manifest.license:
        return
    for parent in manifest.lineage.parents:
        entry = shipped_version(parent.digest) or _seen_parent(store, seen, parent)
        theirs = "" if entry is None else entry.manifest.license
        if theirs and theirs.casefold() != manifest.license.casefold():
            warnings.warn(
                f"the licence is {manifest.license}, and that of {parent.reference}, which the "
                f"search started from, is {theirs}",
                RegistryWarning,
                stacklevel=4,
            )


def _seen_parent(store: Store, seen: Catalogue | None, parent: Parent) -> Entry | None:
    name = parent.reference.partition("@")[0]
    if seen is None or not is_name(name):
        return None
    if store.hub_id(name) is not None and seen.is_first_hand(name):
        return None  # its manifest is not in the index, and would have to be fetched
    for info in seen.versions(name):
        if info.digest == parent.digest:
            with suppress(*DAMAGE):
                return seen.entry(name, info.version)
    return None


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
        version: Exact version. By default its own number where the name stays and that is free
            there, so that references and a signature go on to fit; else the next one.
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
    keeps = version is None and known is None and wanted.name == source.name
    entry = _publish_copy(artifact.directory, target, wanted, source.version if keeps else None)
    fate = _copy_signature(store.signature(source.name, source.version), target, entry)
    return Copied(
        source=source,
        entry=target.entry(entry.name, entry.version),
        made=known is None,
        signature=fate,
    )


def _publish_copy(
    directory: Path, target: Store, wanted: Reference, preferred: int | None
) -> Entry:
    """Publish under the preferred number if that is free; else as is wanted."""
    taken = {info.version for info in target.versions(wanted.name)} if preferred else set()
    if preferred is not None and preferred not in taken:
        with suppress(VersionConflictError):  # another process was faster
            return target.publish(directory, wanted.name, preferred)
    return target.publish(directory, wanted.name, wanted.version)


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


def new_card_files(
    artifact: Artifact, manifest: Manifest, store: Store, seen: Catalogue | None, name: str
) -> dict[str, bytes]:
    """Return the card and the picture for an artifact, by path.

    The card names what else was in the registry, and when.

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


def _readable_versions(store: Store, seen: Catalogue | None, name: str) -> list[Entry]:
    """Return the versions of a name that are not damaged, ascending."""
    found = []
    # What was listed may lag behind the name itself.
    listed = {} if seen is None else {info.version: info.digest for info in seen.versions(name)}
    for info in store.versions(name):
        known = listed.get(info.version) == info.digest
        source: Catalogue = seen if seen is not None and known else store
        with suppress(*DAMAGE):
            found.append(source.entry(name, info.version))
    return found


def _same(versions: Sequence[Entry], manifest: Manifest, version: int | None) -> Entry | None:
    """Return the published version that differs in nothing but what ``push`` writes."""
    same = [
        entry
        for entry in versions
        if CARD in entry.manifest.files and same_but_for_card(entry.manifest, manifest)
    ]
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
