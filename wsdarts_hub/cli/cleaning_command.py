"""The command ``gc``."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

import wsdarts_hub as hub
from wsdarts_hub.cli import display, options
from wsdarts_registry.amounts import count, several, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsdarts_registry.cleaning import Cleaning, Unused

_WHY = {"old": "not used", "interrupted": "left by a killed process"}


def gc(
    *,
    older_than: Annotated[
        str,
        typer.Option(
            metavar="AGE", help="How long a file must not have been used: 30d, 12h or 90m."
        ),
    ] = "30d",
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete it. Without this it is only listed.")
    ] = False,
    registry: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Look into this registry, too, for pushes that were killed.",
            show_default=False,
        ),
    ] = None,
    unlocked: Annotated[
        bool,
        typer.Option(
            "--unlocked",
            help="Count what has no lock as left by a killed process. Only while nobody pushes.",
        ),
    ] = False,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """List what can be deleted from the cache, or delete it.

    That is what was neither read nor written for so long, and what processes left that were
    killed a day ago or earlier. Everything there is made again when it is needed. What a living
    process has open or locked stays, and so do downloaded datasets and files of others; links are
    not followed. Of what has no lock (on file systems without locks, and in a registry where
    earlier versions pushed) nothing tells whether somebody still works there: that goes with
    --unlocked.

    Example:
        wsdarts-hub gc --older-than 30d --delete

    Python:
        from wsdarts_hub import clean_cache
        print(clean_cache(older_than="30d", delete=True).size)
    """
    cleaning = hub.clean_cache(
        older_than=older_than, delete=delete, registry=registry, unlocked=unlocked
    )
    if as_json:
        display.drawing(json.dumps(cleaning.to_json(), indent=2))
    elif quiet:
        for unused in cleaning.found:
            display.line(str(unused.path))
    else:
        _show(cleaning)


def _show(cleaning: "Cleaning") -> None:
    if not cleaning.found:
        display.line(f"nothing to delete in {cleaning.directory}")
    else:
        groups: dict[tuple[str, str], list[Unused]] = {}
        for unused in cleaning.found:
            groups.setdefault((unused.what, _WHY[unused.why]), []).append(unused)
        display.table(
            ("what", "why", "files", "size"),
            [(*group, count(len(of)), size(_total(of))) for group, of in groups.items()],
            right=("files", "size"),
        )
        total = size(cleaning.size)
        display.line(
            f"deleted {total} from {cleaning.directory}"
            if cleaning.deleted
            else f"{total} in {cleaning.directory}; delete it with --delete"
        )
    if cleaning.held:
        display.line(
            f"kept, since a process has it open: {several(len(cleaning.held), 'file')}, "
            f"{size(_total(cleaning.held))}"
        )
    if cleaning.unlocked:
        display.line(
            "kept, since no lock tells whether somebody works there: "
            f"{several(len(cleaning.unlocked), 'file')}, {size(_total(cleaning.unlocked))}; while "
            "nobody does, add --unlocked"
        )


def _total(unused: "Sequence[Unused]") -> int:
    return sum(file.size for file in unused)
