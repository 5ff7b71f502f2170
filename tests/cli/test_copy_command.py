from pathlib import Path

from tests.cli.conftest import Run
from tests.registry.factories import make_artifact
from wsdarts_registry.stores.directory import DirectoryStore


def test_copy_says_what_travelled(zoo: Path, run: Run, tmp_path: Path) -> None:
    store, other = DirectoryStore(zoo), tmp_path / "other"
    store.write_signature("flowers", 1, b"{}")
    store.set_alias("flowers", "stable", 1)
    arguments = ("copy", "flowers", "--to", other, "--as", "mine", "--registry", zoo)
    shown = run(*arguments)
    assert shown.code == 0
    assert shown.lines == [
        "mine@1",
        f"digest     {store.resolve('flowers').digest}",
        f"copied     {other}",
        "signature  copied with it",
    ]
    assert f"alias set mine stable 1 --registry {other}`" in shown.err
    assert shown.err.count("\n") == 1
    again = run(*arguments)
    assert again.code == 0
    assert [line.split()[0] for line in again.lines] == ["mine@1", "digest", "there", "signature"]
    assert run(*arguments, "-q").out == "mine@1\n"


def test_a_yanked_version_is_copied_with_a_warning(zoo: Path, run: Run, tmp_path: Path) -> None:
    DirectoryStore(zoo).yank("flowers@1", "wrong labels")
    there = ("--to", tmp_path / "other", "--registry", zoo)
    refused = run("copy", "flowers", *there)
    assert (refused.code, refused.out) == (1, "")
    shown = run("copy", "flowers@1", *there)
    assert shown.code == 0
    assert shown.err.startswith("warning: flowers@1 was yanked")
    assert "wrong labels" in shown.err
    assert str(tmp_path / "other") in shown.err


def test_another_number_is_said(zoo: Path, run: Run, tmp_path: Path) -> None:
    make_artifact(tmp_path / "second", "flowers", description="Another one.")
    DirectoryStore(zoo).publish(tmp_path / "second", "flowers")
    there = ("--to", tmp_path / "other", "--registry", zoo)
    kept = run("copy", "flowers@2", *there)
    assert (kept.lines[0], kept.err) == ("flowers@2", "")
    run("copy", "flowers@2", *there, "--as", "taken", "--version", "1")
    run("copy", "flowers@1", "--to", zoo, "--as", "taken", "--registry", zoo)
    taken = run("copy", "taken@1", *there)
    assert taken.lines[0] == "taken@2"
    assert taken.err.startswith("taken@1 became taken@2")
    again = run("copy", "taken@1", *there)
    assert again.err.startswith("taken@1 is taken@2")
    assert again.err.count("\n") == 1


def test_copy_needs_a_target(zoo: Path, run: Run) -> None:
    shown = run("copy", "flowers", "--registry", zoo)
    assert shown.code == 2
    assert "--to" in shown.err


def test_aliases_that_are_set_there_need_not_be_set(zoo: Path, run: Run) -> None:
    store = DirectoryStore(zoo)
    for alias in ("stable", "tested"):
        store.set_alias("flowers", alias, 1)
    same = run("copy", "flowers@1", "--to", zoo, "--registry", zoo)
    assert (same.code, same.err) == (0, "")
    renamed = run("copy", "flowers@1", "--to", zoo, "--registry", zoo, "--as", "mine")
    assert "(stable, tested)" in renamed.err
    store.set_alias("mine", "stable", 1)
    renamed = run("copy", "flowers@1", "--to", zoo, "--registry", zoo, "--as", "mine")
    assert "alias set mine tested 1" in renamed.err
    assert "stable" not in renamed.err
