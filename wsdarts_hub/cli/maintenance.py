"""Commands that maintain a registry and this installation.

``alias``, ``index rebuild``, ``accept``, ``gc`` and ``doctor``.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

import wsdarts_hub as hub
from wsdarts_hub.cli.shared import display, options
from wsdarts_registry._format import count, pluralize, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsdarts_registry.stores.cache import CacheEntry, Cleaning

AliasArgument = Annotated[
    str,
    typer.Argument(
        metavar="ALIAS",
        help="The alias, such as stable: lower-case letters, digits and '-'.",
        show_default=False,
    ),
]


def set_alias(
    name: options.NameArgument,
    alias: AliasArgument,
    version: Annotated[
        int, typer.Argument(metavar="VERSION", min=1, help="Its version.", show_default=False)
    ],
    *,
    registry: options.RegistryOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Let NAME@ALIAS name a version; an existing alias is changed.

    JSON:
        name: name of the artifact
        alias: the alias
        version: its version

    Example:
        wsdarts-hub alias set images stable 3 --registry my-zoo

    Python:
        from wsdarts_hub import open_registry
        open_registry("my-zoo").set_alias("images", "stable", 3)
    """
    hub.open_registry(registry, writable=True).set_alias(name, alias, version)
    if as_json:
        display.json_data({"name": name, "alias": alias, "version": version})
        return
    meaning = f"{name}@{alias}"
    display.line(meaning if quiet else f"{meaning} means {name}@{version}")


def remove_alias(
    name: options.NameArgument,
    alias: AliasArgument,
    *,
    registry: options.RegistryOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Remove the alias NAME@ALIAS.

    JSON:
        name: name of the artifact
        alias: the removed alias

    Example:
        wsdarts-hub alias remove images stable --registry my-zoo

    Python:
        from wsdarts_hub import open_registry
        open_registry("my-zoo").remove_alias("images", "stable")
    """
    hub.open_registry(registry, writable=True).remove_alias(name, alias)
    if as_json:
        display.json_data({"name": name, "alias": alias})
        return
    meaning = f"{name}@{alias}"
    display.line(meaning if quiet else f"{meaning} means nothing any more")


def list_aliases(
    name: options.NameArgument,
    *,
    registry: options.RegistryOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """List the aliases of a name with their versions.

    JSON:
        ALIAS: the number of its version

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
        display.json_data(aliases)
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


def rebuild_index(
    *,
    registry: Annotated[
        str,
        options.value_option("hf://OWNER", "A user or an organisation on the Hugging Face Hub."),
    ],
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Rebuild the index of a registry on the Hub.

    The index is made from the artifacts themselves, and interrupted pushes are finished. Every
    push updates the index, so this is only needed after a push failed to do so.

    JSON:
        registry: the argument
        names: the names in the index

    Example:
        wsdarts-hub index rebuild --registry hf://lab

    Python:
        from wsdarts_hub import open_registry
        print(open_registry("hf://lab").rebuild_index())
    """
    names = hub.open_registry(registry, writable=True).rebuild_index()
    if as_json:
        display.json_data({"registry": registry, "names": list(names)})
    elif quiet:
        for name in names:
            display.line(name)
    else:
        display.line(f"the index of {registry} is new: {pluralize(len(names), 'name')}")


def accept(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Name of an artifact; all of the registry by default.",
            show_default=False,
            autocompletion=options.complete_name,
        ),
    ] = None,
    *,
    registry: options.RegistryOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Accept that a registry shows an older state than before.

    Of each registry the newest state is remembered: versions, digests, yanks, signatures and
    aliases. A registry that shows less causes a warning, and an artifact that replaces another
    under the same version, or whose yank or signature went back, is refused. If the owner did so
    on purpose, this takes the present state as the newest.

    JSON:
        registry: location of the registry
        accepted: what was older, in words

    Example:
        wsdarts-hub accept images --registry my-zoo

    Python:
        from wsdarts_hub import open_registry
        print(open_registry("my-zoo").accept_state("images"))
    """
    store = hub.open_registry(registry)
    accepted = store.accept_state(name)
    if as_json:
        display.json_data({"registry": store.location, "accepted": list(accepted)})
        return
    for text in accepted:
        display.line(text if quiet else f"accepted: {text}")
    if not accepted and not quiet:
        display.line(f"{store.location} shows nothing that is older than before")


_WHY = {"old": "not used", "interrupted": "left by a killed process"}


def gc(
    *,
    older_than: Annotated[
        str,
        typer.Option(
            metavar="AGE", help="Least time since the last use of a file: 30d, 12h or 90m."
        ),
    ] = "30d",
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete the files instead of only listing them.")
    ] = False,
    registry: Annotated[
        str | None,
        options.value_option("DIR", "Include the remains of killed pushes in this registry."),
    ] = None,
    unlocked: Annotated[
        bool,
        typer.Option(
            "--unlocked",
            help="Include files without a lock. Only while no push is running.",
        ),
    ] = False,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """List what can be deleted from the cache, or delete it.

    These are files that were not used for the given time, and remains of processes that were
    killed a day ago or earlier. All of them are recomputed when they are needed. Files that a
    running process has open or locked, downloaded datasets, the states of registries that were
    seen and files of other users are kept; links are not followed. Files without a lock (on file
    systems without locks, and in a registry where earlier versions pushed) may still be in use;
    they are only included with --unlocked.

    JSON:
        directory: the cache
        deleted: whether it was deleted
        bytes: size of the files that can be deleted
        found: entries, each with path, what, why, bytes, last_used, in_use and unlocked

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
        display.json_data(cleaning.to_json())
    elif quiet:
        for unused in cleaning.found:
            display.line(str(unused.path))
    else:
        _show(cleaning)


def _show(cleaning: "Cleaning") -> None:
    if not cleaning.found:
        display.line(f"nothing to delete in {cleaning.directory}")
    else:
        groups: dict[tuple[str, str], list[CacheEntry]] = {}
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
            f"kept, since a process has it open: {pluralize(len(cleaning.held), 'file')}, "
            f"{size(_total(cleaning.held))}"
        )
    if cleaning.unlocked:
        display.line(
            "kept, since no lock tells whether somebody works there: "
            f"{pluralize(len(cleaning.unlocked), 'file')}, {size(_total(cleaning.unlocked))}; "
            "while nobody does, add --unlocked"
        )


def _total(unused: "Sequence[CacheEntry]") -> int:
    return sum(file.size for file in unused)


def doctor(
    *,
    registry: options.RegistryOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Check installation, cache and registry, and print advice.

    Prints versions, devices and the kernels of a search on them, cache sizes, the registry and the
    shipped probe. Every artifact of the registry is verified. The exit code is 1 if something is
    broken; with --quiet only broken findings are printed.

    JSON:
        broken: number of findings that are broken
        findings: each with group, subject, state (ok, note or broken), found and advice

    Example:
        wsdarts-hub doctor

    Python:
        from wsdarts_hub import open_registry, pull
        for entry in open_registry().entries(include_yanked=True):
            pull(str(entry.reference))
    """
    from wsdarts_sdk.pipelines.doctor import diagnose  # noqa: PLC0415

    broken, group, findings = 0, "", []
    for finding in diagnose(registry):
        broken += finding.state == "broken"
        if as_json:
            findings.append(asdict(finding))
            continue
        if quiet and finding.state != "broken":
            continue
        if finding.group != group and not quiet:
            display.heading(finding.group)
        group = finding.group
        display.line(f"{_MARKS[finding.state]} {finding.subject}: {finding.found}")
        if finding.advice:
            display.line(f"       → {finding.advice}")
    if as_json:
        display.json_data({"broken": broken, "findings": findings})
    elif not quiet:
        display.heading(f"{broken} broken" if broken else "nothing is broken")
    if broken:
        raise typer.Exit(1)


_MARKS = {"ok": "ok    ", "note": "note  ", "broken": "BROKEN"}
