"""Operation masks as a picture: which candidates survive on which edge."""

from html import escape

from wsdarts_registry.drawing import edge_name, node_name
from wsdarts_registry.inert import clipped, display_width, plain_text
from wsdarts_registry.masks import OperationMasks
from wsdarts_registry.palette import family_of
from wsdarts_registry.space import CELL_KINDS
from wsdarts_registry.svg import MONO, Picture, element, fingerprint, number, text

_MARGIN = 22.0
_SQUARE = 15.0
_PITCH = 18.0
_EDGE_WIDTH = 64.0
_NODE_GAP = 6.0
_CHARACTER = 6.9
_HEADING = 56.0


def masks_svg(masks: OperationMasks) -> str:
    """Draw both masks as grids, one row an edge and one column a candidate, as one SVG.

    A full square survives, an empty one is gone; rows of the same target stand together.
    """
    names = [clipped(candidate, 16) for candidate in masks.space.candidates]
    slope = max(display_width(name) for name in names) * _CHARACTER * 0.7071
    grid_width = _EDGE_WIDTH + len(names) * _PITCH
    pitch = grid_width + max(slope, 24.0) + 14
    rows = len(masks.space.edges)
    height = _HEADING + slope + rows * _PITCH + (masks.space.nodes - 1) * _NODE_GAP + _MARGIN
    parts = [f'<g font-size="11" font-family="{MONO}">']
    for place, kind in enumerate(CELL_KINDS):
        left = _MARGIN + place * pitch
        grid = _grid(masks, kind, names, _HEADING + slope)
        shifted = element("g", None, grid, transform=f"translate({number(left)} 0)")
        parts.append(shifted)
    parts.append("</g>")
    described = (
        f"{kind.capitalize()} cell, edge by edge. {_words(masks, kind)}" for kind in CELL_KINDS
    )
    picture = Picture(
        body="\n".join(parts),
        width=2 * _MARGIN + 2 * pitch - 14,
        height=height,
        title="Operations that survive on each edge",
        description=" ".join(described),
    )
    return picture.framed(f"wsd-masks-{fingerprint(masks.to_json())}")


def _grid(masks: OperationMasks, kind: str, names: list[str], top: float) -> str:
    heading = element(
        "text",
        "ink",
        text(f"{kind.capitalize()} cell"),
        x=0,
        y=32,
        font_size=15,
        font_weight="600",
        font_family="system-ui,sans-serif",
    )
    parts = [heading]
    for column, name in enumerate(names):
        x, y = _EDGE_WIDTH + column * _PITCH + _SQUARE / 2 + 3, top - 6
        turned = f"translate({number(x)} {number(y)}) rotate(-45)"
        parts.append(element("text", "soft", text(name), transform=turned))
    y = top
    for index, (source, _) in enumerate(masks.space.edges):
        if source == 0 and index:
            y += _NODE_GAP
        parts.append(_row(masks, kind, index, y))
        y += _PITCH
    return "\n".join(parts)


def _row(masks: OperationMasks, kind: str, index: int, top: float) -> str:
    source, target = masks.space.edges[index]
    parts = [
        element(
            "text",
            "soft",
            _edge_markup(source, target),
            x=_EDGE_WIDTH - 8,
            y=top + 11.5,
            text_anchor="end",
        )
    ]
    for column, kept in enumerate(masks.rows(kind)[index]):
        family = family_of(masks.space.candidates[column])
        square = element(
            "rect",
            f"{family.key}-full" if kept else "gone",
            x=_EDGE_WIDTH + column * _PITCH,
            y=top,
            width=_SQUARE,
            height=_SQUARE,
            rx=3,
        )
        parts.append(square)
    title = f"{edge_name(source, target)}: {_kept(masks, kind, index)}"
    return element("g", None, element("title", None, text(title, 400)), *parts)


def _edge_markup(source: int, target: int) -> str:
    """The edge's name, the index of an input set as a subscript."""
    to = f" → {node_name(target)}"
    if source >= 2:
        return text(f"{node_name(source)}{to}")
    index = element("tspan", None, text(f"k−{2 - source}"), dy=2.5, font_size=8.5)
    return f"c{index}{element('tspan', None, escape(to, quote=False), dy=-2.5)}"


def _kept(masks: OperationMasks, kind: str, index: int) -> str:
    return ", ".join(plain_text(name, 40) for name in masks.operations(kind, index))


def _words(masks: OperationMasks, kind: str) -> str:
    sentences = []
    for index, (source, target) in enumerate(masks.space.edges):
        kept = _kept(masks, kind, index)
        sentences.append(f"{node_name(source)} to {node_name(target)}: {kept}.")
    return " ".join(sentences)
