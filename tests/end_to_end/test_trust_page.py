"""docs/trust.md promises nothing without a test that there is."""

import re
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_PAGE = (_ROOT / "docs" / "trust.md").read_text(encoding="utf-8")


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(?:(\w+)::)?(\w+)`", _PAGE)
    assert len(named) > 15
    for file, group, name in named:
        text = (_ROOT / "tests" / file).read_text(encoding="utf-8")
        assert re.search(rf"^ *def {name}\(", text, re.MULTILINE), f"{file}::{name}"
        assert not group or f"class {group}" in text


def test_every_promise_names_a_test() -> None:
    rows = [line for line in _PAGE.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 12
    assert all("::" in row.split(" | ")[-1] for row in rows)


def test_the_tolerances_are_those_of_the_code() -> None:
    code = (_ROOT / "sdk" / "wsdarts_sdk" / "artifacts" / "building.py").read_text(encoding="utf-8")
    for figure in ("5e-2", "1e-2", "1e-4"):
        assert f"return {figure}" in code
        assert figure in _PAGE.split("Allowed are")[1].split("\n\n")[0]
