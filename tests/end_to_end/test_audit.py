"""Dependencies: their licences, their bounds, and the bill of materials."""

import json
import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

from tests.audit import PRODUCT, Package, bill_of_materials, direct_dependencies, installed

_PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def test_direct_dependencies_have_permissive_licences() -> None:
    required = {Requirement(text).name for text in _PROJECT["dependencies"]}
    assert required <= set(direct_dependencies())
    found = {package.name: package for package in installed()}
    assert [name for name in required if not found[name].is_permissive] == []


def test_what_counts_as_permissive() -> None:
    def judged(licence: str) -> bool:
        return Package(name="a", version="1", licence=licence, needs=()).is_permissive

    assert judged("MIT")
    assert judged("BSD-3-Clause AND (Apache-2.0 WITH LLVM-exception)")
    assert judged("GPL-3.0-only OR MIT")
    assert not judged("MPL-2.0 AND MIT")
    assert not judged("unknown")


def test_every_dependency_has_a_lowest_version() -> None:
    for text in _PROJECT["dependencies"]:
        # `make oldest` reads them so.
        assert re.fullmatch(r"[a-z0-9-]+>=[0-9]+(\.[0-9]+)+", text), text


def test_the_bill_of_materials_names_all_that_is_needed() -> None:
    packages = installed()
    bill = bill_of_materials(packages)
    assert bill["metadata"]["component"]["name"] == PRODUCT
    names = {component["name"] for component in bill["components"]}
    assert {Requirement(text).name for text in _PROJECT["dependencies"]} <= names
    references = {c["bom-ref"] for c in bill["components"]}
    needed = {ref for each in bill["dependencies"] for ref in each["dependsOn"]}
    assert needed == references
    assert json.dumps(bill) == json.dumps(bill_of_materials(installed()))
