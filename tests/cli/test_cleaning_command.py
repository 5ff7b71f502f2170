import json
import os
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from wsdarts_registry._files import cache_directory
from wsdarts_registry.stores.directory import DirectoryStore


def old_matrix(octets: int = 2000) -> Path:
    """A file in the cache that was last used 40 days ago."""
    path = cache_directory() / "nearest" / "ab.npy"
    path.parent.mkdir()
    path.write_bytes(b"x" * octets)
    when = time.time() - 40 * 86_400
    os.utime(path, (when, when))
    return path


def test_gc_lists_and_deletes_only_if_asked(run: Run) -> None:
    assert run("gc").out == f"nothing to delete in {cache_directory()}\n"
    path = old_matrix()
    shown = run("gc")
    assert [line.split() for line in shown.lines[:2]] == [
        ["what", "why", "files", "size"],
        ["embeddings", "of", "registries", "not", "used", "1", "2", "kB"],
    ]
    assert shown.lines[2] == f"2 kB in {cache_directory()}; delete it with --delete"
    assert run("gc", "--older-than", "41d").out.startswith("nothing")
    assert path.exists()
    assert run("gc", "--delete").lines[2] == f"deleted 2 kB from {cache_directory()}"
    assert not path.exists()


def test_gc_says_what_is_in_use(run: Run) -> None:
    path = old_matrix()
    with path.open("rb"):
        shown = run("gc", "--delete")
    assert path.exists()
    assert shown.lines[0] == f"nothing to delete in {cache_directory()}"
    assert shown.lines[1].endswith(": 1 file, 2 kB")


def test_gc_as_json_and_quiet(run: Run) -> None:
    path = old_matrix()
    assert run("gc", "-q").lines == [str(path)]
    data = json.loads(run("gc", "--json").out)
    assert (data["bytes"], data["deleted"]) == (2000, False)
    assert data["found"][0]["path"] == str(path)
    assert (data["found"][0]["why"], data["found"][0]["in_use"]) == ("old", False)


def test_gc_refuses_what_is_no_age_and_no_registry(run: Run, tmp_path: Path) -> None:
    assert "such as 30d" in run("gc", "--older-than", "soon").err
    assert run("gc", "--registry", tmp_path / "nowhere").code == 1


@pytest.mark.slow
def test_gc_knows_every_file_that_is_written_to_the_cache(
    zoo: Path, images: Path, run: Run, tmp_path: Path
) -> None:
    data = tmp_path / "images.safetensors"
    time.sleep(2.1)  # digests of files that changed a moment ago are not kept
    assert run("embed", images, "--out", data).code == 0
    assert run("nearest", images).code == 0
    (cache_directory() / "kernels").unlink()  # a link here, so that kernels are compiled once
    made = {path for path in cache_directory().rglob("*") if path.is_file()}
    assert {path.parts[len(cache_directory().parts)] for path in made} >= {
        *("tasks", "checked", "digests", "embeddings", "features")
    }
    assert {Path(line) for line in run("gc", "--older-than", "0", "-q").lines} == made
    assert run("gc", "--older-than", "0", "--delete").code == 0
    assert not any(path.is_file() for path in cache_directory().rglob("*"))
    assert run("embed", images, "--out", data).code == 0


def test_gc_removes_what_has_no_lock_only_if_asked(run: Run, tmp_path: Path) -> None:
    DirectoryStore(tmp_path / "zoo", create=True)
    left = tmp_path / "zoo" / ".staging" / "0123abcd-1-0123456789abcdef0123456789abcdef"
    left.mkdir(parents=True)  # as an earlier version named the directory of a push
    shown = run("gc", "--registry", tmp_path / "zoo", "--delete")
    assert shown.lines[0].startswith("nothing to delete")
    assert "add --unlocked" in " ".join(shown.lines)
    assert left.exists()
    data = json.loads(run("gc", "--registry", tmp_path / "zoo", "--json").out)
    assert [(u["path"], u["unlocked"]) for u in data["found"]] == [(str(left), True)]
    shown = run("gc", "--registry", tmp_path / "zoo", "--delete", "--unlocked")
    assert "interrupted pushes" in shown.out
    assert not left.exists()
