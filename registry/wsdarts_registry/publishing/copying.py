"""Copying published artifacts from one registry to another."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wsdarts_registry.artifact.reference import Reference
from wsdarts_registry.artifact.signing import signed_reference
from wsdarts_registry.errors import SignatureError
from wsdarts_registry.stores.opening import open_for, open_registry
from wsdarts_registry.stores.signature_policy import Required
from wsdarts_registry.stores.store import Entry, Store
from wsdarts_registry.stores.version_rules import published_version

SignatureFate = Literal["none", "copied", "there already", "another one there", "another name"]


@dataclass(frozen=True, kw_only=True)
class Copied:
    """What became of a copy.

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
            signed = signed_reference(signature, what=str(entry.reference))
        except SignatureError:
            signed = None  # copied as it is: whoever verifies it will hear what is wrong
        if signed not in (None, entry.reference):
            return "another name"
        target.write_signature(entry.name, entry.version, signature)
        return "copied"
