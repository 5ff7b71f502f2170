"""Line charts and stacked shares: right places, and nothing outside the picture."""

import itertools
import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_sdk.reports._charts import (
    Band,
    Series,
    alpha_tiles,
    edge_markup,
    line_chart,
    mean_even,
    mean_strongest,
    nice_ticks,
    tone_of,
    tone_styles,
)
from wsdarts_sdk.reports.facts import AlphaHistory

SPACE = SearchSpace(nodes=1, candidates=("none", "skip_connect", "sep_conv_3x3", "sep_conv_5x5"))
BANDS = [Band(first=1, last=2, label="stage 1"), Band(first=3, last=4, label="stage 2")]


def _parsed(picture: str) -> ET.Element:
    return ET.fromstring(picture)  # noqa: S314 - written by the code under test


def _short(value: float) -> str:
    return f"{value:.3g}"


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.25, 0.5, 0.75, 1]),
        (0.58, 2.6, [0, 1, 2, 3]),
        (0, 0.025, [0, 0.01, 0.02, 0.03]),
        (7, 7, [2, 4, 6, 8, 10, 12]),
        (0, 0, [0, 0.2, 0.4, 0.6]),
    ],
)
def test_ticks_are_round_and_span_the_values(low: float, high: float, ticks: list[float]) -> None:
    np.testing.assert_allclose(nice_ticks(low, high), ticks, atol=1e-12)


def test_ticks_of_counts_are_whole() -> None:
    assert nice_ticks(0, 1, whole=True) == [0, 1]
    assert nice_ticks(0, 0, whole=True) == [0, 1]
    assert nice_ticks(0, 9, whole=True) == [0, 5, 10]
    # Without that the step would be a quarter, or 2.5.
    assert nice_ticks(0, 1)[1] == 0.25
    assert nice_ticks(0, 9)[1] == 2.5


@given(st.floats(-1e9, 1e9), st.floats(0, 1e9))
def test_ticks_always_span_the_values(low: float, width: float) -> None:
    ticks = nice_ticks(low, low + width)
    slack = 1e-6 * (abs(low) + width)
    assert 2 <= len(ticks) <= 8
    assert ticks[0] <= low + slack
    assert ticks[-1] >= low + width - slack


def test_lines_break_between_stages_and_where_a_value_is_missing() -> None:
    chart = line_chart(
        "Loss",
        [
            Series(name="weights", values=[4.0, 3.0, 2.0, 1.0]),
            Series(name="α", values=[None, 3.0, math.nan, 1.0], tone="b"),
        ],
        BANDS,
        write=_short,
    )
    assert chart is not None
    root = _parsed(chart)
    lines = [e.attrib["d"] for e in root.iter("path") if e.attrib["class"].startswith("line")]
    assert [re.sub(r"[^ML]", "", d) for d in lines] == ["MLML", "MM"]
    assert [e.text for e in root.iter("text") if "end" in e.attrib["class"].split()] == [
        "weights 1",
        "α 1",
    ]
    description = root.find("desc")
    assert description is not None
    assert re.findall(r"from (\d) to (\d)", description.text or "") == [("4", "1"), ("3", "1")]


def test_epochs_are_columns_of_equal_width() -> None:
    chart = line_chart("x", [Series(name="", values=[1.0, 2.0, 3.0, 4.0])], BANDS, write=_short)
    assert chart is not None
    root = _parsed(chart)
    dots = [float(e.attrib["cx"]) for e in root.iter("circle")]
    bands = [e.attrib for e in root.iter("rect")]
    np.testing.assert_allclose(np.diff(dots), np.diff(dots)[0], atol=0.11)
    # A stage's band reaches half an epoch beyond its first and its last one.
    assert float(bands[0]["x"]) + float(bands[0]["width"]) == pytest.approx(
        (dots[1] + dots[2]) / 2, abs=0.11
    )


def test_a_series_without_values_is_not_drawn() -> None:
    assert line_chart("x", [Series(name="", values=[None, math.inf])], [], write=_short) is None
    assert line_chart("x", [], [], write=_short) is None


values = st.lists(
    st.none() | st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=30
)


@given(values, values, st.text(max_size=20))
def test_everything_stays_inside_the_picture(
    first: list[float | None], second: list[float | None], name: str
) -> None:
    epochs = max(len(first), len(second))
    lines = [
        Series(name=name, values=v + [None] * (epochs - len(v)), tone=tone)
        for v, tone in ((first, "a"), (second, "b"))
    ]
    chart = line_chart(name, lines, [Band(first=1, last=epochs, label=name)], write=_short)
    if chart is None:
        return
    root = _parsed(chart)
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    for text in root.iter("text"):
        assert 0 <= float(text.attrib["x"]) <= width
        assert 0 <= float(text.attrib["y"]) <= height
    for path in root.iter("path"):
        for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path.attrib["d"]):
            assert 0 <= float(x) <= width
            assert 0 <= float(y) <= height
    ends = sorted(
        float(e.attrib["y"]) for e in root.iter("text") if "end" in e.attrib["class"].split()
    )
    assert all(b - a >= 11 for a, b in itertools.pairwise(ends))


def _history() -> AlphaHistory:
    shares = np.array(
        [
            [[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]],
            [[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]],
            [[0.0, 0.5, 0.5, 0.0], [0.0, 0.0, 0.9, 0.1]],
            [[0.0, 0.6, 0.4, 0.0], [0.0, 0.0, 0.8, 0.2]],
        ]
    )
    return AlphaHistory(space=SPACE, normal=shares, reduction=shares)


def test_tiles_by_hand() -> None:
    first, second = alpha_tiles(_history(), "normal", BANDS)
    assert (first.row, first.column, first.strongest, first.share) == (
        1,
        1,
        "skip_connect",
        "60.0 %",
    )
    assert (second.row, second.column, second.strongest, second.share) == (
        *(1, 2),
        *("sep_conv_3x3", "80.0 %"),
    )
    root = _parsed(first.picture)
    areas = {
        path.attrib["class"]: path.attrib["d"]
        for path in root.iter("path")
        if path.attrib["class"] != "cut"
    }
    # `none` is the lowest stripe: 10 % in stage 1, gone in stage 2, heights from the top.
    first_stage, second_stage = areas["op-none-0"].split("ZM")
    assert first_stage == "M0 100V90L0.5 90 1.5 90H2V100"
    assert second_stage == "2 100V100L2.5 100 3.5 100H4V100Z"
    # Stacked on it: 10 + 20 %, then 50 % and 60 %.
    first_stage, second_stage = areas["op-skip-0"].split("ZM")
    assert first_stage == "M0 100V70L0.5 70 1.5 70H2V100"
    assert second_stage == "2 100V50L2.5 50 3.5 40H4V100Z"
    # The highest one is drawn first, so that the lower ones cover it.
    assert next(iter(areas)) == "op-sep-1"
    assert [p.attrib["d"] for p in root.iter("path") if p.attrib["class"] == "cut"] == ["M2 0V100"]


def test_how_much_alpha_has_decided() -> None:
    history = _history()
    assert mean_strongest(history, "normal") == pytest.approx(0.7)
    # Two operations are left on either edge: even shares are 1/2, not 1/4.
    assert mean_even(history, "normal") == pytest.approx(0.5)


def test_dropped_operations_may_be_nan() -> None:
    history = _history()
    with_nan = np.where(history.normal == 0, np.nan, history.normal)
    other = AlphaHistory(space=SPACE, normal=with_nan, reduction=with_nan)
    assert alpha_tiles(other, "normal", BANDS) == alpha_tiles(history, "normal", BANDS)
    assert mean_even(other, "normal") == mean_even(history, "normal")


def test_no_epochs_no_tiles() -> None:
    empty = np.zeros((0, *SPACE.shape))
    assert alpha_tiles(AlphaHistory(space=SPACE, normal=empty, reduction=empty), "normal", []) == []


def test_every_tone_has_a_colour_on_both_grounds() -> None:
    styles = str(tone_styles())
    for name in SPACE.candidates:
        assert styles.count(f".{tone_of(name, SPACE.candidates)}{{fill:#") == 2


def test_edge_names_have_subscripts() -> None:
    assert edge_markup(0, 2) == "c<sub>k−2</sub> → 0"
    assert edge_markup(3, 5) == "1 → 3"
