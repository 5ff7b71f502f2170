"""Text from outside can be read and cannot act."""

import html
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from wsdarts_registry._text import (
    clipped,
    code_span,
    display_width,
    escape_markdown,
    fenced_code,
    is_plain_line,
    is_plain_text,
    padded,
    sanitize,
    sanitize_name,
)

HOSTILE = (
    "<script>alert(1)</script>",
    "![x](https://evil.example/x.png)",
    "[click](javascript:alert(1))",
    "https://evil.example www.evil.example",
    "a|b|c",
    "`code` **bold** ~~gone~~ $x$",
    "# heading",
    "- item",
    "1. item",
    "&lt;b&gt;",
    "\x1b[31mred\x1b[0m",
    "a\u202eb",
    "line\nbreak\r\n\u2028---",
)


def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def test_what_cannot_be_seen_is_shown() -> None:
    assert sanitize("a\x1b[31mb\u202ec\x00\ud800\uffff") == "a�[31mb�c���"
    assert sanitize("  one\n\ttwo\u2028three ") == "one two three"


def test_long_text_is_cut_and_says_so() -> None:
    assert sanitize("x" * 10_000, limit=10) == "x" * 9 + "…"
    assert sanitize("x" * 10, limit=10) == "x" * 10
    # Mostly spaces: what is shown is short, yet something was left out.
    assert sanitize("a" + " " * 10_000 + "b", limit=10) == "a…"


@given(st.text())
def test_sanitized_text_is_one_harmless_line(text: str) -> None:
    shown = sanitize(text)
    assert sanitize(shown) == shown
    assert len(shown) <= 200
    assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in shown)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_markdown_is_literal(text: str) -> None:
    rendered = _markdown().render(f"| value |\n|---|\n| {escape_markdown(text)} |\n")
    inside = re.sub(r"</?(table|thead|tbody|tr|th|td)>|\n", "", rendered).removeprefix("value")
    assert "<" not in inside
    assert html.unescape(inside) == sanitize(text)


@given(st.text(alphabet=st.sampled_from("<>[]()!`*_~|#&;\\$:/.w-+=1 ax\n\x1b")))
def test_any_text_is_literal_in_markdown(text: str) -> None:
    rendered = _markdown().render(escape_markdown(text)).strip()
    assert html.unescape(rendered.removeprefix("<p>").removesuffix("</p>")) == sanitize(text)
    assert rendered.count("<") == (2 if sanitize(text) else 0)


@given(st.text(alphabet=st.sampled_from("`|<a *\\\n")))
def test_code_span_holds_its_text(text: str) -> None:
    rendered = _markdown().render(f"x {code_span(text)} y").strip()
    shown = sanitize(text).replace("|", "¦") or " "
    found = re.fullmatch(r"<p>x <code>([^<]*)</code> y</p>", rendered)
    assert found is not None
    assert html.unescape(found[1]).strip() == shown.strip()


@given(st.text(alphabet=st.sampled_from("`~ab\n \x1b")))
def test_fenced_code_cannot_be_left(text: str) -> None:
    tokens = _markdown().parse(fenced_code(text, "text"))
    assert [token.type for token in tokens] == ["fence"]


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
            assert character not in sanitize(text), ascii(text)


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
    shown = sanitize("a" + "\u0301" * 1000)
    assert shown.startswith("a" + "\u0301" * 4 + "\ufffd" * 4)
    assert shown.count("\u0301") == 4


@given(st.text() | st.text(st.sampled_from("a \u0301\u200d\u200f\ufe0f❤क\u2800\ufffd\n")))
def test_what_is_shown_could_have_entered(text: str) -> None:
    shown = sanitize(text)
    assert sanitize(shown) == shown
    if shown.replace("\u2800", " ").strip():
        assert is_plain_line(shown, 200)


# With lone surrogates, which file names that are not UTF-8 are read as.
_ANY = st.text(st.characters(exclude_categories=()), max_size=300) | st.text(
    st.sampled_from("a \u0301\u200d\u200f\ufe0f❤क\u094d\u2800\ufffd\n\ud800"), max_size=250
)


@given(_ANY)
def test_laws_of_a_sanitized_name(text: str) -> None:
    found = sanitize_name(text)
    assert is_plain_line(found, 200)
    assert sanitize_name(found) == found
    assert unicodedata.is_normalized("NFC", found)
    found.encode()  # no lone surrogate is left


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=200))
def test_names_that_are_plain_stay_what_they_are(text: str) -> None:
    plain = unicodedata.normalize("NFC", text)[:200]
    assert sanitize_name(plain) == plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cafe\u0301", "caf\u00e9"),
        ("caf\udce9", "caf\ufffd"),
        ("a\tb\r\nc", "a b  c"),
        ("  tea ", "tea"),
        ("\x1b[31mred\u202e", "\ufffd[31mred\ufffd"),
        ("", "\ufffd"),
        ("\n", "\ufffd"),
        ("\u2800", "\ufffd"),
        ("a\u200b\tb\u3164", "a\ufffd b\ufffd"),
        ("❤\ufe0f", "❤\ufe0f"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 199 + "\u2026"),
        # Joiners belong to words of Persian and to emoji.
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_sanitized_names(text: str, expected: str) -> None:
    assert sanitize_name(text) == expected


def test_widths_in_columns() -> None:
    # A wide character takes two columns, an accent that combines none: not len().
    assert display_width("漢字") == 4
    assert display_width("e\u0301") == 1
    assert clipped("漢字漢字", 5) == "漢字…"
    assert padded("漢", 4, "─") == "漢──"
