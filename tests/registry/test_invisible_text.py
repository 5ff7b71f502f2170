"""What of text is refused where it enters: what acts, and what is not seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdarts_registry._text import is_plain_line, is_plain_text, plain_text, settled_line

# Default_Ignorable_Code_Point and Bidi_Control of Unicode 16, as DerivedCoreProperties.txt and
# PropList.txt list them.
_IGNORABLE = """
00AD 034F 061C 115F..1160 17B4..17B5 180B..180F 200B..200F 202A..202E 2060..206F 3164 FE00..FE0F
FEFF FFA0 FFF0..FFF8 1BCA0..1BCA3 1D173..1D17A E0000..E0FFF
"""
INVISIBLE = [
    chr(point)
    for span in _IGNORABLE.split()
    for first, _, last in [span.partition("..")]
    for point in range(int(first, 16), int(last or first, 16) + 1)
]


def test_no_invisible_character_enters_or_is_shown_as_nothing() -> None:
    assert len(INVISIBLE) == 4174
    for character in INVISIBLE:
        for text in (f"a{character}b", f"{character}b", f"a{character}", character):
            assert not is_plain_line(text, 9), ascii(text)
            assert not is_plain_text(f"x\n{text}", 9), ascii(text)
            assert character not in plain_text(text), ascii(text)


@pytest.mark.parametrize(
    "text",
    [
        *("naïve", "Ёж", "नमस्ते", "ไก่", "שָׁלוֹם", "a\u0301\u0302", "x\u20dd", "日本語", "→", "a b"),
        *("क्\u200dष", "می\u200cخواهم"),  # joiners, without which these are written wrong
        *("❤\ufe0f", "❤\ufe0f\u200d🔥", "👨\u200d👩\u200d👧", "👍🏽", "☠\ufe0e"),
    ],
)
def test_scripts_and_symbols_are_text(text: str) -> None:
    assert is_plain_line(text, 30)
    assert is_plain_text(f"{text}\n{text}", 61)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "\u3000", "\u2800", "\u2800 \u00a0"),  # nothing to see
        *("a\nb", "a\tb", "\x7f", "\x9b31m", "\x1b[2J", "\ud800", "\u2028", "\u2029", "\ufff9"),
        *("a\u200db", "क\u200d", "\u200dक", "क\u200d\u200dष", "क\u200d\u3164"),
        *("a\ufe0f", "1\ufe0f", "❤\ufe0f\ufe0f", "\ufe0f", "❤\ufe01"),
        *("\ufdd0", "\ufffe", "\U0001ffff"),
        *("क" + "\u094d" * 4 + "\u200d" + "\u094d", "क" + "\u094d\u200d" * 9 + "ष"),
        *("a" + "\u0301" * 5, "x" + "\u0489\u0488" * 3),
    ],
)
def test_what_acts_or_is_not_seen_is_refused(text: str) -> None:
    assert not is_plain_line(text, 30)


def test_a_flood_of_marks_is_shown_as_what_it_is() -> None:
    shown = plain_text("a" + "\u0301" * 1000)
    assert shown.startswith("a" + "\u0301" * 4 + "\ufffd" * 4)
    assert shown.count("\u0301") == 4


@given(st.text() | st.text(st.sampled_from("a \u0301\u200d\u200f\ufe0f❤क\u2800\ufffd\n")))
def test_what_is_shown_could_have_entered(text: str) -> None:
    shown = plain_text(text)
    assert plain_text(shown) == shown
    if shown.replace("\u2800", " ").strip():
        assert is_plain_line(shown, 200)


@given(
    st.text(st.characters(exclude_categories=()), max_size=300)
    | st.text(
        st.sampled_from("a \u0301\u200d\u200f\ufe0f❤क\u094d\u2800\ufffd\n\ud800"), max_size=250
    )
)
def test_laws_of_a_settled_name(text: str) -> None:
    found = settled_line(text)
    assert is_plain_line(found, 200)
    assert settled_line(found) == found


def test_a_settled_name_keeps_what_is_seen() -> None:
    for text in ("می\u200cخواهم", "❤\ufe0f", "x" * 200):
        assert settled_line(text) == text
    assert settled_line("a\u200b\tb\u3164") == "a\ufffd b\ufffd"
    assert settled_line("\u2800") == settled_line("\n") == "\ufffd"
