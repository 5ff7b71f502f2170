"""Pages that the site adds to those in ``docs/``: other files, and notebooks."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.documentation.pages import ROOT

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")


def _hook(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, ROOT / f"docs/site/{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def _moved(text: str, page: str) -> str:
    file = SimpleNamespace(src_uri=page)
    return str(_hook("outside").on_page_markdown(text, SimpleNamespace(file=file)))


def test_the_site_has_the_colours_and_the_logo_of_the_gallery() -> None:
    hook = _hook("look")
    light, dark = hook.colours().split('[data-md-color-scheme="slate"]')
    names = [re.findall(r"(--[\w-]+):#", part) for part in (light, dark)]
    assert {"--page", "--panel", "--ink", "--a"} < set(names[0])
    assert names[0] == names[1]
    assert "color-scheme:" not in light.removeprefix("[data-md-color-scheme")
    root = ET.fromstring(hook.logo())  # noqa: S314 - ours
    assert len(root.findall("{http://www.w3.org/2000/svg}circle")) == 3


def test_where_a_file_stands_in_the_site() -> None:
    place = _hook("outside").site_place
    assert place("docs/decisions/README.md") == "decisions/README.md"
    assert place("README.md") == "index.md"
    assert place("CHANGELOG.md") == "changelog.md"
    assert place("sdk/a/PROBE.md") == "source/sdk/a/PROBE.md"
    assert place("benchmarks/results/x.json") == "source/benchmarks/results/x.json.md"
    assert place("benchmarks/results/report.html") == "source/benchmarks/results/report.html"


def test_links_out_of_the_directory_lead_into_the_site() -> None:
    text = "[a](../README.md#try-it) [b](../benchmarks/x.json) [c](trust.md) [d](#here) [e](f:x)"
    text += " ![g](images/g.png) [h](https://a.b/c.md)"
    assert _moved(text, "gallery.md") == text.replace("../README.md", "index.md").replace(
        "../benchmarks/x.json", "source/benchmarks/x.json.md"
    )
    assert _moved("[a](../../sdk/plan.py)", "decisions/x.md") == "[a](../source/sdk/plan.py.md)"


def test_links_in_blocks_of_code_stay() -> None:
    text = "```text\n[a](../README.md)\n```\n[a](../README.md)\n"
    assert _moved(text, "x.md") == "```text\n[a](../README.md)\n```\n[a](index.md)\n"


def _notebook(*outputs: dict[str, Any]) -> dict[str, Any]:
    code = {"cell_type": "code", "source": ["a <\n", "b"], "outputs": list(outputs)}
    return {"cells": [{"cell_type": "markdown", "source": ["# Title"]}, code]}


def test_a_notebook_as_a_page() -> None:
    hook = _hook("notebooks")
    stream = {"output_type": "stream", "text": ["1 <\n", "2"]}
    table = {"text/plain": ["plain"], "text/html": ["<b>", "*x*</b>"]}
    text = hook.page_text(
        _notebook(stream, {"output_type": "execute_result", "data": table}), "n.ipynb"
    )
    assert text.startswith("# Title\n\n[The notebook itself](n.ipynb)")
    assert "````python\na <\nb\n````" in text
    marks = [line for line in text.splitlines() if line.startswith("notebook-output-")]
    assert len(marks) == 2
    shown = [hook.on_page_content(f"<p>{mark}</p>") for mark in marks]
    assert shown == [
        '<div class="notebook-output"><pre>1 &lt;\n2</pre></div>',
        '<div class="notebook-output"><b>*x*</b></div>',
    ]


def test_a_notebook_with_an_error_is_none_to_show() -> None:
    with pytest.raises(ValueError, match="an error: NameError"):
        _hook("notebooks").page_text(
            _notebook({"output_type": "error", "ename": "NameError"}), "n.ipynb"
        )


def test_notebooks_stand_in_the_menu_where_there_are_some(tmp_path: Path) -> None:
    hook = _hook("notebooks")
    config = SimpleNamespace(docs_dir=str(tmp_path), nav=[1, 2, 3])
    assert hook.on_config(config).nav == [1, 2, 3]
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "a.ipynb").touch()
    assert hook.on_config(config).nav == [1, 2, {"Notebook": "notebooks/a.md"}, 3]
