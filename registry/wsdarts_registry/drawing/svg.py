"""SVG elements, the colours of operation families, and the frame of a document.

Colours are written twice: as attributes for a light ground, so that a picture without its style
sheet is right, and in a style sheet for ``prefers-color-scheme: dark``. The families have the hues
of Okabe and Ito, which people with the common colour deficiencies can tell apart; an operation's
name always stands beside its colour.
"""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from wsdarts_registry._text import sanitize


@dataclass(frozen=True, kw_only=True)
class Shades:
    """The colours of a family on one ground.

    Attributes:
        tint: Ground of a label.
        line: Outline of a label, and lines.
        ink: Text on ``tint``; its contrast is at least 7 : 1.
        solids: Filled areas, from the family's first operation to its last.
    """

    tint: str
    line: str
    ink: str
    solids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Family:
    """A group of operations that compute alike, with its colours."""

    key: str
    title: str
    light: Shades
    dark: Shades


SEPARABLE = Family(
    key="sep",
    title="separable convolution",
    light=Shades(
        tint="#e4f0fb",
        line="#1f6fb2",
        ink="#0f3d66",
        solids=("#1f6fb2", "#7fb5e3", "#b5d4ef"),
    ),
    dark=Shades(
        tint="#12304c",
        line="#5ea9e8",
        ink="#d3e8fb",
        solids=("#3f8fd6", "#8cc1ee", "#1f5c92"),
    ),
)
DILATED = Family(
    key="dil",
    title="dilated convolution",
    light=Shades(
        tint="#fdeedd",
        line="#b85c00",
        ink="#663300",
        solids=("#c8680a", "#f1ab62", "#f8d3a8"),
    ),
    dark=Shades(
        tint="#43290c",
        line="#e59a4a",
        ink="#fbe3c8",
        solids=("#d97f24", "#f3b97a", "#96540f"),
    ),
)
POOLING = Family(
    key="pool",
    title="pooling",
    light=Shades(
        tint="#ddf4ec",
        line="#0a7d5c",
        ink="#064735",
        solids=("#0a8a65", "#72c9ac", "#b3e2d3"),
    ),
    dark=Shades(
        tint="#0e352a",
        line="#3fbf95",
        ink="#c9f2e3",
        solids=("#25a87d", "#7fd6b8", "#126b4f"),
    ),
)
SKIP = Family(
    key="skip",
    title="skip-connect",
    light=Shades(
        tint="#f8e6f3",
        line="#a03c88",
        ink="#5f1f50",
        solids=("#a8458f", "#d593c4", "#eac8e1"),
    ),
    dark=Shades(
        tint="#3d1c36",
        line="#d67fc2",
        ink="#f7d9ef",
        solids=("#c765b1", "#e3a9d5", "#83386f"),
    ),
)
NONE = Family(
    key="none",
    title="none",
    light=Shades(
        tint="#eef0f3",
        line="#6b7480",
        ink="#3a424d",
        solids=("#c3c9d1", "#dde1e6", "#9aa3ae"),
    ),
    dark=Shades(
        tint="#2a313b",
        line="#8b95a3",
        ink="#d5dbe3",
        solids=("#5a6472", "#444d59", "#77828f"),
    ),
)
OTHER = Family(
    key="other",
    title="other operation",
    light=Shades(
        tint="#f4f0d6",
        line="#7a6800",
        ink="#453b00",
        solids=("#9a8410", "#cdbb4e", "#e6dd9e"),
    ),
    dark=Shades(
        tint="#353009",
        line="#c9b63d",
        ink="#f5ecb8",
        solids=("#b8a32a", "#dccf78", "#746611"),
    ),
)
FAMILIES = (SEPARABLE, DILATED, POOLING, SKIP, NONE, OTHER)


def family_of(operation: str) -> Family:
    """Return the family of an operation, by its name in the public DARTS code."""
    if operation == "none":
        return NONE
    if operation.startswith("skip") or operation == "identity":
        return SKIP
    if "pool" in operation:
        return POOLING
    if operation.startswith("sep_"):
        return SEPARABLE
    return DILATED if operation.startswith("dil_") else OTHER


def solid_index(operation: str, candidates: tuple[str, ...]) -> int:
    """Return which of its family's ``solids`` an operation takes among the candidates."""
    family = family_of(operation)
    alike = [name for name in candidates if family_of(name) is family]
    return alike.index(operation) % len(family.light.solids)


MONO = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"
SANS = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"
_PLAIN: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "panel": ({"fill": "#ffffff", "stroke": "#d5dae1"}, {"fill": "#14181f", "stroke": "#303845"}),
    "ink": ({"fill": "#1b222c"}, {"fill": "#e8edf4"}),
    "soft": ({"fill": "#566070"}, {"fill": "#a3aebd"}),
    "wire": ({"stroke": "#8f9aaa"}, {"stroke": "#6f7b90"}),
    "wire-odd": ({"stroke": "#4a5566"}, {"stroke": "#aab5c5"}),
    "bus": ({"stroke": "#98a3b2"}, {"stroke": "#66728a"}),
    "rule": ({"stroke": "#dfe3e9"}, {"stroke": "#2b333f"}),
    "halo": ({"stroke": "#ffffff"}, {"stroke": "#14181f"}),
    "node": ({"fill": "#1f2733", "stroke": "#1f2733"}, {"fill": "#dfe6ef", "stroke": "#dfe6ef"}),
    "on-node": ({"fill": "#ffffff"}, {"fill": "#14181f"}),
    "port": ({"fill": "#eef1f5", "stroke": "#566070"}, {"fill": "#262d38", "stroke": "#8e99a9"}),
    "gone": ({"fill": "#ffffff", "stroke": "#dce1e7"}, {"fill": "#191e26", "stroke": "#303845"}),
}


def _styles() -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    styles = dict(_PLAIN)
    for family in FAMILIES:
        light, dark = family.light, family.dark
        styles[f"{family.key}-tint"] = (
            {"fill": light.tint, "stroke": light.line},
            {"fill": dark.tint, "stroke": dark.line},
        )
        styles[f"{family.key}-ink"] = ({"fill": light.ink}, {"fill": dark.ink})
        styles[f"{family.key}-line"] = ({"stroke": light.line}, {"stroke": dark.line})
        styles[f"{family.key}-full"] = ({"fill": light.solids[0]}, {"fill": dark.solids[0]})
    return styles


STYLES = _styles()


def number(value: float) -> str:
    """Write a coordinate with at most one decimal and no trailing zero."""
    text = f"{value:.1f}"
    return text.removesuffix(".0") if text != "-0.0" else "0"


def element(tag: str, style: str | None = None, *children: str, **attributes: str | float) -> str:
    """Write one element; children are markup, attribute values are escaped here.

    Args:
        tag: Its name.
        style: Key of ``STYLES``: gives its class and its colours.
        children: Markup inside it, from ``element`` or ``text``.
        attributes: ``_`` in names stands for ``-``, and a trailing one is dropped.
    """
    values: dict[str, str | float] = {}
    if style is not None:
        values["class"] = f"wsd-{style}"
        values.update(STYLES[style][0])
    values.update({key.rstrip("_").replace("_", "-"): v for key, v in attributes.items()})
    written = "".join(
        f' {key}="{_quotable(value if isinstance(value, str) else number(value))}"'
        for key, value in values.items()
    )
    inside = "".join(children)
    return f"<{tag}{written}>{inside}</{tag}>" if inside else f"<{tag}{written}/>"


def fingerprint(data: object) -> str:
    """Return eight hex digits of plain data, for element names that are unique on a page."""
    return hashlib.sha256(repr(data).encode(errors="replace")).hexdigest()[:8]


def text(content: str, limit: int = 200) -> str:
    """Return character data: sanitized, cut to ``limit`` and escaped."""
    return escape(sanitize(content, limit), quote=False)


def _quotable(value: str) -> str:
    return escape(value, quote=False).replace('"', "&quot;")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A finished drawing without its frame: markup, size in pixels, and its description."""

    body: str
    width: float
    height: float
    title: str
    description: str

    def framed(self, name: str) -> str:
        """Return the whole SVG document on a panel of its own; ``name`` is unique on a page."""
        # Whole pixels: a fraction of one would blur or cut the border.
        width, height = math.ceil(self.width), math.ceil(self.height)
        panel = element("rect", "panel", x=0.5, y=0.5, width=width - 1, height=height - 1, rx=10)
        opening = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" '
            f'aria-labelledby="{name}-title {name}-desc" font-family="{SANS}" class="wsd">'
        )
        parts = (
            opening,
            f'<title id="{name}-title">{text(self.title)}</title>',
            f'<desc id="{name}-desc">{text(self.description, 8000)}</desc>',
            f"<style>{_stylesheet(panel + self.body)}</style>",
            panel,
            self.body,
            "</svg>\n",
        )
        return "\n".join(parts)


def dark_styles(keys: Iterable[str] = STYLES) -> str:
    """Return the style sheet of styles, all by default, for a dark ground."""
    rules = "".join(
        f".wsd-{key}{{{';'.join(f'{name}:{value}' for name, value in STYLES[key][1].items())}}}"
        for key in keys
    )
    return f"@media(prefers-color-scheme:dark){{{rules}}}"


def _stylesheet(markup: str) -> str:
    """Return the dark colours of the styles that the markup uses."""
    return dark_styles(key for key in STYLES if f'class="wsd-{key}"' in markup)
