"""The command ``lineage``."""

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

import wsdarts_hub as hub
from wsdarts_hub.cli import display, options

if TYPE_CHECKING:
    from wsdarts_registry.lineage import Family, Relative

_DEPTH = 10
_DIGITS = 19  # "sha256:" and as many digits as a reference needs
_OMITTED = {"deeper": "more with a larger --depth", "above": "see above"}


def lineage(
    reference: options.ReferenceArgument,
    *,
    registry: options.RegistryOption = None,
    depth: Annotated[
        int, typer.Option(min=1, max=100, metavar="N", help="How many generations to follow.")
    ] = _DEPTH,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Show what an artifact started from, and what started from it.

    Parents are found by their digest, whatever they are called in this registry; of one that is
    not in it the name is what its child calls it.

    Example:
        wsdarts-hub lineage images@2 --registry my-zoo

    Python:
        from wsdarts_hub import lineage
        for parent in lineage("images@2", registry="my-zoo").parents:
            print(parent.reference, parent.digest)
    """
    family = hub.lineage(reference, registry=registry, depth=depth)
    if as_json:
        display.drawing(json.dumps(family.to_json(), indent=2))
    elif quiet:
        for what, relatives in (("ancestor", family.parents), ("descendant", family.children)):
            for relative in _all(relatives):
                display.line(f"{what} {relative.reference} {relative.digest}")
    else:
        _show(family)


def _show(family: "Family") -> None:
    mode, reference = family.entry.manifest.lineage.mode, str(family.entry.reference)
    display.title(f"{reference}  {family.entry.digest[:_DIGITS]}")
    if family.parents:
        display.line(f"started ({mode}) from")
        _show_tree(family.parents, "")
    else:
        display.line(f"started from no other artifact ({mode})")
    if family.children:
        display.line("and was the start of")
        _show_tree(family.children, "")
    else:
        display.line("no artifact of this registry was started from it")


def _show_tree(relatives: "Sequence[Relative]", indent: str) -> None:
    for relative in relatives:
        last = relative is relatives[-1]
        below = indent + ("   " if last else "│  ")
        first = indent + ("└─ " if last else "├─ ")
        further = below + ("│  " if relative.relatives else "   ")
        display.branch(_described(relative), first=first, further=further)
        _show_tree(relative.relatives, below)


def _described(relative: "Relative") -> str:
    name = f"{relative.reference}  {relative.digest[:_DIGITS]}"
    if not relative.entries and relative.damaged:
        versions = ", ".join(str(version.reference) for version in relative.damaged)
        return f"{name}  {relative.damaged[0].word} ({versions})"
    if not relative.entries:
        return f"{name}  not in this registry"
    said = [name, relative.mode or ""]
    also = [str(e.reference) for e in relative.entries if str(e.reference) != relative.reference]
    if also:
        said.append(f"also {', '.join(also)}")
    yank = relative.entries[0].yanked
    if yank:
        said.append(f"yanked: {yank.reason}")
    if relative.omitted:
        said.append(f"({_OMITTED[relative.omitted]})")
    return "  ".join(said)


def _all(relatives: "Sequence[Relative]") -> "Iterator[Relative]":
    for relative in relatives:
        yield relative
        yield from _all(relative.relatives)
