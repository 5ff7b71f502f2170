"""The example notebook: executed afresh, and what is committed of it."""

import getpass
import json
import socket
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.registry.factories import make_genotype

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "warm-start.ipynb"
_LARGEST = 400_000


@pytest.mark.slow
def test_it_runs_without_a_complaint(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    fresh: Any = nbformat.read(NOTEBOOK, as_version=4)
    for cell in code_cells(fresh):
        cell.outputs, cell.execution_count = [], None
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(fresh, timeout=None, resources=resources, record_timing=False).execute()
    check_outputs(fresh, tmp_path)
    assert (tmp_path / "my-zoo" / "artifacts" / "digits" / "v1").is_dir()
    if request.config.getoption("--update-golden"):
        # As little as possible of the machine: neither its Python nor the names of its kernels.
        fresh.metadata = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["metadata"]
        nbformat.write(fresh, NOTEBOOK)


def test_what_is_committed_was_executed_and_names_no_machine(tmp_path: Path) -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text.encode()) < _LARGEST
    committed: Any = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(committed)
    check_outputs(committed, tmp_path)
    counts = [cell.execution_count for cell in code_cells(committed)]
    assert counts == list(range(1, len(counts) + 1))
    assert "site-packages" not in text
    for name in ("home", "root", "tmp", "usr", "opt", "Users"):
        assert f"/{name}/" not in text, name


def code_cells(notebook: Any) -> list[Any]:
    """The cells that run."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def check_outputs(notebook: Any, directory: Path) -> None:
    """Nothing on stderr, no error, views where there should be some, no name of this machine."""
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert {output.output_type for output in outputs} == {"stream", "execute_result"}
    assert {o.name for o in outputs if o.output_type == "stream"} == {"stdout"}
    shown = [o.data for o in outputs if o.output_type == "execute_result"]
    views = [data["text/html"] for data in shown if "text/html" in data]
    style = make_genotype()._repr_html_().partition("<style>")[2].partition("</style>")[0]
    assert all(style in view for view in views), "pytest --update-golden makes them anew"
    for what in ("Artifact", "Ranking", "Warm start", "Operation masks", "Training", "Lineage"):
        assert any(f'aria-label="{what}">' in view for view in views), what
    assert all("\n" not in data["text/plain"] for data in shown)
    text = json.dumps(outputs, ensure_ascii=False)
    for name in (str(directory), str(Path.home()), str(NOTEBOOK.parents[2]), socket.gethostname()):
        assert name not in text, name
    assert f"/{getpass.getuser()}/" not in text
