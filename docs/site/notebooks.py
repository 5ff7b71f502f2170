"""Notebooks as pages: their cells with the outputs that they were committed with."""

import html
import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_FOLDER = "notebooks"
_MARK = re.compile(r"<p>(notebook-output-\d+)</p>")
_SHOWN = ("text/html", "image/svg+xml", "image/png", "text/markdown", "text/plain")
_outputs: dict[str, str] = {}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the notebooks that there are into the menu, behind the page to start with."""
    found = sorted(Path(config.docs_dir).glob(f"{_FOLDER}/*.ipynb"))
    if found and config.nav is not None:
        pages = [f"{_FOLDER}/{path.stem}.md" for path in found]
        config.nav.insert(2, {"Notebook": pages[0]} if len(pages) == 1 else {"Notebooks": pages})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Put a page beside every notebook, which stays to be downloaded."""
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        text = notebook.content_string
        place = notebook.src_uri.removesuffix(".ipynb") + ".md"
        name = posixpath.basename(notebook.src_uri)
        files.append(File.generated(config, place, content=page_text(json.loads(text), name)))
    return files


def on_page_content(content: str, **_: object) -> str:
    """Put the outputs into their places: they are HTML already, which Markdown would spoil."""
    return _MARK.sub(lambda mark: _outputs.get(mark[1], mark[0]), content)


def page_text(notebook: dict[str, Any], name: str) -> str:
    """The Markdown of a notebook, with a mark in the place of each output."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif cell["cell_type"] == "code" and source.strip():
            parts.append(f"````python\n{source}\n````")
            parts += [_mark(output) for output in cell["outputs"]]
    parts.insert(1, f"[The notebook itself]({name}) runs in Jupyter.")
    return "\n\n".join(parts) + "\n"


def _mark(output: dict[str, Any]) -> str:
    mark = f"notebook-output-{len(_outputs)}"
    _outputs[mark] = f'<div class="notebook-output">{_shown(output)}</div>'
    return mark


def _shown(output: dict[str, Any]) -> str:
    if output["output_type"] == "stream":
        return f"<pre>{html.escape(''.join(output['text']))}</pre>"
    if output["output_type"] == "error":
        raise ValueError(f"the notebook was committed with an error: {output['ename']}")
    kind = next(kind for kind in _SHOWN if kind in output["data"])
    value = "".join(output["data"][kind])
    if kind == "image/png":
        return f'<img alt="" src="data:image/png;base64,{value.strip()}">'
    return value if kind in {"text/html", "image/svg+xml"} else f"<pre>{html.escape(value)}</pre>"
