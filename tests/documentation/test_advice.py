"""Advice on installation: from a checkout, since no index has the package."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.documentation.pages import ROOT
from wsdarts_registry import _libraries

_FOLDERS = ("wsdarts_hub", "registry", "sdk", "cards", "docs")
_KINDS = {".py", ".md", ".ipynb", ".html", ".cpp"}
FILES = sorted(
    path.relative_to(ROOT)
    for path in (
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        *(p for folder in _FOLDERS for p in (ROOT / folder).rglob("*") if p.suffix in _KINDS),
    )
)
_FROM_AN_INDEX = re.compile(r"""pip install[^\n`#]*?[\s'"]wsdarts-hub\b|wsdarts-hub\[""")
_EXTRA = re.compile(r"""'\.\[([a-z,]+)\]'|install_extra\('([a-z]+)'\)""")


@pytest.mark.parametrize("file", FILES, ids=str)
def test_nothing_is_installed_from_an_index(file: Path) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    assert _FROM_AN_INDEX.findall(text) == []
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for both in _EXTRA.findall(text):
        assert set("".join(both).split(",")) <= extras.keys()


def test_the_advice_is_for_a_checkout() -> None:
    advice = (
        _libraries.INSTALL,
        _libraries.UPDATE,
        _libraries.REINSTALL,
        _libraries.install_extra("onnx"),
    )
    for text in advice:
        assert re.search(r"`.*pip install [^`]*\..*` in the checkout", text)


def test_the_site_is_built_so_that_warnings_fail() -> None:
    command = re.search(r"mkdocs build.*", (ROOT / "Makefile").read_text())
    assert command is not None
    # Warnings that are not shown are not counted by --strict.
    assert command[0].split() == ["mkdocs", "build", "--strict"]


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "docs" / "decisions").glob("*.md")}
    assert {page for page in pages if f"decisions/{page}" not in menu} == set()
