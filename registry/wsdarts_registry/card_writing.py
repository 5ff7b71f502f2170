"""What ``push`` adds to an artifact: the model card, and the picture that it shows."""

import warnings
from contextlib import suppress
from datetime import UTC, datetime

from wsdarts_registry.artifact import Artifact
from wsdarts_registry.card import render_card
from wsdarts_registry.card_facts import card_facts
from wsdarts_registry.catalogue import DAMAGE, Catalogue
from wsdarts_registry.drawing import genotype_svg
from wsdarts_registry.entry import Entry
from wsdarts_registry.errors import RegistryError, RegistryWarning
from wsdarts_registry.manifest import CARD, PICTURE, Manifest, same_but_for_card
from wsdarts_registry.neighbourhood import neighbourhood
from wsdarts_registry.reference import is_name
from wsdarts_registry.store import Store


def written_files(
    artifact: Artifact, manifest: Manifest, store: Store, name: str, version: int | None
) -> dict[str, bytes]:
    """The card and the picture for an artifact, by path.

    The card says what else was in the registry, and when. So that pushing a run once more finds
    what is there already, whatever was published since, a version with the same content lends
    its card.

    Args:
        artifact: What is about to be published.
        manifest: Its manifest, as it is to be.
        store: Where.
        name: Name to publish under.
        version: The version that was asked for; None for the next one.

    Raises:
        RegistryError: The registry cannot be asked.
    """
    store.settle(name)
    seen = _seen(store)
    twin = _twin(store, seen, manifest, name, version)
    if twin is not None:
        return {p: store.read(twin, p) for p in (CARD, PICTURE) if p in twin.manifest.files}
    return new_files(artifact, manifest, store, seen, name)


def new_files(
    artifact: Artifact, manifest: Manifest, store: Store, seen: Catalogue | None, name: str
) -> dict[str, bytes]:
    """Card and picture as they are written today; see ``written_files``.

    Args:
        artifact: What is about to be published.
        manifest: Its manifest, as it is to be.
        store: Where.
        seen: What that holds now; None if it cannot be had.
        name: Name to publish under.
    """
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    facts = card_facts(
        manifest,
        artifact.genotype,
        name=name,
        home=None if store.hub_id(name) is None else store.location,
        base_models=_base_models(store, manifest),
        neighbourhood=None if seen is None else neighbourhood(seen, name, artifact, day=day),
    )
    return {
        CARD: render_card(facts).encode(),
        PICTURE: genotype_svg(artifact.genotype).encode(),
    }


def _seen(store: Store) -> Catalogue | None:
    """What the registry holds; None where only single names can be asked for."""
    with warnings.catch_warnings(), suppress(RegistryError):
        # Pushing brings an index up to date that is behind, and says where that fails.
        warnings.simplefilter("ignore", RegistryWarning)
        return store.catalogue()
    return None


def _twin(
    store: Store, seen: Catalogue | None, manifest: Manifest, name: str, version: int | None
) -> Entry | None:
    """The published version that differs in nothing but what ``push`` writes."""
    twins = []
    # What was listed may lag behind the name itself.
    listed = {} if seen is None else {info.version: info.digest for info in seen.versions(name)}
    for info in store.versions(name):
        known = listed.get(info.version) == info.digest
        source: Catalogue = seen if seen is not None and known else store
        with suppress(*DAMAGE):  # so not the same
            entry = source.entry(name, info.version)
            if CARD in entry.manifest.files and same_but_for_card(entry.manifest, manifest):
                twins.append(entry)
    best = sorted(twins, key=lambda e: (e.version == version, e.yanked is None, e.version))
    return best[-1] if best else None


def _base_models(store: Store, manifest: Manifest) -> tuple[str, ...]:
    """Ids on the Hub of the artifacts that a search started from, where they are in a registry."""
    found = []
    for parent in manifest.lineage.parents:
        name = parent.reference.partition("@")[0]
        repository = store.hub_id(name) if is_name(name) else None
        if repository and any(info.digest == parent.digest for info in store.versions(name)):
            found.append(repository)
    return tuple(found)
