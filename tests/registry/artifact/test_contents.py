import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.error_fields import assert_fields
from tests.registry.factories import (
    SPACE,
    make_artifact,
    make_check,
    make_embedding,
    make_space,
    make_weights,
    reseal,
)
from wsdarts_registry._tensors import write_tensors
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.errors import ArtifactError


def _masks(**tensors: NDArray[Any]) -> bytes:
    full = np.ones(SPACE.shape, dtype=np.bool_)
    return write_tensors({"stage_1/normal": full, "stage_1/reduction": full, **tensors})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (write_tensors({}), "expected stage_1/normal, stage_1/reduction"),
        (_masks(**{"stage_3/normal": np.ones(SPACE.shape, np.uint8)}), "holds 3 tensors"),
        (_masks(**{"stage_1/normal": np.ones(SPACE.shape)}), "not BOOL or U8"),
        (_masks(**{"stage_1/normal": np.full(SPACE.shape, 2, np.uint8)}), "other than 0 and 1"),
        (_masks(**{"stage_1/normal": np.zeros(SPACE.shape, np.uint8)}), "has no operation left"),
        (_masks(**{"stage_1/normal": np.ones((4, 3), np.uint8)}), r"has shape \(4, 3\)"),
        (_masks(**{"stage_1/normal": np.ones(3, np.uint8)}), r"has shape \(3,\)"),
    ],
)
def test_bad_masks(copy: Path, content: bytes, message: str) -> None:
    (copy / "op_masks.safetensors").write_bytes(content)
    reseal(copy)
    with pytest.raises(ArtifactError, match=rf"op_masks\.safetensors.*{message}"):
        read_artifact(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format=9), "has format 9"),
        (lambda d: d.pop("normal"), "keys format, space"),
        (lambda d: d["normal"][0].pop(), None),
        (lambda d: d["normal"][0][0].__setitem__(0, "none"), r"chooses none on edge \(0, 2\)"),
        (lambda d: d.update(space=SearchSpace(nodes=1).to_json()), "1 nodes|2 nodes"),
        (lambda d: d.pop("ranked"), "has no 'ranked'"),
        (lambda d: d["ranked"]["normal"].pop(), "needs 5 edges"),
        (lambda d: d["ranked"]["normal"].__setitem__(0, 1), "'ranked' on edge .0, 2."),
        (lambda d: d["ranked"]["normal"][0].pop(), "'ranked' on edge .0, 2."),
        (lambda d: d["ranked"]["normal"][0][0].__setitem__(1, 0.1), "strongest first"),
        (lambda d: d["ranked"]["normal"][0][0].__setitem__(1, 2.0), "'ranked' on edge"),
        (
            lambda d: d["ranked"]["normal"][0][0].__setitem__(0, "none"),
            "for skip_connect, sep_conv",
        ),
    ],
)
def test_bad_genotypes(
    copy: Path, change: Callable[[dict[str, Any]], object], message: str | None
) -> None:
    path = copy / "genotype.json"
    data = json.loads(path.read_bytes())
    change(data)
    path.write_text(json.dumps(data))
    reseal(copy)
    if message is None:
        assert len(read_artifact(copy).genotype.normal[0]) == 1
    else:
        with pytest.raises(ArtifactError, match=message):
            read_artifact(copy)


def _alpha(**tensors: NDArray[Any]) -> bytes:
    return write_tensors({**make_weights(), **tensors})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (write_tensors({}), r"tensor 'alpha\.normal' is none"),
        (_alpha(**{"alpha.reduction": np.ones((5, 8))}), r"F64 of shape \(5, 8\); expected"),
        (_alpha(**{"alpha.normal": np.ones(SPACE.shape, np.int64)}), "is I64 of shape"),
        (b"", "is no safetensors file"),
        (b"\0" * 100, r"header of weights\.safetensors .*JSON"),
    ],
)
def test_bad_weights(copy: Path, content: bytes, message: str) -> None:
    (copy / "weights.safetensors").write_bytes(content)
    reseal(copy)
    with pytest.raises(ArtifactError, match=message):
        read_artifact(copy)


def test_weights_and_checks_that_are_not_finite(tmp_path: Path) -> None:
    broken = {**make_weights(), "stem.0.weight": np.full((2, 2), np.nan, np.float32)}
    make_artifact(tmp_path / "b")
    (tmp_path / "b" / "weights.safetensors").write_bytes(write_tensors(broken))
    check = {**make_check(), "output": np.full((2, 5), np.inf, np.float32)}
    (tmp_path / "b" / "check.safetensors").write_bytes(write_tensors(check))
    reseal(tmp_path / "b")
    artifact = read_artifact(tmp_path / "b")
    with pytest.raises(ArtifactError, match=r"'stem\.0\.weight' holds NaN"):
        artifact.weights()
    with pytest.raises(ArtifactError, match="'output' holds NaN"):
        artifact.check()


def test_bad_check(copy: Path) -> None:
    (copy / "check.safetensors").write_bytes(write_tensors({"input": np.ones(1)}))
    reseal(copy)
    with pytest.raises(ArtifactError, match=r"check\.safetensors .*\['input'\]"):
        read_artifact(copy)


def _embedding_file(directory: Path) -> Path:
    return next((directory / "embeddings").iterdir())


@pytest.mark.parametrize(
    ("embedding", "fields"),
    [
        (make_embedding("birds"), {"what": "another task"}),
        (make_embedding(space=make_space("big")), {"what": "probe big", "expected": "tiny"}),
        (make_embedding(space=make_space(head_l2=1)), {"what": "head_l2=1", "expected": "tiny"}),
    ],
)
def test_embeddings_of_something_else(
    copy: Path, embedding: TaskEmbedding, fields: dict[str, Any]
) -> None:
    _embedding_file(copy).write_bytes(embedding.to_bytes())
    reseal(copy)
    with pytest.raises(ArtifactError) as caught:
        read_artifact(copy)
    assert_fields(caught.value, **fields)


def test_nan_in_an_embedding(copy: Path) -> None:
    path = _embedding_file(copy)
    path.write_bytes(path.read_bytes()[:-4] + np.float32(np.nan).tobytes())
    reseal(copy)
    with pytest.raises(ArtifactError, match="nan at filter 6"):
        read_artifact(copy)


def test_other_files_are_checked_too(copy: Path) -> None:
    (copy / "README.md").write_bytes(b"\xff")
    reseal(copy)
    with pytest.raises(ArtifactError, match=r"README\.md .*UTF-8"):
        read_artifact(copy)
    (copy / "README.md").write_bytes(b"x" * (4 * 2**20 + 1))
    reseal(copy)
    with pytest.raises(ArtifactError, match=r"README\.md has 4194305 bytes"):
        read_artifact(copy)
