"""Notebook views of genotypes, masks, artifacts, rankings, lineage trees and differences.

A view is HTML without scripts, requests and element names that two views could share, and its style
rules reach nothing outside of it; drawings are images of their own. It follows the notebook's theme
and reads as plain text and tables where styles are stripped. Nothing is read from the disk for it.

What is shown knows no view: ``wsdarts_registry`` registers these by name, and they are loaded when
an object is first shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from wsdarts_registry._format import count, metric_text, pluralize
from wsdarts_registry._templates import html_page
from wsdarts_registry._text import sanitize
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.artifact.difference import Difference, SettingChange
from wsdarts_registry.artifact.facts import (
    SHOWN_DIGEST,
    TrainedResult,
    licence_text,
    metric_facts,
    metric_label,
    overview_facts,
    provenance_facts,
    start_text,
)
from wsdarts_registry.artifact.manifest import Manifest, described
from wsdarts_registry.artifact.reader import Artifact
from wsdarts_registry.drawing.cells import (
    Drawing,
    cell_drawings,
    cell_text,
    connections_text,
    edge_name,
    masks_drawing,
    node_name,
)
from wsdarts_registry.embedding.embedding_space import is_near
from wsdarts_registry.embedding.ranking import Neighbour, Ranking
from wsdarts_registry.stores.lineage import LineageNode, LineageTree

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Bars in a column of a table.

    Attributes:
        column: Index of the column.
        lengths: One for each row, in percent of the width.
        mark: Place of a line across them all, in percent; None for none.
    """

    column: int
    lengths: tuple[float, ...]
    mark: float | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; its cells are sanitized when it is written.

    Attributes:
        header: Names of the columns.
        rows: Cells; the first of a row names it.
        right: Columns of numbers.
        bars: Drawn beside the numbers of one column.
        chosen: Rows that stand out.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()
    bars: Bars | None = None
    chosen: frozenset[int] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Tree:
    """An item of a nested list."""

    text: str
    below: tuple["Tree", ...] = ()


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A part of a view; empty parts are left out.

    Attributes:
        title: Its heading.
        text: Paragraphs.
        drawings: SVG documents drawn by ``drawing``.
        charts: Title and SVG of line charts, which take their colours from the view.
        table: A table.
        tree: Nested lists.
        lines: Text that keeps its line breaks, sanitized before.
        folded: Whether it is shown on demand.
    """

    title: str
    text: tuple[str, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    charts: tuple[tuple[str, Markup], ...] = ()
    table: Table | None = None
    tree: tuple[Tree, ...] = ()
    lines: str = ""
    folded: bool = False


def view(what: str, sentence: str, *, figures: Pairs = (), panels: Sequence[Panel] = ()) -> str:
    """Write a view.

    Args:
        what: Kind of object, such as ``Genotype``.
        sentence: Description of the object.
        figures: Names and values of the few figures that matter most.
        panels: The other parts.
    """
    return html_page(
        "notebook.html.j2",
        what=what,
        sentence=sentence,
        figures=figures,
        panels=panels,
        lines=escape,  # what else is written keeps no line breaks
    )


_LONGEST_GENOTYPE = 100_000


def genotype_view(genotype: Genotype) -> str:
    """Show both cells, drawn and in words."""
    return view(
        "Genotype",
        f"of {pluralize(genotype.space.nodes, 'intermediate node')}. {genotype.in_words}",
        panels=cell_panels(genotype),
    )


def cell_panels(genotype: Genotype) -> tuple[Panel, ...]:
    """Return panels with drawings of both cells, and with the same as text."""
    darts = sanitize(genotype.to_darts(), _LONGEST_GENOTYPE)
    texts = [*(cell_text(genotype, kind) for kind in CELL_KINDS), darts]
    return (
        Panel(title="The cells", drawings=cell_drawings(genotype)),
        Panel(title="As text", lines="\n\n".join(texts), folded=True),
    )


def masks_view(masks: OperationMasks) -> str:
    """Show the operations that survive, drawn."""
    panel = Panel(title="Surviving operations", drawings=(masks_drawing(masks),))
    return view("Operation masks", masks.in_words, panels=[panel])


def artifact_view(artifact: Artifact) -> str:
    """Show kind, cells, tasks, figures and lineage of an artifact."""
    manifest, what = artifact.manifest, described(artifact.manifest)
    result = TrainedResult.of(manifest)
    worth = "" if result is None else f" {result.sentence}"
    return view(
        "Artifact",
        f"{what[:1].upper()}{what[1:]}.{worth}",
        figures=overview_facts(manifest),
        panels=[
            Panel(title="Tasks", table=_tasks(manifest)),
            *cell_panels(artifact.genotype),
            Panel(
                title="Figures", table=pairs_table("figure", metric_facts(manifest)), folded=True
            ),
            Panel(title="Lineage and provenance", table=_origin(artifact), folded=True),
        ],
    )


def ranking_view(ranking: Ranking) -> str:
    """Show the nearest artifacts with bars, the threshold, and the judgement."""
    return view("Ranking", f"{ranking.why}.", panels=[neighbours_panel(ranking)])


def neighbours_panel(ranking: Ranking, chosen: tuple[str, ...] = ()) -> Panel:
    """Return the nearest artifacts with bars and threshold; chosen ones stand out."""
    neighbours, threshold, shown = ranking.neighbours, ranking.threshold, ranking.figures
    largest = max([n.distance for n in neighbours] + [threshold or 0.0])
    scale = 100 / (1.05 * largest) if largest > 0 else 0.0
    judged = () if threshold is None else ("judgement",)
    return Panel(
        title="Nearest artifacts",
        text=_remarks(ranking, shown.threshold),
        table=Table(
            header=("artifact", "distance", *judged, "kind", "task", "embedded images", "classes"),
            rows=tuple(
                (
                    n.reference,
                    distance,
                    *(_judgement(n, threshold) for _ in judged),
                    n.kind,
                    n.task_name,
                    count(n.images),
                    count(n.classes),
                )
                for n, distance in zip(neighbours, shown.distances, strict=True)
            ),
            right=frozenset({1, 4 + len(judged), 5 + len(judged)}),
            bars=Bars(
                column=1,
                lengths=tuple(round(n.distance * scale, 2) for n in neighbours),
                mark=None if threshold is None else round(threshold * scale, 2),
            ),
            chosen=frozenset(i for i, n in enumerate(neighbours) if n.reference in chosen),
        ),
    )


def _remarks(ranking: Ranking, threshold: str | None) -> tuple[str, ...]:
    said = []
    if threshold is not None:
        said.append(f"The line marks the threshold, {threshold}.")
    said += [f"{v.reference} is {v.word} and was left out." for v in ranking.damaged]
    return tuple(said)


def pairs_table(what: str, pairs: Pairs) -> Table:
    """Return names and values as a table."""
    return Table(header=(what, "value"), rows=tuple(pairs))


def _judgement(neighbour: Neighbour, threshold: float | None) -> str:
    """Return whether it is near, in words; a mean over several tasks is not judged."""
    if threshold is None or neighbour.kind != "transfer":
        return "–"
    return "near" if is_near(neighbour.distance, threshold) else "beyond"


def _tasks(manifest: Manifest) -> Table:
    return Table(
        header=("task", "images", "classes", "digest"),
        rows=tuple(
            (task.name, count(task.images), count(task.classes), f"{task.digest[:SHOWN_DIGEST]}…")
            for task in manifest.tasks
        ),
        right=frozenset({1, 2}),
    )


def _origin(artifact: Artifact) -> Table:
    manifest = artifact.manifest
    facts = [
        ("digest", artifact.digest),
        ("started", start_text(manifest.lineage, SHOWN_DIGEST)),
        *provenance_facts(manifest.provenance),
        ("licence", licence_text(manifest)),
        ("about", manifest.description or "–"),
    ]
    return pairs_table("fact", facts)


_MANY = 12
_OMITTED = {"deeper": "more with a larger depth", "above": "see above"}


def lineage_view(tree: LineageTree) -> str:
    """Show ancestors and descendants as nested lists."""
    reference, mode = str(tree.entry.reference), tree.entry.manifest.lineage.mode
    none = "No artifact of this registry."
    cold = f"No other artifact ({mode})."
    return view(
        "Lineage",
        f"of {reference}, {tree.entry.digest[:SHOWN_DIGEST]}….",
        panels=[
            Panel(
                title=f"It started ({mode}) from" if tree.parents else "It started from",
                text=() if tree.parents else (cold,),
                tree=_trees(tree.parents),
            ),
            Panel(
                title="Started from it",
                text=() if tree.children else (none,),
                tree=_trees(tree.children),
            ),
        ],
    )


def difference_view(found: Difference) -> str:
    """Show differences in tables; sections without one are named."""
    panels = [
        ("operations after the last stage", _masks(found)),
        ("genotype", _genotype(found)),
        ("tasks", _compared_tasks(found)),
        ("settings", _settings(found.config)),
        ("figures", _compared_figures(found)),
        ("other facts", _settings(found.facts)),
        ("files", Table(header=("file",), rows=tuple((path,) for path in found.files))),
    ]
    same = ", ".join(name for name, table in panels if not table.rows)
    return view(
        "Difference",
        f"of {found.after[:SHOWN_DIGEST]}… from {found.before[:SHOWN_DIGEST]}…. "
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


def _trees(nodes: Sequence[LineageNode]) -> tuple[Tree, ...]:
    return tuple(Tree(text=_described(r), below=_trees(r.relatives)) for r in nodes)


def _described(node: LineageNode) -> str:
    said = [f"{node.reference}, {node.digest[:SHOWN_DIGEST]}…"]
    if not node.entries and node.damaged:
        said.append(f"{node.damaged[0].word} ({', '.join(str(d.reference) for d in node.damaged)})")
    elif not node.entries:
        said.append("not in this registry")
    elif node.mode:
        said.append(f"started {node.mode}")
    if node.entries and node.entries[0].yanked:
        said.append(f"yanked: {node.entries[0].yanked.reason}")
    if node.omitted:
        said.append(_OMITTED[node.omitted])
    return "; ".join(said)


def _masks(found: Difference) -> Table:
    rows = (
        (edge_name(*e.edge), e.kind, ", ".join(e.lost), ", ".join(e.gained)) for e in found.masks
    )
    return Table(header=("edge", "cell", "lost", "gained"), rows=tuple(rows))


def _genotype(found: Difference) -> Table:
    rows = (
        (node_name(n.node), n.kind, connections_text(n.before), connections_text(n.after))
        for n in found.genotype
    )
    return Table(header=("node", "cell", "before", "after"), rows=tuple(rows))


def _compared_tasks(found: Difference) -> Table:
    sides = (("lost", found.lost_tasks), ("gained", found.gained_tasks))
    rows = ((task.name, side) for side, tasks in sides for task in tasks)
    return Table(header=("task", "which is"), rows=tuple(rows))


def _settings(changes: Sequence[SettingChange]) -> Table:
    rows = tuple(change.row for change in changes)
    return Table(header=("key", "before", "after"), rows=rows)


def _compared_figures(found: Difference) -> Table:
    def written(name: str, value: float | None) -> str:
        return "–" if value is None else metric_text(name, value)

    rows = (
        (metric_label(f.name), written(f.name, f.before), written(f.name, f.after))
        for f in found.metrics
    )
    return Table(header=("figure", "before", "after"), rows=tuple(rows), right=frozenset({1, 2}))
