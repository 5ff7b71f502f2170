"""Commands on a registry in which one version is damaged."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.registry.factories import make_embedding
from wsdarts_hub.cli.listing import list_artifacts
from wsdarts_registry.stores.directory import DirectoryStore


@pytest.fixture
def damaged(zoo: Path) -> Path:
    """The registry with a version that has no manifest."""
    (DirectoryStore(zoo).path("textures", 1) / "artifact.json").unlink()
    return zoo


def test_the_list_shows_it(damaged: Path, run: Run) -> None:
    shown = run("list", "--registry", damaged)
    assert shown.code == 0
    (line,) = [line for line in shown.lines if "textures@1" in line and "flowers" not in line]
    assert line.split() == ["textures@1", "damaged"]
    assert "flowers@1" in shown.out
    assert shown.err.count("warning: textures@1 is damaged") == 1
    assert "yank textures@1 --reason damaged" in " ".join(shown.err.split())
    assert run("list", "--registry", damaged, "-q").lines == ["flowers@1", "flowers-textures@1"]


def test_the_list_as_json_has_all_keys_for_it(damaged: Path, run: Run) -> None:
    *_, good, bad = json.loads(run("list", "--registry", damaged, "--json").out)
    assert list(bad) == list(good)
    assert good["damaged"] is None
    assert (bad["reference"], bad["kind"], bad["status"]["yanked"]) == ("textures@1", None, False)
    assert bad["digest"].startswith("sha256:")
    assert "artifact.json" in bad["damaged"]
    assert "damaged" in (list_artifacts.__doc__ or "")


def test_the_ranking_names_it(damaged: Path, run: Run, tmp_path: Path) -> None:
    make_embedding("query").save(tmp_path / "query.safetensors")
    shown = run("nearest", tmp_path / "query.safetensors", "--registry", damaged, "--json")
    assert (shown.code, shown.err.count("warning: textures@1 is damaged")) == (0, 1)
    data = json.loads(shown.out)
    assert [version["reference"] for version in data["damaged"]] == ["textures@1"]
    assert "artifact.json" in data["damaged"][0]["damaged"]
    assert {n["reference"] for n in data["neighbours"]} == {"flowers@1", "flowers-textures@1"}


def test_show_says_what_is_wrong(damaged: Path, run: Run) -> None:
    shown = run("show", "textures@1", "--registry", damaged)
    assert (shown.code, shown.out) == (1, "")
    assert shown.err.startswith("error: textures@1: ")
    data = run("show", "textures", "--registry", damaged, "--json")
    assert data.code == 1
    assert json.loads(data.out)["reference"] == "textures@1"
    assert "artifact.json" in json.loads(data.out)["damaged"]
    assert run("show", "flowers@1", "--registry", damaged).code == 0


def test_the_family_of_another_is_shown(damaged: Path, run: Run, tmp_path: Path) -> None:
    shown = run("lineage", "flowers@1", "--registry", damaged)
    assert (shown.code, shown.err.count("warning: textures@1 is damaged")) == (0, 1)
    built = run("gallery", "build", "--registry", damaged, "--out", tmp_path / "site", "-q")
    assert (built.code, built.err.count("warning: textures@1 is damaged")) == (0, 1)
    assert "not shown: textures@1." in (tmp_path / "site" / "index.html").read_text()
