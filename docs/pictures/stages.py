"""The three stages of the search, and the split of the data that each of them is given."""

from docs.pictures.canvas import (
    MARGIN,
    WIDTH,
    arrow,
    box,
    heading,
    line,
    lines,
    operation,
    picture,
    words,
)
from wsdarts_registry.drawing.cells import edge_name
from wsdarts_registry.drawing.svg import element
from wsdarts_registry.stores.opening import ShippedZoo

# Of preset `paper`: cells of the supernet, operations on an edge.
_STAGES = ((5, 8), (11, 5), (17, 3))
_EXAMPLE = "flowers102@3"
_EDGE = 0
_CELL = 13.0


def stages() -> str:
    """Draw the three stages: the network grows, the candidates shrink."""
    example = ShippedZoo().pull(_EXAMPLE)
    space = example.masks.space
    left_after = [frozenset(space.candidates)]
    left_after += [frozenset(m.operations("normal", _EDGE)) for m in example.stage_masks[:2]]
    name = edge_name(*space.edges[_EDGE])
    body, top = [heading(32, "Progressive search (P-DARTS)")], 84.0
    body.append(words(MARGIN, 54, f"with the candidates of one edge, of {_EXAMPLE}", style="soft"))
    for number, (cells, operations) in enumerate(_STAGES, start=1):
        body.append(
            words(MARGIN, top, f"Stage {number}: {cells} cells, {operations} operations an edge")
        )
        body.append(_network(top + 12, cells))
        body += _candidates(top + 44, space.candidates, left_after[number - 1])
        top += 172
        if number < len(_STAGES):
            gone = operations - _STAGES[number][1]
            body.append(arrow((MARGIN + 12, top - 40), (MARGIN + 12, top - 16)))
            text = f"the {gone} with the lowest α go; fresh weights, fresh α"
            body.append(words(MARGIN + 26, top - 24, text, style="soft"))
            top += 12
    body += _ends(top - 38)
    kept = ", ".join(sorted(left_after[2], key=space.candidates.index))
    return picture(
        "stages",
        body,
        top + 118,
        "The three stages of the search",
        "Stage 1 has 5 cells and all 8 candidates on each edge. The three with the lowest alpha "
        "go. Stage 2 begins with fresh weights and has 11 cells and 5 operations on an edge. Two "
        "go. Stage 3 has 17 cells and 3 operations on an edge. Two cells of each network, a third "
        "and two thirds of the way through, are reduction cells. The candidates drawn are those "
        f"of the edge {name} of the normal cell in {_EXAMPLE} of the shipped zoo; {kept} are "
        "left. P-DARTS now derives a genotype: two inputs for each node, one operation on each. "
        "Transfer Architecture Search stops before that, and keeps the masks, lambda, and with "
        "weights and alpha, lambda hat. A warm start is stage 3 alone.",
    )


def _network(y: float, cells: int) -> str:
    """A row of cells; the reduction cells are the full ones."""
    reductions = (cells // 3, 2 * cells // 3)
    return "".join(
        element(
            "rect",
            "node" if cell in reductions else "port",
            x=MARGIN + cell * (_CELL + 6),
            y=y,
            width=_CELL,
            height=_CELL + 5,
            rx=3,
            stroke_width=1.2,
        )
        for cell in range(cells)
    )


def _candidates(y: float, names: tuple[str, ...], left: frozenset[str]) -> list[str]:
    """Chips of the candidates, in three columns; outlines where one has gone."""
    parts = []
    for place, name in enumerate(names):
        x, top = MARGIN + (place % 3) * 124, y + (place // 3) * 28
        if name in left:
            parts.append(operation(x, top, name, width=116))
        else:
            parts.append(box(x, top, 116, 22, style="gone", rx=11))
    return parts


def _ends(y: float) -> list[str]:
    """Draw the next step of P-DARTS, and the end of TAS."""
    middle = WIDTH / 2
    return [
        line((MARGIN, y), (WIDTH - MARGIN, y)),
        arrow((MARGIN + 78, y + 8), (MARGIN + 78, y + 34)),
        arrow((middle + 90, y + 8), (middle + 90, y + 34), dashed=True),
        box(MARGIN, y + 38, 170, 100),
        words(MARGIN + 12, y + 60, "TAS stops here", bold=True),
        lines(
            MARGIN + 12,
            y + 82,
            ("λ: these masks", "λ̂: masks, weights", "and α of stage 3"),
            style="ink",
        ),
        box(middle + 12, y + 38, 170, 100, style="gone"),
        words(middle + 24, y + 60, "P-DARTS goes on", bold=True),
        lines(middle + 24, y + 82, ("two inputs a node,", "one operation each:", "a genotype")),
    ]


def split() -> str:
    """Draw the parts of a dataset, and who sees which of them."""
    width = (WIDTH - 2 * MARGIN - 8) / 3
    names = (("weights", "half", "sep"), ("α", "half", "dil"), ("validation", "third", "skip"))
    seen = (
        ("the embedding", (1, 1, 0)),
        ("search: the supernet's weights", (1, 0, 0)),
        ("search: α", (0, 1, 0)),
        ("a sweep's short trainings", (1, 1, 0)),
        ("the final training", (1, 1, 0)),
        ("the one evaluation at its end", (0, 0, 1)),
    )
    body = [heading(32, "A dataset, each class of it")]
    for place, (first, second, family) in enumerate(names):
        x = MARGIN + place * (width + 4)
        middle = x + width / 2
        body.append(
            element(
                "rect",
                f"{family}-tint",
                x=x,
                y=48,
                width=width,
                height=50,
                rx=7,
                stroke_width=1.3,
            )
        )
        ink = f"{family}-ink"
        body.append(words(middle, 69, first, style=ink, anchor="middle", bold=True))
        body.append(words(middle, 87, second, style=ink, anchor="middle"))
    body.append(line((MARGIN, 110), (MARGIN + 2 * width + 4, 110), style="wire", width=1.8))
    body.append(words(MARGIN + width + 2, 128, "train part", style="soft", anchor="middle"))
    for row, (what, parts) in enumerate(seen):
        y = 164 + row * 44
        body.append(words(MARGIN, y, what))
        for place, sees in enumerate(parts):
            x = MARGIN + place * (width + 4)
            style = f"{names[place][2]}-full" if sees else "gone"
            body.append(element("rect", style, x=x, y=y + 8, width=width, height=9, rx=4.5))
    return picture(
        "split",
        body,
        164 + 6 * 44,
        "The split of a dataset, and who sees which part",
        "Each class is split into three parts of about the same size: the weights half and the "
        "alpha half, which together are the train part, and the validation third. The embedding "
        "and the final training see the train part. In a search the supernet's weights see the "
        "weights half and alpha sees the alpha half. A sweep's short trainings learn from the "
        "weights half and are ranked on the alpha half. Only the one evaluation at the end of "
        "the final training sees the validation third.",
    )
