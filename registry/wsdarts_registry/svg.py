"""SVG by hand: escaped elements, colours for light and dark ground, accessible frames.

Colours stand twice: as attributes, for the light ground, so that a picture is right wherever
style sheets are stripped; and in a style sheet for ``prefers-color-scheme: dark``.
"""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from wsdarts_registry.inert import plain_text
from wsdarts_registry.palette import FAMILIES

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
    """A coordinate with at most one decimal and no trailing zero."""
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
    """Eight hex digits of plain data: for names of elements that are unique on a page."""
    return hashlib.sha256(repr(data).encode(errors="replace")).hexdigest()[:8]


def text(content: str, limit: int = 200) -> str:
    """Character data: made visible, cut to ``limit`` and escaped."""
    return escape(plain_text(content, limit), quote=False)


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
    """The style sheet that gives some styles, all by default, their colours on a dark ground."""
    rules = "".join(
        f".wsd-{key}{{{';'.join(f'{name}:{value}' for name, value in STYLES[key][1].items())}}}"
        for key in keys
    )
    return f"@media(prefers-color-scheme:dark){{{rules}}}"


def _stylesheet(markup: str) -> str:
    """The colours for a dark ground, of those styles only that the markup uses."""
    return dark_styles(key for key in STYLES if f'class="wsd-{key}"' in markup)
