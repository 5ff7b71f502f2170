import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.registry.factories import (
    CARD,
    SPACE,
    digest_of,
    make_artifact,
    make_draft,
    make_embedding,
    make_genotype,
    make_masks,
    make_ranked,
    make_space,
    make_weights,
)
from wsdarts_registry.architecture.genotype import Connection, Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.artifact.writer import rewrite_artifact, write_artifact
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.errors import ArtifactError, EmbeddingError

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


def test_what_is_written_is_read(tmp_path: Path) -> None:
    draft = make_draft()
    digest = write_artifact(tmp_path / "new" / "artifact", draft)
    artifact = read_artifact(tmp_path / "new" / "artifact", digest)
    assert artifact.digest == digest
    assert artifact.genotype == draft.genotype
    assert artifact.stage_masks == tuple(draft.stage_masks)
    assert artifact.masks == draft.stage_masks[-1]
    assert artifact.ranked["normal"][0] == (("skip_connect", 0.5), ("sep_conv_3x3", 0.5))
    assert artifact.manifest.config == {"preset": "tiny", "stages": [[3, 3], [3, 2]]}
    assert artifact.card == CARD.decode()
    weights, check = artifact.weights(), artifact.check()
    assert weights is not None
    assert check is not None
    for name, array in make_weights().items():
        np.testing.assert_array_equal(weights[name], array)
        assert weights[name].dtype == array.dtype
    assert set(check) == {"input", "output"}
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["artifact"]


def test_equal_drafts_have_equal_digests(tmp_path: Path) -> None:
    assert make_artifact(tmp_path / "a") == make_artifact(tmp_path / "b")
    assert make_artifact(tmp_path / "a2", "a", "b") == make_artifact(tmp_path / "b2", "a", "b")
    assert make_artifact(tmp_path / "c") != make_artifact(tmp_path / "d", description="Other.")


def test_a_moved_artifact_has_the_same_digest(copy: Path) -> None:
    digest = read_artifact(copy).digest
    moved = copy.rename(copy.with_name("elsewhere"))
    assert read_artifact(moved).digest == digest


def test_sha256sum_can_check_it(valid: Path) -> None:
    tool = shutil.which("sha256sum")
    if tool is None:
        pytest.skip("there is no sha256sum here")
    command = [tool, "--check", "--strict", "artifact.sha256"]
    assert subprocess.check_output(command, cwd=valid, text=True) == "artifact.json: OK\n"


def test_a_bare_transfer_architecture(tmp_path: Path) -> None:
    make_artifact(tmp_path / "a", weights=False, embeddings=[], files={})
    artifact = read_artifact(tmp_path / "a")
    assert not artifact.has_weights
    assert (artifact.weights(), artifact.check(), artifact.card) == (None, None, None)
    with pytest.raises(EmbeddingError, match=r"by probe tiny .* none"):
        artifact.embedding(make_space())


def test_a_meta_transfer_artifact_has_each_embedding_and_their_mean(tmp_path: Path) -> None:
    tasks = ("flowers", "birds", "cars")
    spaces = [make_space("tiny"), make_space("big")]
    embeddings = [make_embedding(task, space=space) for task in reversed(tasks) for space in spaces]
    make_artifact(tmp_path / "a", *tasks, embeddings=embeddings)
    artifact = read_artifact(tmp_path / "a")
    assert len(artifact.embeddings) == 8
    for space in spaces:
        singles = artifact.task_embeddings(space)
        assert [single.task_name for single in singles] == list(tasks)
        mean = artifact.embedding(space)
        expected = np.mean([make_embedding(task).values for task in tasks], axis=0)
        np.testing.assert_allclose(mean.values, expected, rtol=1e-6)
        assert mean.task_digest not in {single.task_digest for single in singles}
    paths = sorted(path for path in artifact.manifest.files if path.startswith("embeddings/big"))
    key = spaces[1].key
    assert paths == sorted(
        [f"embeddings/{key}.safetensors"]
        + [f"embeddings/{key}--{n}.safetensors" for n in (1, 2, 3)]
    )


def test_another_space_names_both(valid: Path) -> None:
    artifact = read_artifact(valid)
    assert artifact.embedding(make_space()).task_name == "flowers"
    with pytest.raises(EmbeddingError, match=r"probe big .* probe tiny"):
        artifact.embedding(make_space("big"))


def test_embedding_files_load_on_their_own(valid: Path) -> None:
    path = next((valid / "embeddings").iterdir())
    assert TaskEmbedding.load(path).task_digest == digest_of("flowers")


_OTHER = SearchSpace(nodes=2, candidates=("none", "skip_connect", "other"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stage_masks": []}, "has no operation masks"),
        ({"stage_masks": [make_masks(_OTHER)]}, "masks .*another .*space .*genotype"),
        ({"kind": "meta-transfer"}, "kind meta-transfer with 1 task;"),
        ({"embeddings": [make_embedding("birds")]}, "^1 embedding .*probe tiny .*1 task;"),
        ({"embeddings": [make_embedding()] * 2}, "^2 embeddings .*probe tiny .*1 task;"),
        ({"config": {"a": float("nan")}}, "cannot .* JSON .*range float"),
        ({"config": {"a": object()}}, "cannot .* JSON .*type object"),
        ({"metrics": {"a": float("inf")}}, "metrics.a"),
        ({"files": {"../x.md": b""}}, r"'\.\./x\.md' is not allowed"),
        ({"files": {"genotype.json": b"{}"}}, r"genotype\.json is written by"),
        ({"files": {"a.json": b"{"}}, r"^a\.json .*not valid JSON"),
        ({"weights": {"alpha.normal": np.ones(SPACE.shape)}}, r"'alpha\.reduction' is none"),
        ({"weights": None}, "check.safetensors without weights.safetensors"),
    ],
)
def test_drafts_that_do_not_hold_together(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArtifactError, match=message):
        write_artifact(tmp_path / "a", replace(make_draft(), **change))
    assert list(tmp_path.iterdir()) == []


def test_an_artifact_is_not_written_over_something(copy: Path) -> None:
    with pytest.raises(ArtifactError, match="is not empty"):
        make_artifact(copy)
    read_artifact(copy)


def test_an_empty_directory_is_filled(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    digest = make_artifact(tmp_path / "a")
    assert read_artifact(tmp_path / "a").digest == digest


def test_a_rewritten_artifact(copy: Path, tmp_path: Path) -> None:
    artifact = read_artifact(copy)
    manifest = artifact.manifest.model_copy(update={"license": "mit"})
    files = {"README.md": b"# Other\n", "cell.svg": SVG}
    digest = rewrite_artifact(artifact, tmp_path / "new", manifest=manifest, replaced=files)
    found = read_artifact(tmp_path / "new", digest)
    assert found.manifest.license == "mit"
    assert found.card == "# Other\n"
    assert found.read("cell.svg") == SVG
    assert set(found.manifest.files) == {*artifact.manifest.files, "cell.svg"}
    assert found.genotype == artifact.genotype
    broken = artifact.manifest.model_copy(update={"license": "\x1b"})
    with pytest.raises(ArtifactError, match="valid: license"):
        rewrite_artifact(artifact, tmp_path / "b", manifest=broken, replaced={})


def test_other_spaces_than_darts(tmp_path: Path) -> None:
    space = SearchSpace(nodes=3, candidates=("a", "b", "c", "d"))
    masks = make_masks(space, keep=1)
    make_artifact(
        tmp_path / "a",
        weights=False,
        genotype=make_genotype(space),
        stage_masks=[OperationMasks.full(space), masks],
        ranked=make_ranked(masks),
    )
    assert read_artifact(tmp_path / "a").masks == masks


def test_genotype_files_are_genotypes(valid: Path) -> None:
    assert Genotype.load(valid / "genotype.json") == make_genotype()
    assert make_genotype().normal[0][0] == Connection(source=0, operation="sep_conv_3x3")
