"""Charts of reports as inline SVG: lines, softmax of α by edge, candidates, confusion matrix.

Colours are classes of the report's style sheet, so the charts follow its light and dark ground.
A chart is drawn at the width of a telephone and only ever scaled up.
"""

import math
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from wsdarts_registry._format import count, percent
from wsdarts_registry._text import clipped, sanitize
from wsdarts_registry.drawing.cells import edge_name
from wsdarts_registry.drawing.svg import FAMILIES, element, family_of, number, solid_index, text
from wsdarts_sdk.reports.facts import AlphaHistory
from wsdarts_sdk.runs.result_records import Candidate, Evaluation, GenotypeChoice

_WIDTH, _HEIGHT = 360.0, 210.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 14.0, 22.0, 30.0
_FAR, _ABOVE, _BELOW = 20.0, 16.0, 36.0  # margins of the chart of candidates
_CHARACTER = 6.2
_MOST_MARKERS = 16
_LABEL_PITCH = 13.0
# Of the confusion matrix.
MOST_NAMED_CLASSES = 16  # whose names stand beside the rows
_NAME_LENGTH = 12
_ABOVE_CELLS = 20.0  # above its cells
_AXIS_PITCH = 15.0  # between labels of an axis
_LABEL_CHARACTER = 5.9  # width of a character of its labels
_NUMBERED_CELL = 16.0  # least side of a cell with a number in it
_STRONGEST = 0.6  # so that a number on it can be read on both grounds
_FAINTEST = {True: 0.1, False: 0.35}  # of a cell with and without room for a number
_CONFUSED_PAIRS = 10


@dataclass(frozen=True, kw_only=True)
class Series:
    """A line of a chart: one value an epoch, None or not finite where there is none.

    Attributes:
        name: Its label; empty for the only line of a chart.
        values: As many as the chart has epochs.
        tone: Class of the style sheet that gives its colour and its dashes, such as ``"a"``.
        breaks: Epochs before which the line is broken, besides those at which a band begins.
    """

    name: str
    values: Sequence[float | None]
    tone: str = "a"
    breaks: frozenset[int] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Band:
    """A stage on the horizontal axis: its first and last epoch, counted from 1."""

    first: int
    last: int
    label: str


@dataclass(frozen=True, kw_only=True)
class _Scale:
    epochs: int
    low: float
    high: float
    right: float

    def x(self, epoch: float) -> float:
        """Return the middle of an epoch in pixels; epochs are columns of equal width."""
        return _LEFT + (epoch - 0.5) / self.epochs * (self.right - _LEFT)

    def y(self, value: float) -> float:
        return (
            _HEIGHT
            - _BOTTOM
            - (value - self.low) / (self.high - self.low) * (_HEIGHT - _BOTTOM - _TOP)
        )


def line_chart(
    title: str,
    lines: Sequence[Series],
    bands: Sequence[Band],
    *,
    write: Callable[[float], str],
    zero: bool = False,
    whole: bool = False,
) -> Markup | None:
    """Draw one or a few series over the epochs of a run.

    Args:
        title: What is drawn; read out by screen readers, too.
        lines: Series of equal length.
        bands: Stages, which are shaded in turn and named at the top.
        write: Writes a value of the vertical axis.
        zero: Whether that axis starts at 0.
        whole: Whether its values are whole numbers.

    Returns:
        The SVG, or None if no series has a finite value.
    """
    lines = [line for line in lines if _finite(line.values)]
    everything = [value for line in lines for value in _finite(line.values)]
    if not everything:
        return None
    lowest = min([0.0, *everything] if zero else everything)
    ticks = nice_ticks(lowest, max(everything), whole=whole)
    labels = [f"{line.name} {write(_finite(line.values)[-1])}".strip() for line in lines]
    room = max(len(label) for label in labels) * _CHARACTER + 10
    scale = _Scale(
        epochs=len(lines[0].values), low=ticks[0], high=ticks[-1], right=_WIDTH - _RIGHT - room
    )
    parts = [
        element("title", None, text(title)),
        element("desc", None, text(_described(lines, write), 2000)),
    ]
    parts += [_band(band, scale, odd=place % 2 == 1) for place, band in enumerate(bands)]
    parts += [_horizontal(tick, scale, write) for tick in ticks]
    parts += [_epoch_tick(epoch, scale) for epoch in _epoch_ticks(scale.epochs)]
    parts.append(chart_text("epoch", (_LEFT + scale.right) / 2, _HEIGHT - 4, "middle"))
    breaks = {band.first for band in bands}
    parts += [_line(line, scale, breaks | line.breaks) for line in lines]
    parts += _end_labels(lines, labels, scale)
    box = f"0 0 {number(_WIDTH)} {number(_HEIGHT)}"
    return Markup(element("svg", None, *parts, viewBox=box, class_="chart", role="img"))  # noqa: S704


def short_number(value: float) -> str:
    """Write a value of an axis with three digits."""
    return f"{value:.3g}"


def short_percent(value: float) -> str:
    """Write a share on an axis as a percentage with three digits."""
    return f"{100 * value:.3g} %"


def nice_ticks(low: float, high: float, most: int = 5, *, whole: bool = False) -> list[float]:
    """Return two or more round values, evenly spaced, that span ``low`` to ``high``."""
    largest = max(abs(high), abs(low))
    if high - low <= max(1e-12 * largest, 1e-200):
        margin = largest / 2 if largest > 1e-200 else 0.5
        low, high = low - margin if low else 0.0, high + margin  # none of our values is below 0
    rough = max((high - low) / (most - 1), 1.0 if whole else 0.0)
    power = 10.0 ** math.floor(math.log10(rough))
    factors = (1, 2, 5, 10) if whole else (1, 2, 2.5, 5, 10)
    step = next(power * factor for factor in factors if power * factor >= 0.999 * rough)
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return [tick * step for tick in range(first, last + 1)]


def _finite(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def _described(lines: Sequence[Series], write: Callable[[float], str]) -> str:
    said = []
    for line in lines:
        values, name = _finite(line.values), line.name or "It"
        span = f"goes from {write(values[0])} to" if len(values) > 1 else "is"
        said.append(f"{name} {span} {write(values[-1])}.")
    return " ".join(said)


def chart_text(content: str, x: float, y: float, anchor: str, class_: str = "tick") -> str:
    """Return text at a place of a chart, which it begins, ends or is in the middle of."""
    return element("text", None, text(content), x=x, y=y, text_anchor=anchor, class_=class_)


def _band(band: Band, scale: _Scale, *, odd: bool) -> str:
    left, right = scale.x(band.first - 0.5), scale.x(band.last + 0.5)
    ground = element(
        "rect",
        None,
        x=left,
        y=_TOP,
        width=right - left,
        height=_HEIGHT - _TOP - _BOTTOM,
        class_="band odd" if odd else "band",
    )
    # A narrow band keeps the number of its stage alone, a very narrow one nothing.
    for label in (band.label, *band.label.split()[-1:]):
        if len(label) * _CHARACTER <= right - left:
            return ground + chart_text(label, (left + right) / 2, _TOP - 7, "middle")
    return ground


def _horizontal(tick: float, scale: _Scale, write: Callable[[float], str]) -> str:
    y = scale.y(tick)
    line = element(
        "path", None, d=f"M{number(_LEFT)} {number(y)}H{number(scale.right)}", class_="grid"
    )
    return line + chart_text(write(tick), _LEFT - 6, y + 3.6, "end")


def _epoch_ticks(epochs: int) -> list[int]:
    wanted = [round(tick) for tick in nice_ticks(0, epochs, 6, whole=True)]
    return sorted({1, *(tick for tick in wanted if 1 < tick <= epochs)} if epochs > 1 else {1})


def _epoch_tick(epoch: int, scale: _Scale) -> str:
    return chart_text(str(epoch), scale.x(epoch), _HEIGHT - _BOTTOM + 13, "middle")


def _line(line: Series, scale: _Scale, breaks: AbstractSet[int]) -> str:
    """Draw a line, broken where a value is missing or a stage begins, with markers if few."""
    path, dots, drawing = [], [], False
    for epoch, value in enumerate(line.values, start=1):
        if value is None or not math.isfinite(value):
            drawing = False
            continue
        x, y = scale.x(epoch), scale.y(value)
        onward = drawing and epoch not in breaks
        path.append(f"{'L' if onward else 'M'}{number(x)} {number(y)}")
        dots.append(element("circle", None, cx=x, cy=y, r=2.4, class_=f"dot {line.tone}"))
        drawing = True
    markers = dots if len(dots) <= _MOST_MARKERS else []
    return element("path", None, d="".join(path), class_=f"line {line.tone}") + "".join(markers)


def _end_labels(lines: Sequence[Series], labels: Sequence[str], scale: _Scale) -> list[str]:
    """Write labels right of the lines' last values, moved apart where they would overlap."""
    wanted = sorted(
        (scale.y(_finite(line.values)[-1]), line.tone, label)
        for line, label in zip(lines, labels, strict=True)
    )
    heights: list[float] = []
    for y, _, _ in wanted:
        heights.append(max(y, heights[-1] + _LABEL_PITCH) if heights else y)
    excess = max(0.0, heights[-1] - (_HEIGHT - _BOTTOM))
    return [
        chart_text(label, scale.right + 6, height - excess + 3.8, "start", f"end {tone}")
        for height, (_, tone, label) in zip(heights, wanted, strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class Tile:
    """The chart of the softmax of α of one edge.

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
    """Draw the shares of the operations of every edge of a cell kind, stacked, epoch by epoch.

    Returns:
        Tiles in the order of the search space; none without epochs.
    """
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
    """Return the mean over the edges of the largest final percent, in (0, 1]."""
    return float(np.nan_to_num(history.cell(kind)[-1]).max(axis=1).mean())


def mean_even(history: AlphaHistory, kind: str) -> float:
    """Return the mean over the edges of the share that equal operations would have."""
    left = (np.nan_to_num(history.cell(kind)[-1]) > 0).sum(axis=1)
    return float((1 / np.maximum(left, 1)).mean())


def edge_markup(source: int, target: int) -> Markup:
    """Write an edge's name as HTML, with the indices of inputs as subscripts."""
    name = edge_name(source, target)
    return Markup(name.replace("_{k-", "<sub>k−").replace("}", "</sub>"))  # noqa: S704


def tone_of(operation: str, candidates: tuple[str, ...]) -> str:
    """Return the colour class of an operation among its search space's candidates."""
    return f"op-{family_of(operation).key}-{solid_index(operation, candidates)}"


def tone_styles() -> Markup:
    """Return the style rules of all colour classes, for light and for dark ground."""
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
    """Draw the stacked areas of one edge; ``shares`` has shape ``(epochs, candidates)``.

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
    """Draw a stage's part of an area: values at the middles of epochs, level to its sides."""
    heights = [number(100 - float(value)) for value in total[band.first - 1 : band.last]]
    points = [f"{epoch + 0.5:g} {height}" for epoch, height in enumerate(heights, band.first - 1)]
    start, stop = band.first - 1, band.last
    return f"M{start} 100V{heights[0]}L{' '.join(points)}H{stop}V100Z"


def best_for_size(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the candidates that no smaller or equal one beats, by parameters, the smallest first.

    All are compared after the first training, which each of them has had.
    """
    found: list[Candidate] = []
    for each in sorted(candidates, key=lambda one: (one.parameters, -one.accuracies[0])):
        if not found or each.accuracies[0] > found[-1].accuracies[0]:
            found.append(each)
    return tuple(found)


def trade_off_chart(choice: GenotypeChoice) -> Markup | None:
    """Draw the accuracy of all candidates after their first training against their parameters.

    Returns:
        The SVG, with a line through the best ones for their size; None without trainings.
    """
    trained = [each for each in choice.candidates if each.accuracies]
    if len(trained) < 2:
        return None
    sizes = nice_ticks(
        min(each.parameters for each in trained), max(each.parameters for each in trained), 4
    )
    shares = nice_ticks(
        min(each.accuracies[0] for each in trained), max(each.accuracies[0] for each in trained)
    )

    def point(each: Candidate) -> tuple[float, float]:
        across = (each.parameters - sizes[0]) / (sizes[-1] - sizes[0])
        return _LEFT + across * (_WIDTH - _LEFT - _FAR), _share_at(each.accuracies[0], shares)

    best = best_for_size(trained)
    path = "L".join(" ".join(map(number, point(each))) for each in best)
    title = "Accuracy by parameters"
    parts = [
        element("title", None, text(title)),
        element("desc", None, text(_in_words(best), 2000)),
    ]
    parts += [_share_line(share, shares) for share in shares]
    for size in sizes:
        across = (size - sizes[0]) / (sizes[-1] - sizes[0])
        x = _LEFT + across * (_WIDTH - _LEFT - _FAR)
        parts.append(chart_text(_in_thousands(size), x, _HEIGHT - _BELOW + 13, "middle"))
    parts.append(chart_text("parameters", (_LEFT + _WIDTH - _FAR) / 2, _HEIGHT - 6, "middle"))
    parts.append(element("path", None, d=f"M{path}", class_="line b"))
    for each in trained:
        x, y = point(each)
        is_chosen = choice.chosen is not None and each is choice.candidates[choice.chosen]
        radius, tone = (5.0, "a") if is_chosen else (2.8, "b")
        parts.append(element("circle", None, cx=x, cy=y, r=radius, class_=f"dot {tone}"))
    box = f"0 0 {number(_WIDTH)} {number(_HEIGHT)}"
    return Markup(element("svg", None, *parts, viewBox=box, class_="chart", role="img"))  # noqa: S704


def _share_at(share: float, shares: Sequence[float]) -> float:
    up = (share - shares[0]) / (shares[-1] - shares[0])
    return _HEIGHT - _BELOW - up * (_HEIGHT - _BELOW - _ABOVE)


def _share_line(share: float, shares: Sequence[float]) -> str:
    y = _share_at(share, shares)
    line = f"M{number(_LEFT)} {number(y)}H{number(_WIDTH - _FAR)}"
    return element("path", None, d=line, class_="grid") + chart_text(
        short_percent(share), _LEFT - 6, y + 3.6, "end"
    )


def _in_thousands(size: float) -> str:
    """Write a number of parameters on an axis: ``850``, ``12.5k``, ``1.2M``."""
    for unit, factor in (("M", 1e6), ("k", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g}{unit}"
    return f"{size:.0f}"


def _in_words(best: Sequence[Candidate]) -> str:
    steps = (f"{percent(each.accuracies[0])} with {count(each.parameters)}" for each in best)
    return f"The best for their size, by parameters: {', '.join(steps)}."


def confusion_svg(evaluation: Evaluation) -> Markup:
    """Draw the confusion matrix: a row for each true class, a column for each predicted one.

    The shade of a cell is its share of its row; the diagonal has the colour of what is right. With
    few classes the rows have names and the cells numbers of images; with many it is a map of shades
    with class numbers at the edges.
    """
    classes = len(evaluation.classes)
    names = [clipped(scores.name, _NAME_LENGTH) for scores in evaluation.classes]
    labels = [str(place + 1) for place in range(classes)]
    if classes <= MOST_NAMED_CLASSES:
        labels = [f"{name} {label}" for name, label in zip(names, labels, strict=True)]
    left = max(map(len, labels)) * _LABEL_CHARACTER + 10
    side = (_WIDTH - left - 2) / classes
    pitch = max(_AXIS_PITCH, len(str(classes)) * _LABEL_CHARACTER + 5)
    every = next((n for n in (1, 2, 5, 10, 20, 50, 100) if n * side >= pitch), classes)
    shown = [place for place in range(classes) if (place + 1) % every == 0 or every == 1]
    size = side * classes
    parts = [
        element("title", None, "Confusion matrix"),
        element("desc", None, text(_confusions_in_words(evaluation), 2000)),
        element("rect", None, x=left, y=_ABOVE_CELLS, width=size, height=size, class_="ground"),
        *(_class_line(place, side, left, size) for place in shown),
        *_confusion_cells(evaluation, side, left),
    ]
    for place in shown:
        middle = (place + 0.5) * side
        parts.append(chart_text(str(place + 1), left + middle, _ABOVE_CELLS - 6, "middle"))
        parts.append(chart_text(labels[place], left - 5, _ABOVE_CELLS + middle + 3.6, "end"))
    box = f"0 0 {number(_WIDTH)} {number(_ABOVE_CELLS + size + 2)}"
    return Markup(  # noqa: S704
        element("svg", None, *parts, viewBox=box, class_="chart matrix", role="img")
    )


def _confusion_cells(evaluation: Evaluation, side: float, left: float) -> list[str]:
    found, rows = [], evaluation.confusion_matrix.sum(axis=1)
    for true, predicted, images in evaluation.confusion:
        x, y = left + predicted * side, _ABOVE_CELLS + true * side
        strongest = _STRONGEST if side >= _NUMBERED_CELL else 1.0
        faintest = _FAINTEST[side >= _NUMBERED_CELL]
        share = images / int(rows[true])
        names = [evaluation.classes[place].name for place in (true, predicted)]
        found.append(
            element(
                "rect",
                None,
                element("title", None, text(f"{names[0]} as {names[1]}: {images}")),
                x=x,
                y=y,
                width=side,
                height=side,
                fill_opacity=round(faintest + (strongest - faintest) * share, 3),
                class_="right" if true == predicted else "wrong",
            )
        )
        if side >= _NUMBERED_CELL and len(str(images)) * _LABEL_CHARACTER <= side:
            found.append(
                chart_text(str(images), x + side / 2, y + side / 2 + 3.6, "middle", "count")
            )
    return found


def _class_line(place: int, side: float, left: float, size: float) -> str:
    along = number((place + 0.5) * side + left)
    down = number((place + 0.5) * side + _ABOVE_CELLS)
    path = f"M{along} {number(_ABOVE_CELLS)}v{number(size)}M{number(left)} {down}h{number(size)}"
    return element("path", None, d=path, class_="grid")


def _confusions_in_words(evaluation: Evaluation) -> str:
    pairs = [f"{t} as {p} {n} times" for t, p, n in evaluation.confused_pairs(_CONFUSED_PAIRS)]
    right = f"{percent(evaluation.accuracy.value)} on the diagonal"
    return f"{right}; most confused: {', '.join(pairs) or 'none'}."
