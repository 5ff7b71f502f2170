"""Views of what a registry holds: genotypes, masks, artifacts, rankings."""

from wsdarts_registry.amounts import count, duration, figure, several, size
from wsdarts_registry.artifact import Artifact
from wsdarts_registry.description import described
from wsdarts_registry.drawing import cell_svg, cell_text
from wsdarts_registry.gallery.pictures import Drawing
from wsdarts_registry.genotype import Genotype
from wsdarts_registry.inert import plain_text
from wsdarts_registry.manifest import Manifest
from wsdarts_registry.mask_drawing import masks_svg
from wsdarts_registry.masks import OperationMasks
from wsdarts_registry.nearest import Neighbour, Ranking
from wsdarts_registry.nearness import is_near
from wsdarts_registry.notebook.view import Bars, Pairs, Panel, Table, view
from wsdarts_registry.provenance import provenance_facts
from wsdarts_registry.space import CELL_KINDS

_LONGEST_GENOTYPE = 100_000


def genotype_view(genotype: Genotype) -> str:
    """Both cells, drawn and in words."""
    return view(
        "Genotype",
        f"of {several(genotype.space.nodes, 'intermediate node')}. {genotype.in_words}",
        panels=cell_panels(genotype),
    )


def cell_panels(genotype: Genotype) -> tuple[Panel, ...]:
    """Drawings of both cells, and the same as text."""
    kinds = CELL_KINDS
    drawings = tuple(Drawing(name=f"{k}.svg", svg=cell_svg(genotype, k)) for k in kinds)
    darts = plain_text(genotype.to_darts(), _LONGEST_GENOTYPE)
    texts = [*(cell_text(genotype, kind) for kind in kinds), darts]
    return (
        Panel(title="The cells", drawings=drawings),
        Panel(title="As text", lines="\n\n".join(texts), folded=True),
    )


def masks_view(masks: OperationMasks) -> str:
    """Which operations survive, drawn."""
    return view("Operation masks", masks.in_words, panels=[masks_panel(masks)])


def masks_panel(masks: OperationMasks) -> Panel:
    """Which operations survive, drawn."""
    drawing = Drawing(name="masks.svg", svg=masks_svg(masks))
    return Panel(title="Surviving operations", drawings=(drawing,))


def artifact_view(artifact: Artifact) -> str:
    """What it is, its cells, its tasks, its figures, and what it started from."""
    manifest, what = artifact.manifest, described(artifact.manifest)
    return view(
        "Artifact",
        f"{what[:1].upper()}{what[1:]}.",
        figures=[
            ("images", count(sum(task.images for task in manifest.tasks))),
            ("classes", count(sum(task.classes for task in manifest.tasks))),
            ("search time", duration(manifest.provenance.seconds)),
            ("all files", size(sum(record.size for record in manifest.files.values()))),
        ],
        panels=[
            Panel(title="What it was searched on", table=_tasks(manifest)),
            *cell_panels(artifact.genotype),
            Panel(title="Figures", table=pairs_table("figure", _figures(manifest)), folded=True),
            Panel(title="Lineage and provenance", table=_origin(artifact), folded=True),
        ],
    )


def ranking_view(ranking: Ranking) -> str:
    """The nearest artifacts with bars, the threshold, and the judgement."""
    return view("Ranking", f"{ranking.why}.", panels=[neighbours_panel(ranking)])


def neighbours_panel(ranking: Ranking, chosen: tuple[str, ...] = ()) -> Panel:
    """The nearest artifacts with bars and the threshold; those that were chosen stand out."""
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
    """Names and values."""
    return Table(header=(what, "value"), rows=tuple(pairs))


def _judgement(neighbour: Neighbour, threshold: float | None) -> str:
    """In words; a mean over several tasks is near to everything, so it is not judged."""
    if threshold is None or neighbour.kind != "transfer":
        return "–"
    return "near" if is_near(neighbour.distance, threshold) else "beyond"


def _tasks(manifest: Manifest) -> Table:
    return Table(
        header=("task", "images", "classes", "digest"),
        rows=tuple(
            (task.name, count(task.images), count(task.classes), f"{task.digest[:19]}…")
            for task in manifest.tasks
        ),
        right=frozenset({1, 2}),
    )


def _figures(manifest: Manifest) -> Pairs:
    return [
        (name.replace("_", " "), figure(value, "ratio" if name.endswith("accuracy") else ""))
        for name, value in manifest.metrics.items()
    ]


def _origin(artifact: Artifact) -> Table:
    manifest = artifact.manifest
    lineage = manifest.lineage
    parents = ", ".join(f"{p.reference} ({p.digest[:19]}…)" for p in lineage.parents)
    facts = [
        ("digest", artifact.digest),
        ("started", f"{lineage.mode} from {parents}" if parents else lineage.mode),
        *provenance_facts(manifest.provenance),
        ("licence", manifest.license or "not stated"),
        ("about", manifest.description or "–"),
    ]
    return pairs_table("fact", facts)
