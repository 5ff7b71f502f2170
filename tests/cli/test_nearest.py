import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.registry.factories import make_embedding, make_space
from wsdarts_hub.cli.embeddings import show_ranking
from wsdarts_registry.artifact.manifest import EmbeddingSpaceRecord
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.store import NearRecord, RegistryConfig


@pytest.fixture
def query(tmp_path: Path) -> Path:
    """The embedding of a task that the registry has, under another name."""
    path = tmp_path / "query.safetensors"
    values = make_embedding("flowers").values
    return make_embedding("query", values=values).save(path)


def test_nearest_first(zoo: Path, query: Path, run: Run) -> None:
    shown = run("nearest", query, "--registry", zoo, "-k", "2")
    assert shown.code == 0
    header, first, second, more, empty, sentence = shown.lines
    assert header.split() == ["reference", "distance", "kind", "task", "embedded", "classes"]
    assert first.split() == ["flowers@1", "0.0000", "transfer", "flowers", "120", "10"]
    assert second.startswith("flowers-textures@1")
    assert more == "2 of 3; `-k 3` for all"
    assert empty == ""
    assert "no threshold was measured" in sentence


def test_a_list_of_all_has_no_line_about_more(zoo: Path, query: Path, run: Run) -> None:
    shown = run("nearest", query, "--registry", zoo, "-k", "3")
    assert shown.lines[4] == ""
    assert len(shown.lines) == 6


def test_a_ranking_without_a_total_says_that_there_may_be_more(
    zoo: Path, query: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ranking = replace(DirectoryStore(zoo).nearest(TaskEmbedding.load(query), 2), total=None)
    for k, more in ((2, "the 2 nearest; `-k` for more"), (3, "")):
        show_ranking(ranking, k=k)
        assert capsys.readouterr().out.splitlines()[3] == more


def test_the_sentence_names_the_threshold(zoo: Path, query: Path, run: Run) -> None:
    space = EmbeddingSpaceRecord.model_validate(make_space().to_json())
    near = NearRecord(space=space, distance=0.05, measured="halves of two sets")
    DirectoryStore(zoo).configure(RegistryConfig(name="zoo", near=(near,)))
    shown = run("nearest", query, "--registry", zoo)
    assert "0.0500 (halves of two" in shown.lines[-1]
    assert shown.lines[-1].endswith("): near")


def test_json_says_what_the_table_and_the_sentence_say(zoo: Path, query: Path, run: Run) -> None:
    found = json.loads(run("nearest", query, "--registry", zoo, "--json").out)
    neighbours = found["neighbours"]
    assert [each["reference"] for each in neighbours] == [
        "flowers@1",
        "flowers-textures@1",
        "textures@1",
    ]
    assert neighbours[0]["distance"] == pytest.approx(0, abs=1e-6)
    distances = [each["distance"] for each in neighbours]
    assert distances == sorted(distances)
    assert (found["near"], found["threshold"]) == (None, None)
    assert "no threshold was measured" in found["why"]
    space = EmbeddingSpaceRecord.model_validate(make_space().to_json())
    near = NearRecord(space=space, distance=0.05, measured="halves of two sets")
    DirectoryStore(zoo).configure(RegistryConfig(name="zoo", near=(near,)))
    judged = json.loads(run("nearest", query, "--registry", zoo, "--json", "-k", "1").out)
    assert (judged["near"], judged["threshold"], len(judged["neighbours"])) == (True, 0.05, 1)


def test_quiet_is_reference_and_distance(zoo: Path, query: Path, run: Run) -> None:
    shown = run("nearest", query, "--registry", zoo, "-q", "-k", "1")
    assert shown.out == "flowers@1 0.0000\n"


def test_options_of_datasets_do_not_apply_to_an_embedding(zoo: Path, query: Path, run: Run) -> None:
    shown = run("nearest", query, "--registry", zoo, "--probe", "shipped", "--skip-corrupt")
    assert shown.code == 2
    assert "--probe, --skip-corrupt cannot be" in shown.err
    estimated = run("nearest", query, "--registry", zoo, "--estimator", "fisher")
    assert estimated.code == 2
    assert "--estimator cannot be used" in estimated.err
    limited = run("nearest", query, "--registry", zoo, "--budget", "3s", "--target-error", "0.1")
    assert limited.code == 2
    assert "--budget, --target-error cannot be" in limited.err


def test_an_embedding_of_another_probe_names_both(zoo: Path, tmp_path: Path, run: Run) -> None:
    other = make_embedding("query", space=make_space("other")).save(tmp_path / "o.safetensors")
    shown = run("nearest", other, "--registry", zoo)
    assert shown.code == 1
    assert "probe other" in shown.err
    assert "probe tiny" in shown.err
    assert "(--probe, --estimator)" in shown.err


def test_a_truncated_embedding_is_an_error(zoo: Path, query: Path, run: Run) -> None:
    query.write_bytes(query.read_bytes()[:-3])
    shown = run("nearest", query, "--registry", zoo)
    assert shown.code == 1
    assert shown.err.startswith("error: ")
    assert len(shown.err.splitlines()) == 1


def test_k_below_one_is_wrong_usage(zoo: Path, query: Path, run: Run) -> None:
    assert run("nearest", query, "--registry", zoo, "-k", "0").code == 2


def test_a_missing_dataset_is_an_error_of_one_line(run: Run) -> None:
    shown = run("nearest", "no/such/folder")
    assert shown.code == 1
    assert shown.err.splitlines()[-1].startswith("error: no/such/folder ")


@pytest.mark.parametrize("probe", ["timm:vit_giant_patch14_224", "elsewhere.safetensors"])
def test_a_probe_that_a_registry_names_has_to_be_asked_for(
    probe: str, zoo: Path, images: Path, run: Run
) -> None:
    DirectoryStore(zoo).configure(RegistryConfig(name="zoo", default_probe=probe))
    for words in (("nearest", images), ("warm-start", images, "--preset", "tiny")):
        shown = run(*words, "--registry", zoo)
        assert shown.code == 1
        assert f"--probe {probe}" in shown.err
    asked = run("nearest", images, "--registry", zoo, "--probe", "shipped")
    assert f"--probe {probe}" not in asked.err
