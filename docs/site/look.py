"""Colours and logo of the site: those of the gallery and the reports, read from their templates."""

import re
from html import unescape
from pathlib import Path
from urllib.parse import unquote

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_CARDS = Path(__file__).resolve().parents[2] / "cards" / "wsdarts_cards"
_COLOURS = re.compile(r":root\{(?:color-scheme:[^;]*;)?(--.*?)\}", re.DOTALL)
_ICON = re.compile(r'<link rel="icon" href="data:image/svg\+xml,([^"]+)">')
_SCHEMES = ("default", "slate")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the style sheet of the colours, and the logo."""
    for place, content in (("assets/colours.css", colours()), ("assets/logo.svg", logo())):
        files.append(File.generated(config, place, content=content))
    return files


def colours() -> str:
    """Return the colours of reports as custom properties of the theme's light and dark scheme."""
    style = (_CARDS / "templates" / "report.css").read_text(encoding="utf-8")
    found = _COLOURS.findall(style)[: len(_SCHEMES)]
    rules = zip(_SCHEMES, found, strict=True)
    return "".join(f'[data-md-color-scheme="{name}"]{{{values}}}\n' for name, values in rules)


def logo() -> str:
    """Return the icon of the gallery as an SVG document."""
    layout = (_CARDS / "gallery" / "layout.html.j2").read_text(encoding="utf-8")
    found = _ICON.search(layout)
    if found is None:
        raise ValueError("the gallery's layout has no icon as an SVG in its address")
    return unquote(unescape(found[1]))
