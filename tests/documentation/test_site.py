"""The site asks no other machine for anything, and leads where it says."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import wsdarts_hub
from tests.documentation.pages import ROOT

_LOADS = {"src", "srcset", "data", "poster"}
_LOADING_LINKS = {"stylesheet", "icon", "preload", "prefetch", "preconnect", "dns-prefetch"}
_STYLE_LOADS = re.compile(r"""(?:url\(\s*|@import\s+)["']?([^"')\s;]+)""")
_OUTSIDE = re.compile(r"^(?:[a-z]+:)?//")


class _Page(HTMLParser):
    """Files that a page loads, its links and its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.places = {""}
        self._style = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._style = tag == "style"
        self.places |= {given[name] for name in ("id", "name") if name in given}
        self.loads += [given[name] for name in _LOADS & set(given)]
        if tag == "link" and set(given.get("rel", "").split()) & _LOADING_LINKS:
            self.loads.append(given["href"])
        elif tag in {"use", "image"}:
            self.loads += [given[name] for name in ("href", "xlink:href") if name in given]
        elif "href" in given:
            self.links.append(given["href"])
        self.loads += _STYLE_LOADS.findall(given.get("style", ""))

    def handle_data(self, data: str) -> None:
        if self._style:
            self.loads += _STYLE_LOADS.findall(data)


@pytest.fixture(scope="session")
def pages(site: Path) -> dict[Path, _Page]:
    """Every page by its path."""
    found = {path: _Page(path) for path in site.rglob("*.html")}
    assert len(found) > 20
    return found


def test_pages_load_nothing_from_another_machine(pages: dict[Path, _Page], site: Path) -> None:
    loads = {path.relative_to(site).as_posix(): page.loads for path, page in pages.items()}
    assert len(loads) == len(pages)  # several are called index.html
    assert any("site.css" in load for load in loads["index.html"])
    assert [(n, load) for n, all_ in loads.items() for load in all_ if _OUTSIDE.match(load)] == []


def test_styles_load_nothing_from_another_machine(site: Path) -> None:
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    assert len(styles) >= 3
    loads = [load for style in styles for load in _STYLE_LOADS.findall(style)]
    assert [load for load in loads if _OUTSIDE.match(load)] == []


def test_links_lead_to_files_and_places_of_the_site(pages: dict[Path, _Page], site: Path) -> None:
    wrong = []
    for path, page in pages.items():
        if path.name == "404.html" or "source" in path.relative_to(site).parts:
            continue  # the one is shown anywhere; of the others the links in text are tested
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            places = pages[target].places if target in pages else {unquote(parts.fragment)}
            if not target.is_file() or unquote(parts.fragment) not in places:
                wrong.append((path.name, link))
    assert wrong == []


def test_every_public_name_has_its_place_in_the_reference(site: Path) -> None:
    reference = site / "reference"
    headings = [
        name
        for path in reference.glob("*.html")
        for name in re.findall(r'<h2 id="wsdarts_hub\.(\w+)"', path.read_text(encoding="utf-8"))
    ]
    assert sorted(headings) == sorted(wsdarts_hub.__all__)
    table = (ROOT / "docs" / "reference" / "index.md").read_text(encoding="utf-8")
    assert {n for n in wsdarts_hub.__all__ if f"`{n}`" not in table} == {"WsdartsError"}


def test_the_reader_of_pages_finds_what_loads(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(
        '<link rel="stylesheet" href="https://a/x.css"><link rel="canonical" href="https://b/">'
        '<script src="//c/x.js"></script><style>@import "https://d/x.css"; a { b: url(e.png) }'
        '</style><p style="background: url(\'https://f/\')"><a href="https://g/">g</a>'
    )
    page = _Page(path)
    outside = [load for load in page.loads if _OUTSIDE.match(load)]
    assert outside == ["https://a/x.css", "//c/x.js", "https://d/x.css", "https://f/"]
    assert page.links == ["https://b/", "https://g/"]
