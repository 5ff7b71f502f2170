import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.registry.factories import make_artifact
from wsdarts_registry.stores.directory import DirectoryStore


@pytest.fixture
def there(zoo: Path, tmp_path: Path) -> tuple[str, Path]:
    """The option that names a registry with a second version of flowers."""
    make_artifact(tmp_path / "second", "flowers", description="better")
    DirectoryStore(zoo).publish(tmp_path / "second", "flowers")
    return "--registry", zoo


def test_an_alias_is_a_reference_everywhere(
    there: tuple[str, Path], run: Run, tmp_path: Path
) -> None:
    shown = run("alias", "set", "flowers", "stable", "1", *there)
    assert (shown.code, shown.out) == (0, "flowers@stable means flowers@1\n")
    for arguments in (
        ("show", "flowers@stable", "-q"),
        ("pull", "flowers@stable", "--out", tmp_path / "pulled"),
        ("verify", "flowers@stable"),
    ):
        assert run(*arguments, *there).code == 0, arguments
    assert run("show", "flowers@stable", "-q", *there).out.startswith("flowers@1 sha256:")
    assert run("show", "flowers", "-q", *there).out.startswith("flowers@2 sha256:")


def test_list_and_show_name_the_aliases(there: tuple[str, Path], run: Run) -> None:
    assert "aliases" not in run("list", *there).lines[0]
    run("alias", "set", "flowers", "stable", "1", *there)
    run("alias", "set", "flowers", "candidate", "1", *there)
    listed = run("list", *there).lines
    assert listed[0].endswith("aliases")
    assert listed[1].endswith("  candidate, stable")
    assert listed[2].startswith("flowers@2 ")
    assert "stable" not in listed[2]
    assert "aliases    candidate, stable" in run("show", "flowers@1", *there).out
    status = json.loads(run("show", "flowers@1", "--json", *there).out)["status"]
    assert status == {
        "yanked": False,
        "yank": None,
        "aliases": ["candidate", "stable"],
        "signed": False,
    }


def test_aliases_are_listed(there: tuple[str, Path], run: Run) -> None:
    none = run("alias", "list", "flowers", *there)
    assert f"alias set flowers stable 2 --registry {there[1]}`" in none.out
    assert len(none.lines) == 1
    assert json.loads(run("alias", "list", "flowers", "--json", *there).out) == {}
    run("alias", "set", "flowers", "stable", "1", *there)
    run("alias", "set", "flowers", "beta", "2", *there)
    shown = run("alias", "list", "flowers", *there)
    assert [line.split() for line in shown.lines] == [
        ["alias", "means"],
        ["beta", "flowers@2"],
        ["stable", "flowers@1"],
    ]
    assert json.loads(run("alias", "list", "flowers", "--json", *there).out) == {
        "beta": 2,
        "stable": 1,
    }
    run("yank", "flowers@1", "--reason", "wrong labels", *there)
    assert run("alias", "list", "flowers", *there).lines[2].endswith("yanked: wrong labels")
    assert run("alias", "remove", "flowers", "stable", *there).code == 0
    assert run("alias", "list", "flowers", "-q", *there).lines == ["flowers@beta"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("set", "flowers", "stable", "7"), "there is no flowers@7"),
        (("set", "flowers", "latest", "1"), "alias 'latest' is not"),
        (("set", "flower", "stable", "1"), "did you mean flowers"),
        (("remove", "flowers", "stable"), "no alias stable; .* none"),
        (("list", "flower"), "did you mean flowers"),
    ],
)
def test_refused(
    there: tuple[str, Path], run: Run, arguments: tuple[str, ...], message: str
) -> None:
    shown = run("alias", *arguments, *there)
    assert (shown.code, shown.out) == (1, "")
    assert re.search(message, shown.err)


def test_a_version_is_a_number(there: tuple[str, Path], run: Run) -> None:
    assert run("alias", "set", "flowers", "stable", "0", *there).code == 2
    assert run("alias", "set", "flowers", "stable", "one", *there).code == 2
