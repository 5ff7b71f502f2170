"""Candidates of a choice in reports: their accuracies as a table, and against their sizes."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from wsdarts_registry._format import count, percent
from wsdarts_registry.drawing.svg import element, number, text
from wsdarts_sdk.reports._charts import chart_text, nice_ticks, short_percent
from wsdarts_sdk.runs.choice import Candidate, GenotypeChoice

_WIDTH, _HEIGHT = 360.0, 210.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 20.0, 16.0, 36.0


@dataclass(frozen=True, kw_only=True)
class CandidateRow:
    """A candidate as a table shows it.

    Attributes:
        name: Its number from 1, and what is special about it.
        accuracies: After each training; a dash where it was struck out before.
        parameters: Of the network of the preset's training.
        multiply_adds: Of that network, for one image.
        chosen: Whether it is the chosen one.
    """

    name: str
    accuracies: tuple[str, ...]
    parameters: str
    multiply_adds: str
    chosen: bool


def candidate_rows(choice: GenotypeChoice) -> tuple[CandidateRow, ...]:
    """Return the candidates, the one that was trained longest and best first."""
    order = sorted(
        range(len(choice.candidates)), key=lambda place: _order(choice, place), reverse=True
    )
    return tuple(
        CandidateRow(
            name=f"{place + 1}{' (α)' if choice.own and place == 0 else ''}",
            accuracies=tuple(map(percent, each.accuracies))
            + ("–",) * (len(choice.steps) - len(each.accuracies)),
            parameters=count(each.parameters),
            multiply_adds=count(each.multiply_adds),
            chosen=place == choice.chosen,
        )
        for place, each in ((place, choice.candidates[place]) for place in order)
    )


def _order(choice: GenotypeChoice, place: int) -> tuple[bool, int, float]:
    each = choice.candidates[place]
    last = each.accuracies[-1] if each.accuracies else 0.0
    return place == choice.chosen, len(each.accuracies), last


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
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _height(each.accuracies[0], shares)

    best = best_for_size(trained)
    path = "L".join(" ".join(map(number, point(each))) for each in best)
    title = "Accuracy by parameters"
    parts = [element("title", None, text(title)), element("desc", None, text(_said(best), 2000))]
    parts += [_level(share, shares) for share in shares]
    for size in sizes:
        across = (size - sizes[0]) / (sizes[-1] - sizes[0])
        x = _LEFT + across * (_WIDTH - _LEFT - _RIGHT)
        parts.append(chart_text(_short(size), x, _HEIGHT - _BOTTOM + 13, "middle"))
    parts.append(chart_text("parameters", (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, "middle"))
    parts.append(element("path", None, d=f"M{path}", class_="line b"))
    for each in trained:
        x, y = point(each)
        is_chosen = choice.chosen is not None and each is choice.candidates[choice.chosen]
        radius, tone = (5.0, "a") if is_chosen else (2.8, "b")
        parts.append(element("circle", None, cx=x, cy=y, r=radius, class_=f"dot {tone}"))
    box = f"0 0 {number(_WIDTH)} {number(_HEIGHT)}"
    return Markup(element("svg", None, *parts, viewBox=box, class_="chart", role="img"))  # noqa: S704


def _height(share: float, shares: Sequence[float]) -> float:
    up = (share - shares[0]) / (shares[-1] - shares[0])
    return _HEIGHT - _BOTTOM - up * (_HEIGHT - _BOTTOM - _TOP)


def _level(share: float, shares: Sequence[float]) -> str:
    y = _height(share, shares)
    line = f"M{number(_LEFT)} {number(y)}H{number(_WIDTH - _RIGHT)}"
    return element("path", None, d=line, class_="grid") + chart_text(
        short_percent(share), _LEFT - 6, y + 3.6, "end"
    )


def _short(size: float) -> str:
    """Write a number of parameters on an axis: ``850``, ``12.5k``, ``1.2M``."""
    for unit, factor in (("M", 1e6), ("k", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g}{unit}"
    return f"{size:.0f}"


def _said(best: Sequence[Candidate]) -> str:
    steps = (f"{percent(each.accuracies[0])} with {count(each.parameters)}" for each in best)
    return f"The best for their size, by parameters: {', '.join(steps)}."
