"""The command ``diff``."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import wsdarts_hub as hub
from wsdarts_hub.cli import display, options
from wsdarts_hub.cli.figures import figure_difference, figure_text
from wsdarts_hub.cli.subject import SubjectArgument, read_subject
from wsdarts_registry.amounts import count, setting

if TYPE_CHECKING:
    from wsdarts_registry.difference import Difference
    from wsdarts_registry.genotype import Connection
    from wsdarts_registry.manifest import TaskRecord
    from wsdarts_registry.setting_changes import SettingChange

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
    """Show how a second artifact differs from a first.

    Compared are the operations left after the last stage, the genotypes, tasks, settings,
    figures and files. With -q only the names of the sections that differ are printed.

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
        display.drawing(json.dumps(found.to_json(), indent=2))
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
    from wsdarts_registry.drawing import edge_name, node_name  # noqa: PLC0415

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
                (n.kind, node_name(n.node), _connections(n.before), _connections(n.after))
                for n in found.genotype
            ],
        )
    _show_tasks(found)
    _show_settings("settings", found.config)
    if found.metrics:
        display.heading("figures")
        columns = ("before", "after", "difference")
        display.table(
            ("figure", *columns),
            [
                (
                    f.name,
                    "" if f.before is None else figure_text(f.name, f.before),
                    "" if f.after is None else figure_text(f.name, f.after),
                    "" if f.difference is None else figure_difference(f.name, f.difference),
                )
                for f in found.metrics
            ],
            right=columns,
        )
    _show_settings("other facts", found.facts)
    if found.files:
        display.heading("files")
        display.sentence(", ".join(found.files))


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
            [(change.key, _value(change.before), _value(change.after)) for change in changes],
        )


def _value(values: Sequence[object]) -> str:
    return setting(values[0]) if values else "(not there)"


def _connections(connections: "Sequence[Connection]") -> str:
    from wsdarts_registry.drawing import node_name  # noqa: PLC0415

    return ", ".join(f"{c.operation} of {node_name(c.source)}" for c in connections)


def _tasks(tasks: "Sequence[TaskRecord]") -> str:
    return ", ".join(f"{t.name} ({count(t.images)} images)" for t in tasks)
