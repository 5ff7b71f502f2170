"""Links of the documentation lead somewhere, and its Python names what there is."""

import ast
import re
from pathlib import Path

import pytest

import wsdarts_hub

_ROOT = Path(__file__).resolve().parents[2]
_PAGES = sorted([*_ROOT.glob("*.md"), *_ROOT.glob("docs/**/*.md"), *_ROOT.glob("sdk/**/*.md")])
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_CODE = re.compile(r"`([^`\n]+)`")
_PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(_ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    links = [link for link in _LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    missing = [link for link in links if not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(_ROOT)))
def test_python_imports_public_names(page: Path) -> None:
    for block in _PYTHON.findall(page.read_text(encoding="utf-8")):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module == "wsdarts_hub":
                names = {alias.name for alias in node.names}
                assert names <= set(wsdarts_hub.__all__)


def test_the_map_of_the_code_names_what_there_is() -> None:
    text = (_ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = [row.split(" | ") for row in text.splitlines() if row.startswith("| ")]
    places = [_CODE.findall(row[1]) for row in rows]
    assert sum(map(len, places)) > 20
    paths = [place for found in places for place in found if not place.startswith("-")]
    paths += [place for place in _CODE.findall(text) if re.fullmatch(r"\S+/\S+\.pyi?", place)]
    assert [path for path in paths if not (_ROOT / path).exists()] == []


def test_every_public_name_is_there() -> None:
    for name in wsdarts_hub.__all__:
        assert getattr(wsdarts_hub, name) is not None
