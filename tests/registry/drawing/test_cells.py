"""Cells drawn as SVG and as text: well formed, legible, inert and the same every time."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsdarts_registry._text import display_width
from wsdarts_registry.architecture.genotype import Cell, Connection, Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS, DARTS, SearchSpace
from wsdarts_registry.drawing import svg
from wsdarts_registry.drawing._layout import Box, CellLayout, Wire, depths, lay_out
from wsdarts_registry.drawing.cells import cell_svg, cell_text, genotype_svg, masks_svg, node_name

GOLDEN = Path(__file__).parents[2] / "golden"
SVG = "{http://www.w3.org/2000/svg}"
P_DARTS = (
    "Genotype(normal=[('skip_connect', 0), ('dil_conv_3x3', 1), ('skip_connect', 0), "
    "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('sep_conv_3x3', 3), ('sep_conv_3x3', 0), "
    "('dil_conv_5x5', 4)], normal_concat=range(2, 6), reduce=[('avg_pool_3x3', 0), "
    "('sep_conv_5x5', 1), ('sep_conv_3x3', 0), ('dil_conv_5x5', 2), ('max_pool_3x3', 0), "
    "('dil_conv_3x3', 1), ('dil_conv_3x3', 1), ('dil_conv_5x5', 3)], reduce_concat=range(2, 6))"
)


def _parsed(document: str) -> ET.Element:
    return ET.fromstring(document)  # noqa: S314 - written by the code under test


@st.composite
def cells(draw: st.DrawFn, nodes: int, names: tuple[str, ...]) -> Cell:
    """A cell whose nodes have one or more inputs each, two most of the time."""
    found = []
    for target in range(2, 2 + nodes):
        inputs = draw(st.sampled_from([2, 2, 2, 1, target]))
        sources = draw(
            st.lists(st.integers(0, target - 1), min_size=inputs, max_size=inputs, unique=True).map(
                sorted
            )
        )
        found.append(
            tuple(Connection(source=s, operation=draw(st.sampled_from(names))) for s in sources)
        )
    return tuple(found)


@st.composite
def genotypes(draw: st.DrawFn) -> Genotype:
    """Genotypes of 1 to 8 nodes, with DARTS' candidates or with any text for names."""
    names = st.lists(st.text(max_size=40), min_size=1, max_size=5, unique=True).map(tuple)
    space = SearchSpace(
        nodes=draw(st.integers(1, 8)), candidates=draw(st.just(DARTS.candidates) | names)
    )
    drawn = [draw(cells(space.nodes, space.candidates)) for _ in CELL_KINDS]
    return Genotype(space=space, normal=drawn[0], reduction=drawn[1])


def _boxes(layout: CellLayout) -> list[Box]:
    return [node.box for node in layout.nodes] + [label.box for label in layout.labels]


def _overlap(a: Box, b: Box) -> bool:
    return (
        a.left < b.right
        and b.left < a.right
        and a.top < b.top + b.height
        and b.top < a.top + a.height
    )


def _points(wire: Wire) -> list[tuple[float, float]]:
    """Points on the curve, from its formula as the SVG has it, and on the lane behind it."""
    (x0, y0), (x1, y1) = wire.start, wire.bend
    points = []
    for t in np.linspace(0.02, 0.98, 30).tolist():
        x = (x0 * (1 - t) ** 3) + 3 * t * (1 - t) * (x0 + x1) / 2 + x1 * t**3
        y = y0 * ((1 - t) ** 3 + 3 * t * (1 - t) ** 2) + y1 * (3 * t**2 * (1 - t) + t**3)
        points.append((x, y))
    lane = np.linspace(x1, wire.end[0], 30)[1:-1].tolist() if wire.end > wire.bend else []
    return points + [(x, y1) for x in lane]


def _inside(point: tuple[float, float], box: Box) -> bool:
    x, y = point
    return box.left < x < box.right and box.top < y < box.top + box.height


def test_golden_cells(golden: Callable[[Path, str], None]) -> None:
    genotype = Genotype.from_darts(P_DARTS)
    for kind in CELL_KINDS:
        golden(GOLDEN / f"cell_{kind}.svg", cell_svg(genotype, kind))
        golden(GOLDEN / f"cell_{kind}.txt", cell_text(genotype, kind) + "\n")
    golden(GOLDEN / "genotype.svg", genotype_svg(genotype))


def test_golden_masks(golden: Callable[[Path, str], None]) -> None:
    alpha = np.random.default_rng(0).normal(size=(2, *DARTS.shape))
    masks = OperationMasks.full(DARTS).keep_strongest(alpha[0], alpha[1], 3)
    golden(GOLDEN / "masks.svg", masks_svg(masks))


def test_text_by_hand() -> None:
    one = (Connection(source=1, operation="skip_connect"),)
    three = tuple(Connection(source=s, operation="none") for s in (0, 1, 2))
    genotype = Genotype(space=SearchSpace(nodes=2), normal=(one, three), reduction=(one, three))
    assert cell_text(genotype, "normal").splitlines() == [
        "normal cell",
        "  c_{k-1} ── skip_connect ────▸ 0",
        "  c_{k-2} ── none ──────────┐",
        "  c_{k-1} ── none ──────────┼─▸ 1",
        "  0       ── none ──────────┘",
        "  0, 1 ── concatenated ─▸ c_{k}",
    ]


def test_node_names() -> None:
    assert [node_name(i) for i in (0, 1, 2, 5, -1)] == ["c_{k-2}", "c_{k-1}", "0", "3", "c_{k}"]


def test_depths_by_hand() -> None:
    # Node 1 waits for node 0; node 2 needs the inputs only, so it stands beside node 0.
    cell = tuple(
        tuple(Connection(source=s, operation="none") for s in sources)
        for sources in ((0, 1), (0, 2), (0, 1))
    )
    assert depths(cell) == [0, 0, 1, 2, 1]


def test_a_reader_who_cannot_see_gets_the_whole_cell() -> None:
    root = _parsed(cell_svg(Genotype.from_darts(P_DARTS), "normal"))
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert description is not None
    assert title.text == "Normal cell"
    assert description.text == (
        "Normal cell. Node 0 is skip_connect of c_{k-2} plus dil_conv_3x3 of c_{k-1}. "
        "Node 1 is skip_connect of c_{k-2} plus sep_conv_3x3 of c_{k-1}. "
        "Node 2 is sep_conv_3x3 of c_{k-1} plus sep_conv_3x3 of 1. "
        "Node 3 is sep_conv_3x3 of c_{k-2} plus dil_conv_5x5 of 2. "
        "c_{k} concatenates nodes 0, 1, 2, 3."
    )
    labelled = root.attrib["aria-labelledby"].split()
    assert labelled == [title.attrib["id"], description.attrib["id"]]


@settings(max_examples=60)
@given(genotypes())
def test_any_genotype_draws_as_well_formed_and_inert_xml(genotype: Genotype) -> None:
    allowed = {"svg", "title", "desc", "style", "g", "rect", "path", "text", "tspan"}
    documents = [cell_svg(genotype, kind) for kind in CELL_KINDS]
    for document in [*documents, genotype_svg(genotype)]:
        root = _parsed(document)
        assert {element.tag.removeprefix(SVG) for element in root.iter()} <= allowed
        assert not any(
            name.startswith("on") or "href" in name for e in root.iter() for name in e.attrib
        )
        # A blank line would end an HTML block in Markdown.
        assert "\n\n" not in document
    assert documents[0] == cell_svg(genotype, "normal")


@settings(max_examples=80)
@given(genotypes())
def test_nothing_overlaps_and_no_wire_runs_behind_a_box(genotype: Genotype) -> None:
    for kind in CELL_KINDS:
        layout = lay_out(genotype.cell(kind))
        boxes = _boxes(layout)
        for a, b in combinations(boxes, 2):
            assert not _overlap(a, b)
        _check_frame(layout, boxes)
        for wire in layout.wires:
            for point in _points(wire):
                assert not any(_inside(point, box) for box in boxes)


def _check_frame(layout: CellLayout, boxes: list[Box]) -> None:
    for box in boxes:
        assert min(box.left, box.top) >= -0.06
        assert box.right <= layout.width + 0.06
        assert box.top + box.height <= layout.height + 0.06
        assert box.width > 0
    # 12 pixel fixed-width text, at most 0.62 em a character, fits into its label.
    for label in layout.labels:
        assert display_width(label.text) * 7.44 <= label.box.width


@settings(max_examples=40)
@given(genotypes())
def test_layout_connects_what_the_genotype_connects(genotype: Genotype) -> None:
    cell = genotype.normal
    layout = lay_out(cell)
    assert [n.index for n in layout.nodes] == [-1, *range(2 + len(cell))]
    assert [(x.source, x.target, x.operation) for x in layout.labels] == [
        (c.source, target, c.operation) for target, node in enumerate(cell, 2) for c in node
    ]
    # Follow the wires backwards from each label to the node that they come from.
    right = {(n.box.right, round(n.box.middle, 1)): n.index for n in layout.nodes}
    for label in layout.labels:
        arriving = [w for w in layout.wires if w.end[0] == label.box.left]
        wire = next(w for w in arriving if abs(w.end[1] - label.box.middle) < 0.06)
        while (wire.start[0], round(wire.start[1], 1)) not in right:
            wire = next(w for w in layout.wires if w.end == wire.start and w.source == wire.source)
        assert right[wire.start[0], round(wire.start[1], 1)] == label.source


@settings(max_examples=40)
@given(genotypes())
def test_any_genotype_is_drawn_in_plain_lines(genotype: Genotype) -> None:
    for kind in CELL_KINDS:
        lines = cell_text(genotype, kind).split("\n")
        connections = sum(len(node) for node in genotype.cell(kind))
        assert len(lines) == connections + 2
        assert not re.search(r"[\x00-\x1f\x7f\u202a-\u202e]", "".join(lines))


@pytest.mark.parametrize("style", ["chain", "flat", "full"])
def test_extreme_cells_of_eight_nodes(style: str) -> None:
    def sources(target: int) -> list[int]:
        every = {"chain": [target - 2, target - 1], "flat": [0, 1], "full": list(range(target))}
        return every[style]

    cell = tuple(
        tuple(Connection(source=s, operation="dil_conv_5x5") for s in sources(target))
        for target in range(2, 10)
    )
    layout = lay_out(cell)
    boxes = _boxes(layout)
    assert not any(_overlap(a, b) for a, b in combinations(boxes, 2))
    columns = {box.left for box in (node.box for node in layout.nodes)}
    assert len(columns) == (3 if style == "flat" else 10)


def test_hostile_names_are_text() -> None:
    names = ("<script>alert(1)</script>", "\"'&]]>", "a\u202eb\x1b[31m", "x" * 500, "")
    cell = tuple(tuple(Connection(source=s, operation=name) for s in (0, 1)) for name in names)
    space = SearchSpace(nodes=5, candidates=names)
    genotype = Genotype(space=space, normal=cell, reduction=cell)
    for document in (genotype_svg(genotype), masks_svg(OperationMasks.full(space))):
        _parsed(document)
        assert "<script" not in document
        assert "\x1b" not in document
        assert "\u202e" not in document
        assert "x" * 201 not in document
    assert "\x1b" not in cell_text(genotype, "normal")


def test_mask_squares_are_those_that_survive() -> None:
    space = SearchSpace(nodes=1, candidates=("none", "skip_connect", "sep_conv_3x3"))
    masks = OperationMasks(
        space=space,
        normal=((True, False, True), (False, True, False)),
        reduction=((True, True, True), (False, False, True)),
    )
    root = _parsed(masks_svg(masks))
    drawn = [e.attrib["class"] for e in root.iter(f"{SVG}rect")][1:]
    full = {"none": "wsd-none-full", "skip": "wsd-skip-full", "sep": "wsd-sep-full"}
    assert drawn == [
        *(full["none"], "wsd-gone", full["sep"], "wsd-gone", full["skip"], "wsd-gone"),
        *(full["none"], full["skip"], full["sep"], "wsd-gone", "wsd-gone", full["sep"]),
    ]


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_labels_have_the_contrast_that_the_palette_promises() -> None:
    for family in svg.FAMILIES:
        for shades in (family.light, family.dark):
            bright, dim = sorted(map(_luminance, (shades.tint, shades.ink)), reverse=True)
            assert (bright + 0.05) / (dim + 0.05) >= 7


def test_families_of_the_darts_candidates() -> None:
    keys = [svg.family_of(name).key for name in (*DARTS.candidates, "conv_7x1_1x7")]
    assert keys == ["none", "pool", "pool", "skip", "sep", "sep", "dil", "dil", "other"]
    places = [svg.solid_index(name, DARTS.candidates) for name in DARTS.candidates]
    assert places == [0, 0, 1, 0, 0, 1, 0, 1]
