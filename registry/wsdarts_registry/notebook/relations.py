"""Views of what artifacts have to do with each other: family trees and differences."""

from collections.abc import Sequence

from wsdarts_registry.amounts import figure, setting
from wsdarts_registry.difference import Difference
from wsdarts_registry.drawing import edge_name, node_name
from wsdarts_registry.genotype import Connection
from wsdarts_registry.lineage import Family, Relative
from wsdarts_registry.notebook.view import Panel, Table, Tree, view
from wsdarts_registry.setting_changes import SettingChange

_MANY = 12
_DIGITS = 19  # "sha256:" and as many digits as a reference needs
_OMITTED = {"deeper": "more with a larger depth", "above": "see above"}


def family_view(family: Family) -> str:
    """Ancestors and descendants as nested lists."""
    reference, mode = str(family.entry.reference), family.entry.manifest.lineage.mode
    none = "No artifact of this registry."
    cold = f"No other artifact ({mode})."
    return view(
        "Lineage",
        f"of {reference}, {family.entry.digest[:_DIGITS]}….",
        panels=[
            Panel(
                title=f"It started ({mode}) from" if family.parents else "It started from",
                text=() if family.parents else (cold,),
                tree=_trees(family.parents),
            ),
            Panel(
                title="Started from it",
                text=() if family.children else (none,),
                tree=_trees(family.children),
            ),
        ],
    )


def difference_view(found: Difference) -> str:
    """What differs, in tables; sections without a difference are named."""
    panels = [
        ("operations after the last stage", _masks(found)),
        ("genotype", _genotype(found)),
        ("tasks", _tasks(found)),
        ("settings", _settings(found.config)),
        ("figures", _figures(found)),
        ("other facts", _settings(found.facts)),
        ("files", Table(header=("file",), rows=tuple((path,) for path in found.files))),
    ]
    same = ", ".join(name for name, table in panels if not table.rows)
    return view(
        "Difference",
        f"of {found.after[:_DIGITS]}… from {found.before[:_DIGITS]}…. "
        + (f"The same in both: {same}." if same else "They differ in everything."),
        figures=[
            (f"distance by {space.probe}", f"{distance:.4f}") for space, distance in found.distances
        ],
        panels=[
            Panel(
                title=name.capitalize(),
                table=table,
                folded=len(table.rows) > _MANY,
            )
            for name, table in panels
            if table.rows
        ],
    )


def _trees(relatives: Sequence[Relative]) -> tuple[Tree, ...]:
    return tuple(Tree(text=_described(r), below=_trees(r.relatives)) for r in relatives)


def _described(relative: Relative) -> str:
    said = [f"{relative.reference}, {relative.digest[:_DIGITS]}…"]
    if not relative.entries and relative.damaged:
        said.append(
            f"{relative.damaged[0].word} ({', '.join(str(d.reference) for d in relative.damaged)})"
        )
    elif not relative.entries:
        said.append("not in this registry")
    elif relative.mode:
        said.append(f"started {relative.mode}")
    if relative.entries and relative.entries[0].yanked:
        said.append(f"yanked: {relative.entries[0].yanked.reason}")
    if relative.omitted:
        said.append(_OMITTED[relative.omitted])
    return "; ".join(said)


def _masks(found: Difference) -> Table:
    rows = (
        (edge_name(*e.edge), e.kind, ", ".join(e.lost), ", ".join(e.gained)) for e in found.masks
    )
    return Table(header=("edge", "cell", "lost", "gained"), rows=tuple(rows))


def _genotype(found: Difference) -> Table:
    rows = (
        (node_name(n.node), n.kind, _connections(n.before), _connections(n.after))
        for n in found.genotype
    )
    return Table(header=("node", "cell", "before", "after"), rows=tuple(rows))


def _tasks(found: Difference) -> Table:
    sides = (("lost", found.lost_tasks), ("gained", found.gained_tasks))
    rows = ((task.name, side) for side, tasks in sides for task in tasks)
    return Table(header=("task", "which is"), rows=tuple(rows))


def _settings(changes: Sequence[SettingChange]) -> Table:
    rows = ((change.key, _value(change.before), _value(change.after)) for change in changes)
    return Table(header=("key", "before", "after"), rows=tuple(rows))


def _figures(found: Difference) -> Table:
    def written(name: str, value: float | None) -> str:
        unit = "ratio" if name.endswith("accuracy") else ""
        return "–" if value is None else figure(value, unit)

    rows = ((f.name, written(f.name, f.before), written(f.name, f.after)) for f in found.metrics)
    return Table(header=("figure", "before", "after"), rows=tuple(rows), right=frozenset({1, 2}))


def _value(values: Sequence[object]) -> str:
    return setting(values[0]) if values else "(not there)"


def _connections(connections: Sequence[Connection]) -> str:
    return ", ".join(f"{c.operation} of {node_name(c.source)}" for c in connections) or "–"
