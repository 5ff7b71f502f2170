"""The pictures of the pages are what their script draws, and can be read by everybody."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from docs.pictures.gallery import FOLDER, PICTURES
from wsdarts_registry.artifact.contents import check_svg

_DOCS = Path(__file__).resolve().parents[2] / "docs"
_SVG = "{http://www.w3.org/2000/svg}"
_SMALLEST = 10.0  # of the letters, in pixels; a subscript


@pytest.mark.parametrize("name", PICTURES)
def test_a_committed_picture_is_what_the_script_draws(name: str) -> None:
    committed = (FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    assert committed == PICTURES[name](), "run `python -m docs.pictures`, and look at it"


def test_there_is_no_picture_without_a_script() -> None:
    concepts = {f"concepts/{file.stem}" for file in (FOLDER / "concepts").iterdir()}
    assert concepts == {name for name in PICTURES if name.startswith("concepts/")}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_only_draws_and_says_what(name: str) -> None:
    content = (FOLDER / f"{name}.svg").read_bytes()
    check_svg(content, what=name)
    root = ET.fromstring(content)  # noqa: S314 - ours, and checked above
    described = {child.get("id"): child.text for child in root if child.tag != f"{_SVG}style"}
    named = (root.get("aria-labelledby") or "").split()
    assert len(named) == 2
    assert all(described[label] for label in named)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_can_be_read_on_a_telephone_and_stays_within_its_frame(name: str) -> None:
    root = ET.fromstring((FOLDER / f"{name}.svg").read_bytes())  # noqa: S314 - ours
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    assert width <= 400
    texts = list(root.iter(f"{_SVG}text"))
    assert texts
    for text in [*texts, *root.iter(f"{_SVG}tspan")]:
        assert float(text.get("font-size", 0)) >= _SMALLEST
    for text in texts:
        content = "".join(text.itertext())
        # Half of the size for a letter is what system fonts have on average, and a little more.
        extent = len(content) * float(text.get("font-size", 0)) * 0.54
        anchor = {"start": 0.0, "middle": 0.5, "end": 1.0}[text.get("text-anchor", "start")]
        left = float(text.get("x", 0)) - anchor * extent
        assert left >= 0, content
        assert left + extent <= width, content
        assert 0 < float(text.get("y", 0)) < height, content


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_shown_once_with_its_text(name: str) -> None:
    pages = [page.read_text(encoding="utf-8") for page in _DOCS.rglob("*.md")]
    shown = [
        alt for page in pages for alt in re.findall(rf"!\[(.*?)\]\(.*?/{name}\.svg\)", page, re.S)
    ]
    assert len(shown) == 1
    assert len(shown[0].split()) >= 10
