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
    fenced_code,
    markdown_text,
    padded,
    plain_text,
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
    assert plain_text("a\x1b[31mb\u202ec\x00\ud800\uffff") == "a�[31mb�c���"
    assert plain_text("  one\n\ttwo\u2028three ") == "one two three"


def test_long_text_is_cut_and_says_so() -> None:
    assert plain_text("x" * 10_000, limit=10) == "x" * 9 + "…"
    assert plain_text("x" * 10, limit=10) == "x" * 10
    # Mostly spaces: what is shown is short, yet something was left out.
    assert plain_text("a" + " " * 10_000 + "b", limit=10) == "a…"


@given(st.text())
def test_plain_text_is_one_harmless_line(text: str) -> None:
    shown = plain_text(text)
    assert plain_text(shown) == shown
    assert len(shown) <= 200
    assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in shown)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_markdown_is_literal(text: str) -> None:
    rendered = _markdown().render(f"| value |\n|---|\n| {markdown_text(text)} |\n")
    inside = re.sub(r"</?(table|thead|tbody|tr|th|td)>|\n", "", rendered).removeprefix("value")
    assert "<" not in inside
    assert html.unescape(inside) == plain_text(text)


@given(st.text(alphabet=st.sampled_from("<>[]()!`*_~|#&;\\$:/.w-+=1 ax\n\x1b")))
def test_any_text_is_literal_in_markdown(text: str) -> None:
    rendered = _markdown().render(markdown_text(text)).strip()
    assert html.unescape(rendered.removeprefix("<p>").removesuffix("</p>")) == plain_text(text)
    assert rendered.count("<") == (2 if plain_text(text) else 0)


@given(st.text(alphabet=st.sampled_from("`|<a *\\\n")))
def test_code_span_holds_its_text(text: str) -> None:
    rendered = _markdown().render(f"x {code_span(text)} y").strip()
    shown = plain_text(text).replace("|", "¦") or " "
    found = re.fullmatch(r"<p>x <code>([^<]*)</code> y</p>", rendered)
    assert found is not None
    assert html.unescape(found[1]).strip() == shown.strip()


@given(st.text(alphabet=st.sampled_from("`~ab\n \x1b")))
def test_fenced_code_cannot_be_left(text: str) -> None:
    tokens = _markdown().parse(fenced_code(text, "text"))
    assert [token.type for token in tokens] == ["fence"]


def test_widths_in_columns() -> None:
    # A wide character takes two columns, an accent that combines none: not len().
    assert display_width("漢字") == 4
    assert display_width("e\u0301") == 1
    assert clipped("漢字漢字", 5) == "漢字…"
    assert padded("漢", 4, "─") == "漢──"
