"""α over time: for each edge the shares of its operations, stacked, epoch by epoch.

Softmax of α sums to 1 on each edge, so stacked areas show it whole: a search that decides
nothing keeps even stripes, one that decides ends with a broad band. The tiles stand as the
cell does, one row a target node and one column a source.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from wsdarts_registry._format import percent
from wsdarts_registry._text import sanitize
from wsdarts_registry.drawing.cells import edge_name
from wsdarts_registry.drawing.svg import FAMILIES, element, family_of, number, solid_index, text
from wsdarts_sdk.reports.charts import Band
from wsdarts_sdk.reports.facts import AlphaHistory


@dataclass(frozen=True, kw_only=True)
class Tile:
    """The picture of one edge.

    Attributes:
        edge: Its name, with subscripts.
        row: Place of its target among the intermediate nodes, from 1.
        column: Place of its source, from 1.
        picture: The stacked areas, as SVG without text.
        strongest: Operation with the largest share at the end, ``share`` that share.
        tone: Colour class of that operation.
    """

    edge: Markup
    row: int
    column: int
    picture: Markup
    strongest: str
    share: str
    tone: str


def alpha_tiles(history: AlphaHistory, kind: str, bands: Sequence[Band]) -> list[Tile]:
    """Draw every edge of one cell kind, in the order of the search space; none without epochs."""
    shares = np.nan_to_num(history.cell(kind))
    if not len(shares):
        return []
    tiles = []
    for edge, (source, target) in enumerate(history.space.edges):
        last = shares[-1, edge]
        strongest = history.space.candidates[int(last.argmax())]
        name = edge_name(source, target)
        tiles.append(
            Tile(
                edge=edge_markup(source, target),
                row=target - 1,
                column=source + 1,
                picture=_stack(history, shares[:, edge], bands, f"{name}, {kind} cell"),
                strongest=sanitize(strongest, 24),
                share=percent(float(last.max())),
                tone=tone_of(strongest, history.space.candidates),
            )
        )
    return tiles


def mean_strongest(history: AlphaHistory, kind: str) -> float:
    """Mean over the edges of the largest final share: how much α has decided, in (0, 1]."""
    return float(np.nan_to_num(history.cell(kind)[-1]).max(axis=1).mean())


def mean_even(history: AlphaHistory, kind: str) -> float:
    """Mean over the edges of the share that each operation left would have if all were equal."""
    left = (np.nan_to_num(history.cell(kind)[-1]) > 0).sum(axis=1)
    return float((1 / np.maximum(left, 1)).mean())


def edge_markup(source: int, target: int) -> Markup:
    """An edge's name as HTML, indices of the inputs set as subscripts."""
    name = edge_name(source, target)
    return Markup(name.replace("_{k-", "<sub>k−").replace("}", "</sub>"))  # noqa: S704


def tone_of(operation: str, candidates: tuple[str, ...]) -> str:
    """Colour class of an operation among its search space's candidates."""
    return f"op-{family_of(operation).key}-{solid_index(operation, candidates)}"


def tone_styles() -> Markup:
    """Style rules of all colour classes, for light and for dark ground."""
    light, dark = [], []
    for family in FAMILIES:
        for place, colour in enumerate(family.light.solids):
            light.append(_rule(f"op-{family.key}-{place}", colour))
        for place, colour in enumerate(family.dark.solids):
            dark.append(_rule(f"op-{family.key}-{place}", colour))
    return Markup(  # noqa: S704 - colours of the palette
        "".join(light) + "@media(prefers-color-scheme:dark){" + "".join(dark) + "}"
    )


def _rule(name: str, colour: str) -> str:
    return f".{name}{{fill:{colour};background:{colour}}}"


def _stack(
    history: AlphaHistory, shares: NDArray[np.float64], bands: Sequence[Band], title: str
) -> Markup:
    """Stacked areas of one edge; ``shares`` has shape ``(epochs, candidates)``.

    Each area reaches down to the ground and is drawn behind the ones below it, which takes
    half the points of closed stripes.
    """
    totals = 100 * np.cumsum(shares, axis=1)
    candidates = history.space.candidates
    parts = [element("title", None, text(title))]
    for column in range(len(candidates) - 1, -1, -1):
        if not shares[:, column].any():
            continue
        area = "".join(_area(totals[:, column], band) for band in bands)
        name = element("title", None, text(candidates[column]))
        parts.append(
            element("path", None, name, d=area, class_=tone_of(candidates[column], candidates))
        )
    cuts = "".join(f"M{band.last} 0V100" for band in bands[:-1])
    if cuts:
        parts.append(element("path", None, d=cuts, class_="cut"))
    return Markup(  # noqa: S704
        element(
            "svg",
            None,
            *parts,
            viewBox=f"0 0 {len(shares)} 100",
            preserveAspectRatio="none",
            class_="stack",
            role="img",
        )
    )


def _area(total: NDArray[np.float64], band: Band) -> str:
    """One stage's part of an area: values at the middles of epochs, level to its sides."""
    heights = [number(100 - float(value)) for value in total[band.first - 1 : band.last]]
    points = [f"{epoch + 0.5:g} {height}" for epoch, height in enumerate(heights, band.first - 1)]
    start, stop = band.first - 1, band.last
    return f"M{start} 100V{heights[0]}L{' '.join(points)}H{stop}V100Z"
