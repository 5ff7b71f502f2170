"""Commands that relate artifacts: ``diff`` and ``lineage``."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

import wsdarts_hub as hub
from wsdarts_hub.cli.artifacts import SubjectArgument, read_subject
from wsdarts_hub.cli.shared import display, options
from wsdarts_registry._format import metric_difference, metric_text, pluralize

if TYPE_CHECKING:
    from wsdarts_registry.artifact.difference import Difference, SettingChange
    from wsdarts_registry.artifact.manifest import TaskRecord
    from wsdarts_registry.stores.lineage import LineageNode, LineageTree

_DIGITS = 19  # "sha256:" and as many digits as a reference needs


def diff(
    before: SubjectArgument,
    after: SubjectArgument,
    *,
    registry: options.RegistryOption = None,
    require_signature: options.RequireSignatureOption = None,
    policy: options.PolicyOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Show the differences between two artifacts.

    Compares the operations left after the last stage, the genotypes, tasks, settings, figures and
    files. With -q only the names of the sections that differ are printed.

    JSON:
        before: digest of the first
        after: digest of the second
        masks: edges with other operations after the last stage
        genotype: nodes with other connections
        tasks: common, lost and gained tasks
        distances: distances of their tasks, in each common embedding space
        config: settings that differ
        metrics: figures that differ
        facts: other differences of the manifests
        files: files that differ

    Example:
        wsdarts-hub diff images@1 images@2 --registry my-zoo

    Python:
        from wsdarts_hub import difference, pull
        first, second = pull("images@1", registry="my-zoo"), pull("images@2", registry="my-zoo")
        for edge in difference(first, second).masks:
            print(edge.kind, edge.edge, edge.lost, edge.gained)
    """
    required = options.required_signature(require_signature, policy)
    first, second = (
        read_subject(name, registry, required, weights=False) for name in (before, after)
    )
    found = hub.difference(first, second)
    if as_json:
        display.json_data(found.to_json())
        return
    sections = {
        "operations after the last stage": bool(found.masks),
        "genotype": bool(found.genotype),
        "tasks": bool(found.lost_tasks or found.gained_tasks),
        "settings": bool(found.config),
        "figures": bool(found.metrics),
        "other facts": bool(found.facts),
        "files": bool(found.files),
    }
    if quiet:
        for name, differs in sections.items():
            if differs:
                display.line(name)
        return
    display.facts(
        [
            ("before", f"{before}  {found.before[:_DIGITS]}"),
            ("after", f"{after}  {found.after[:_DIGITS]}"),
        ],
        whole=("before", "after"),
    )
    _show(found)
    same = [name for name, differs in sections.items() if not differs]
    if same:
        display.heading("the same in both")
        display.sentence(", ".join(same))


def _show(found: "Difference") -> None:
    from wsdarts_registry.drawing.cells import (  # noqa: PLC0415
        connections_text,
        edge_name,
        node_name,
    )

    if found.masks:
        display.heading("operations after the last stage")
        display.table(
            ("cell", "edge", "lost", "gained"),
            [
                (e.kind, edge_name(*e.edge), ", ".join(e.lost), ", ".join(e.gained))
                for e in found.masks
            ],
        )
    if found.genotype:
        display.heading("genotype")
        display.table(
            ("cell", "node", "before", "after"),
            [
                (n.kind, node_name(n.node), connections_text(n.before), connections_text(n.after))
                for n in found.genotype
            ],
        )
    _show_tasks(found)
    _show_settings("settings", found.config)
    _show_figures(found)
    _show_settings("other facts", found.facts)
    if found.files:
        display.heading("files")
        display.sentence(", ".join(found.files))


def _show_figures(found: "Difference") -> None:
    if not found.metrics:
        return
    from wsdarts_registry.artifact.facts import metric_label  # noqa: PLC0415

    display.heading("figures")
    columns = ("before", "after", "difference")
    display.table(
        ("figure", *columns),
        [
            (
                metric_label(f.name),
                "" if f.before is None else metric_text(f.name, f.before),
                "" if f.after is None else metric_text(f.name, f.after),
                "" if f.difference is None else metric_difference(f.name, f.difference),
            )
            for f in found.metrics
        ],
        right=columns,
    )


def _show_tasks(found: "Difference") -> None:
    groups = (
        ("in both", found.common_tasks),
        ("lost", found.lost_tasks),
        ("gained", found.gained_tasks),
    )
    display.heading("tasks")
    for what, tasks in groups:
        if tasks:
            display.sentence(f"{what}: {_tasks(tasks)}")
    for space, distance in found.distances:
        display.sentence(f"distance {distance:.4f} by {space}")
    if not found.distances:
        display.line("no distance: they have no embedding in a common space")


def _show_settings(title: str, changes: "Sequence[SettingChange]") -> None:
    if changes:
        display.heading(title)
        display.table(
            ("key", "before", "after"),
            [change.row for change in changes],
        )


def _tasks(tasks: "Sequence[TaskRecord]") -> str:
    return ", ".join(f"{t.name} ({pluralize(t.images, 'image')})" for t in tasks)


_DEPTH = 10
_OMITTED = {"deeper": "more with a larger --depth", "above": "see above"}


def lineage(
    reference: options.ReferenceArgument,
    *,
    registry: options.RegistryOption = None,
    depth: Annotated[
        int, typer.Option(min=1, max=100, metavar="N", help="Number of generations to follow.")
    ] = _DEPTH,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Show the ancestors and descendants of an artifact.

    Parents are found by their digest, under any name in this registry; a parent that is not in the
    registry has the name that its child recorded, and it is said whether the shipped zoo has it.

    JSON:
        reference: exact version
        digest: sha256 of its manifest
        mode: mode of its search
        parents: its starting points; each has reference, digest, mode and parents of its own
        children: artifacts that started from it, likewise

    Example:
        wsdarts-hub lineage images@2 --registry my-zoo

    Python:
        from wsdarts_hub import lineage
        for parent in lineage("images@2", registry="my-zoo").parents:
            print(parent.reference, parent.digest)
    """
    family = hub.lineage(reference, registry=registry, depth=depth)
    if as_json:
        display.json_data(family.to_json())
    elif quiet:
        for what, relatives in (("ancestor", family.parents), ("descendant", family.children)):
            for relative in _all(relatives):
                display.line(f"{what} {relative.reference} {relative.digest}")
    else:
        _show_family(family)


def _show_family(family: "LineageTree") -> None:
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


def _show_tree(relatives: "Sequence[LineageNode]", indent: str) -> None:
    for relative in relatives:
        last = relative is relatives[-1]
        below = indent + ("   " if last else "│  ")
        first = indent + ("└─ " if last else "├─ ")
        further = below + ("│  " if relative.relatives else "   ")
        display.branch(_described(relative), first=first, further=further)
        _show_tree(relative.relatives, below)


def _described(relative: "LineageNode") -> str:
    name = f"{relative.reference}  {relative.digest[:_DIGITS]}"
    if not relative.entries and relative.damaged:
        versions = ", ".join(str(version.reference) for version in relative.damaged)
        return f"{name}  {relative.damaged[0].word} ({versions})"
    if not relative.entries:
        if relative.shipped is None:
            return f"{name}  not in this registry"
        called = "" if relative.shipped == relative.reference else f" as {relative.shipped}"
        return f"{name}  in the shipped zoo{called}, not in this registry"
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


def _all(relatives: "Sequence[LineageNode]") -> "Iterator[LineageNode]":
    for relative in relatives:
        yield relative
        yield from _all(relative.relatives)
