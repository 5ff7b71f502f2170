"""Amounts as people read them."""

import math

import pytest

from wsdarts_registry._format import count, duration, figure, percent, pluralize, setting, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.000_93, "0.93 ms"),
        (0.0984, "98 ms"),
        (0.0996, "0.1 s"),
        (0.348, "0.35 s"),
        (9.94, "9.9 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7_799.6, "2 h 10 min"),
        (100_800, "1 d 4 h"),
        (-5, "−5 s"),
        (math.nan, "unknown"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_other_amounts() -> None:
    assert count(1_234_567) == "1,234,567"
    assert [pluralize(n, "image") for n in (0, 1, 1797)] == ["0 images", "1 image", "1,797 images"]
    assert [pluralize(n, "class") for n in (1, 10)] == ["1 class", "10 classes"]
    assert percent(0.7134) == "71.3 %"
    assert [size(n) for n in (0, 812, 999_600, 3.41e6, 1.2e9, 310e6)] == [
        "0 B",
        "812 B",
        "1 MB",
        "3.4 MB",
        "1.2 GB",
        "310 MB",
    ]
    assert figure(0.5, "ratio") == "50.0 %"
    assert figure(3.14159) == "3.142"
    assert figure(1200, "count") == "1,200"
    assert figure(2.5, "h") == "2.5 h"
    assert [figure(1e300, unit) for unit in ("", "count", "ratio", "s")] == [
        *("1e+300", "1e+300", "1e+300", "1e+300 s"),
    ]
    assert figure(-1e15) == "-1e+15"
    assert figure(999_999_999_999_999, "count") == "999,999,999,999,999"
    assert figure(math.inf) == size(math.inf) == percent(math.nan) == "unknown"


def test_settings_as_set_takes_them() -> None:
    assert [setting(v) for v in (None, True, False, 3, 0.025, "first")] == [
        *("none", "true", "false"),
        *("3", "0.025", "first"),
    ]
    assert setting(["none", "skip_connect"]) == "none, skip_connect"
    assert setting([{"cells": 3, "flip": True}, {"cells": 5}]) == "cells 3, flip true; cells 5"
