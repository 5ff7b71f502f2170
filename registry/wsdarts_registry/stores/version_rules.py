"""What happens to a version after it was published: hidden, restored, called by another name.

The content of a version never changes; what is written here stands beside it. The rules are the
same in every store, and each store says where the records lie.
"""

from pydantic import ValidationError

from wsdarts_registry._json import explain, now
from wsdarts_registry.artifact.reference import Reference, check_alias
from wsdarts_registry.errors import RegistryError, VersionConflictError
from wsdarts_registry.stores.catalogue import Catalogue
from wsdarts_registry.stores.records import Alias, Lift, VersionInfo, Yank


def new_yank(store: Catalogue, reference: Reference, reason: str) -> tuple[int, Yank]:
    """The version to hide and its record; see ``Store.yank``."""
    info = _exact(store, reference, "hide")
    if info.yanked is not None:
        raise RegistryError(
            f"{reference} was yanked already, on {info.yanked.when}: {info.yanked.reason}"
        )
    try:
        return info.version, Yank(reason=reason, when=now())
    except ValidationError as problem:
        raise RegistryError(f"the reason is not allowed: {explain(problem)}") from problem


def lifted_yank(store: Catalogue, reference: Reference, reason: str) -> tuple[int, Yank]:
    """The version to restore and its record; see ``Store.unyank``."""
    info = _exact(store, reference, "restore")
    if info.yanked is None:
        raise RegistryError(f"{reference} is not yanked", hint="there is nothing to take back")
    try:
        lift = Lift(reason=reason, when=now())
    except ValidationError as problem:
        raise RegistryError(f"the reason is not allowed: {explain(problem)}") from problem
    return info.version, info.yanked.model_copy(update={"lifted": lift})


def new_alias(store: Catalogue, name: str, alias: str, version: int) -> Alias:
    """The record of an alias; see ``Store.set_alias``."""
    check_alias(alias)
    info = store.find(Reference(name=name, version=version))
    if info.yanked is not None:
        raise RegistryError(
            f"{name}@{version} was yanked ({info.yanked.reason})", hint="name a version that is not"
        )
    return Alias(version=version, when=now())


def published_version(store: Catalogue, name: str, version: int | None, digest: str) -> int | None:
    """The version that has a content already, if any.

    Args:
        store: The registry.
        name: Name to publish under.
        version: The version that is asked for; None for the next one.
        digest: Of the content.

    Raises:
        VersionConflictError: The version has other content, or another version this one.
        RegistryError: The content was yanked.
    """
    for info in store.versions(name):
        reference = f"{name}@{info.version}"
        if info.version == version and info.digest != digest:
            raise VersionConflictError(
                (f"{reference} exists with digest {info.digest}, and what is pushed has {digest}"),
                hint="versions are write-once: leave the version out to take the next",
            )
        if info.digest != digest:
            continue
        if info.yanked is not None:
            raise RegistryError(
                f"this content is {reference}, which was yanked ({info.yanked.reason})",
                hint=(
                    "publish a corrected artifact, or restore it with `wsdarts-hub unyank "
                    f"{reference} --reason REASON{store.option}`"
                ),
            )
        if version not in (None, info.version):
            raise VersionConflictError(
                f"this content ({digest}) is {reference} already",
                expected=f"new content for version {version}: use {reference}",
            )
        return info.version
    return None


def _exact(store: Catalogue, reference: Reference, what: str) -> VersionInfo:
    if not reference.is_exact:
        raise RegistryError(
            f"{reference} is not exact",
            hint=f"name the version to {what}, such as {reference.name}@1",
        )
    return store.find(reference)
