"""The image set that is free of terms for research only."""

import importlib
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

_BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
_LIST = """\
# group: Smileys & Emotion
# subgroup: face-smiling
1F600                                      ; fully-qualified     # 😀 E1.0 grinning face
263A                                       ; unqualified         # ☺ E0.6 smiling face
# group: People & Body
1F44B                                      ; fully-qualified     # 👋 E0.6 waving hand
1F44B 1F3FB                                ; fully-qualified     # 👋🏻 E1.0 waving hand: light
1F468 200D 1F692                           ; fully-qualified     # 👨‍🚒 E4.0 man firefighter
"""


@pytest.fixture
def emoji(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(_BENCHMARKS), *sys.path])
    return importlib.import_module("emoji_set")


def test_one_emoji_of_all_skin_tones(emoji: Any) -> None:
    assert list(emoji.listed(_LIST)) == [
        ("Smileys & Emotion", "\N{GRINNING FACE}"),
        ("People & Body", "\N{WAVING HAND SIGN}"),
        ("People & Body", "\N{MAN}\N{ZERO WIDTH JOINER}\N{FIRE ENGINE}"),
    ]


def test_what_is_drawn(emoji: Any, tmp_path: Path) -> None:
    if not emoji.FONT.exists() or not emoji.features.check("raqm"):
        pytest.skip("needs Debian's fonts-noto-color-emoji, and Pillow with Raqm")
    (tmp_path / "list.txt").write_text(_LIST + _LIST.splitlines()[2], encoding="utf-8")
    drawn = list(emoji.images(emoji.FONT, tmp_path / "list.txt"))
    assert [group for group, _ in drawn] == ["Smileys & Emotion", *2 * ["People & Body"]]
    for _, png in drawn:
        pixels = np.asarray(Image.open(io.BytesIO(png)))
        assert pixels.shape == (84, 84, 3)
        inked = np.argwhere((pixels < 250).any(axis=2))
        middle = (inked.min(axis=0) + inked.max(axis=0)) / 2
        assert abs(middle - 41.5).max() < 8
