"""Commands about other words for versions: ``alias set``, ``alias remove``, ``alias list``."""

import json
from typing import Annotated

import typer

import wsdarts_hub as hub
from wsdarts_hub.cli import display, options

AliasArgument = Annotated[
    str,
    typer.Argument(
        metavar="ALIAS",
        help="The other word, such as stable: lower-case letters, digits and '-'.",
        show_default=False,
    ),
]


def set_alias(
    name: options.NameArgument,
    alias: AliasArgument,
    version: Annotated[
        int, typer.Argument(metavar="VERSION", min=1, help="What it means.", show_default=False)
    ],
    *,
    registry: options.RegistryOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Let NAME@ALIAS mean a version, whatever it meant before.

    Example:
        wsdarts-hub alias set images stable 3 --registry my-zoo

    Python:
        from wsdarts_hub import open_registry
        open_registry("my-zoo").set_alias("images", "stable", 3)
    """
    hub.open_registry(registry, writable=True).set_alias(name, alias, version)
    meaning = f"{name}@{alias}"
    display.line(meaning if quiet else f"{meaning} means {name}@{version}")


def remove_alias(
    name: options.NameArgument,
    alias: AliasArgument,
    *,
    registry: options.RegistryOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Let NAME@ALIAS mean nothing any more.

    Example:
        wsdarts-hub alias remove images stable --registry my-zoo

    Python:
        from wsdarts_hub import open_registry
        open_registry("my-zoo").remove_alias("images", "stable")
    """
    hub.open_registry(registry, writable=True).remove_alias(name, alias)
    meaning = f"{name}@{alias}"
    display.line(meaning if quiet else f"{meaning} means nothing any more")


def list_aliases(
    name: options.NameArgument,
    *,
    registry: options.RegistryOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """List the aliases of a name and what each means.

    Example:
        wsdarts-hub alias list images --registry my-zoo

    Python:
        from wsdarts_hub import open_registry
        print(open_registry("my-zoo").aliases("images"))
    """
    store = hub.open_registry(registry)
    versions = {info.version: info for info in store.versions(name)}
    if not versions:
        store.resolve(name)  # raises, and says which names are close
    aliases = dict(sorted(store.aliases(name).items()))
    if as_json:
        display.drawing(json.dumps(aliases, indent=2))
    elif quiet:
        for alias in aliases:
            display.line(f"{name}@{alias}")
    elif not aliases:
        display.line(
            f"{name} has no aliases; set one with `wsdarts-hub alias set {name} stable "
            f"{max(versions)}{store.option}`"
        )
    else:
        hidden = {number: info.yanked for number, info in versions.items()}
        rows = []
        for alias, version in aliases.items():
            yank = hidden.get(version)
            rows.append((alias, f"{name}@{version}", f"yanked: {yank.reason}" if yank else ""))
        display.table(("alias", "means", ""), rows)
