"""The results page says what the committed results say."""

import importlib.util
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_written_from_the_results() -> None:
    path = _ROOT / "benchmarks" / "write_results.py"
    specification = importlib.util.spec_from_file_location("write_results", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    committed = (_ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert committed == module.page(), "run `python benchmarks/write_results.py`"
