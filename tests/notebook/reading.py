"""What the HTML of a view is held to, whoever shows it."""

import re
from typing import Protocol

from tests.sdk.reports.samples import Page

_ALLOWED = {
    *("div", "style", "p", "b", "dl", "dt", "dd", "details", "summary", "img", "figure"),
    *("figcaption", "table", "thead", "tbody", "tr", "th", "td", "span", "i", "ul", "li", "pre"),
    *("svg", "title", "desc", "g", "path", "rect", "circle", "text", "tspan"),
}
_PICTURE = re.compile(r"data:image/svg\+xml;base64,[A-Za-z0-9+/=]+")
_ACTING = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Shown(Protocol):
    """An object that shows itself in a notebook."""

    def _repr_html_(self) -> str: ...


def read_view(shown: Shown) -> Page:
    """The view's tags and words, if it is complete in itself, inert and keeps to itself."""
    html = shown._repr_html_()
    html.encode()
    page = Page(html)
    assert page.open == []
    assert {tag for tag, _ in page.tags} <= _ALLOWED
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        # Without names nothing collides when a view stands twice in a notebook.
        assert not {"id", "href", "srcset", "aria-labelledby"} & attributes.keys(), tag
        if tag == "img":
            assert _PICTURE.fullmatch(attributes["src"] or "")
            assert len(attributes["alt"] or "") > 50
    assert not _ACTING.search(html)
    assert "y" * 1001 not in html
    _check_style(html)
    # A terminal, and a notebook that shows no HTML, get one line.
    assert not _ACTING.search(repr(shown))
    assert "\n" not in repr(shown)
    assert len(repr(shown)) < 1000
    return page


def _check_style(html: str) -> None:
    """Every rule is of the view alone, and loads nothing."""
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert not re.search(r"url\(|@import|<", style)
    depth, selectors, start = 0, [], 0
    plain = re.sub(r"/\*.*?\*/", "", style)
    for place, character in enumerate(plain):
        if character == "{":
            if depth == 0:
                selectors.append(plain[start:place].strip())
            depth += 1
        elif character == "}":
            depth -= 1
            start = place + 1
    assert depth == 0
    assert all(re.search(r"(^| )(\.wsd-view)+$", selector) for selector in selectors), selectors
