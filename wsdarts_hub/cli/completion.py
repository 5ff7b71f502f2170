"""What a shell proposes for names and references, on the press of a key.

Directories alone are asked, never a network; what cannot be read proposes nothing.
"""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from wsdarts_registry.store import Store


def complete_name(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of the registry that begin so."""
    return _proposed(ctx, incomplete, exact=False, references=False)


def complete_reference(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names and aliases that begin so; behind an @ versions, too."""
    return _proposed(ctx, incomplete, exact=False)


def complete_exact_reference(ctx: typer.Context, incomplete: str) -> list[str]:
    """Versions that begin so, the yanked ones among them."""
    return _proposed(ctx, incomplete, exact=True)


def _proposed(
    ctx: typer.Context, incomplete: str, *, exact: bool, references: bool = True
) -> list[str]:
    from wsdarts_registry.errors import WsdartsError  # noqa: PLC0415
    from wsdarts_registry.zoo import REGISTRY_VARIABLE, open_registry  # noqa: PLC0415

    location = ctx.params.get("registry") or os.environ.get(REGISTRY_VARIABLE)
    if location and "://" in location:
        return []
    try:
        store = open_registry(location)
        name = incomplete.partition("@")[0]
        names = [known for known in store.names() if known.startswith(name)]
        if not references:
            return names
        behind = "@" in incomplete
        found = (r for known in names for r in _references(store, known, exact, behind))
        return [reference for reference in found if reference.startswith(incomplete)]
    except (WsdartsError, OSError):
        return []


def _references(store: "Store", name: str, exact: bool, behind: bool) -> Iterator[str]:
    versions = store.versions(name)
    if not exact and any(info.yanked is None for info in versions):
        yield name
    if not exact:
        hidden = {info.version for info in versions if info.yanked}
        for alias, version in sorted(store.aliases(name).items()):
            if version not in hidden:
                yield f"{name}@{alias}"
    if exact or behind:
        for info in versions:
            yield f"{name}@{info.version}"
