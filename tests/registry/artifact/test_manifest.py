import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.registry.factories import make_artifact
from wsdarts_registry.artifact.manifest import MANIFEST, Manifest, artifact_schema
from wsdarts_registry.errors import ArtifactError

_SCHEMA = Path(__file__).parents[3] / "docs" / "schema" / "artifact.schema.json"
_RECORD = {"size": 1, "sha256": "0" * 64}


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    """A valid manifest."""
    make_artifact(tmp_path / "artifact", "flowers", "birds")
    return (tmp_path / "artifact" / MANIFEST).read_bytes()


def _changed(content: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    data = json.loads(content)
    change(data)
    return json.dumps(data).encode()


def test_round_trip(content: bytes) -> None:
    manifest = Manifest.from_bytes(content, what=MANIFEST)
    assert manifest.to_bytes() == content
    assert Manifest.from_bytes(manifest.to_bytes(), what=MANIFEST) == manifest


def test_a_dataset_is_a_label_that_may_be_missing(content: bytes) -> None:
    # Not even as null: artifacts from before there was such a label keep their digests.
    assert b"dataset" not in content
    named = _changed(content, _set("tasks", 0, "dataset", value="acme/flowers"))
    manifest = Manifest.from_bytes(named, what=MANIFEST)
    assert [task.dataset for task in manifest.tasks] == ["acme/flowers", None]
    assert json.loads(manifest.to_bytes()) == json.loads(named)
    null = _changed(content, _set("tasks", 0, "dataset", value=None))
    assert Manifest.from_bytes(null, what=MANIFEST).to_bytes() == content


def test_a_given_split_stands_only_where_there_is_one(content: bytes) -> None:
    assert b"split" not in content
    images = json.loads(content)["tasks"][0]["images"]
    split = {"train": images - 10, "validation": 7, "test": 3}
    given = _changed(content, _set("tasks", 0, "split", value=split))
    manifest = Manifest.from_bytes(given, what=MANIFEST)
    assert json.loads(manifest.to_bytes()) == json.loads(given)
    found = manifest.tasks[0].split
    assert found is not None
    assert (str(found), found.held_out) == (f"train {images - 10}, validation 7, test 3", "test")
    short = _changed(content, _set("tasks", 0, "split", value={**split, "test": None}))
    with pytest.raises(ArtifactError, match=f"are not its {images} images"):
        Manifest.from_bytes(short, what=MANIFEST)


def test_groups_stand_only_where_there_are_some(content: bytes) -> None:
    assert b"groups" not in content
    images = json.loads(content)["tasks"][0]["images"]
    grouped = _changed(content, _set("tasks", 0, "groups", value=images))
    manifest = Manifest.from_bytes(grouped, what=MANIFEST)
    assert manifest.tasks[0].groups == images
    assert json.loads(manifest.to_bytes()) == json.loads(grouped)
    null = _changed(content, _set("tasks", 0, "groups", value=None))
    assert Manifest.from_bytes(null, what=MANIFEST).to_bytes() == content
    for wrong in (0, images + 1, True):
        with pytest.raises(ArtifactError):
            Manifest.from_bytes(
                _changed(content, _set("tasks", 0, "groups", value=wrong)), what=MANIFEST
            )


def test_it_is_canonical(content: bytes) -> None:
    text = json.dumps(
        json.loads(content), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    assert content.decode() == text + "\n"


def test_schema_is_committed(golden: Callable[[Path, str], None]) -> None:
    golden(_SCHEMA, json.dumps(artifact_schema(), indent=2, ensure_ascii=False) + "\n")


def test_unknown_format_names_the_fix(content: bytes) -> None:
    newer = _changed(content, lambda d: d.update(format=2, surprise=[]))
    message = r"has format 2; this version reads format 1: update with `git pull"
    with pytest.raises(ArtifactError, match=message):
        Manifest.from_bytes(newer, what=MANIFEST)
    for version in ("1", 1.0, True, None):
        odd = _changed(content, _set("format", value=version))
        with pytest.raises(ArtifactError, match="has no format version"):
            Manifest.from_bytes(odd, what=MANIFEST)


@pytest.mark.parametrize(
    "path",
    [
        "../evil.md",
        "a/../../evil.md",
        "/etc/evil.md",
        "C:/evil.md",
        "a\\evil.md",
        "a//b.md",
        "./a.md",
        ".hidden.md",
        "-rf.md",
        "a/b/c/d/e.md",
        "nul.md",
        "a/COM1.md",
        "dir./a.md",
        "evil.py",
        "weights.pkl",
        "é.md",
        "a b.md",
        "a\n.md",
        "x" * 101 + ".md",
        "",
    ],
)
def test_paths_that_are_not_allowed(content: bytes, path: str) -> None:
    evil = _changed(content, lambda d: d["files"].update({path: _RECORD}))
    with pytest.raises(ArtifactError, match=r"artifact\.json .*: files") as caught:
        Manifest.from_bytes(evil, what=MANIFEST)
    assert "\n" not in str(caught.value)


def _set(*keys: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: Any) -> None:
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = value

    return change


_VISIBLE = r"tasks\.0\.name: .*invisible characters"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("files", "Readme.md", value=_RECORD), "differ only in case"),
        (_set("files", "EMBEDDINGS/a.md", value=_RECORD), "differ only in case"),
        (_set("files", "Artifact.json", value=_RECORD), "differ only in case"),
        (_set("files", "artifact.json", value=_RECORD), "describes itself"),
        (_set("files", "README.md/a.md", value=_RECORD), r"README\.md is .* a directory"),
        (_set("files", "a.md", "size", value=-1), r"files\.a\.md\.size: .*greater .* 0"),
        (_set("files", "a.md", "size", value=2**62), r"files\.a\.md\.size: .*less .* 4294967296"),
        (_set("files", "a.md", "size", value=4 * 2**30), "more than 4294967296 bytes"),
        (_set("files", "a.md", "sha256", value="X" * 64), "should match pattern"),
        (lambda d: d["files"].pop("genotype.json"), r"genotype\.json .*among the files$"),
        (lambda d: d["files"].pop("weights.safetensors"), "without weights.safetensors"),
        (_set("kind", value="transfer"), "kind transfer with 2 tasks"),
        (_set("kind", value="other"), "kind: .*'transfer' or 'meta-transfer'"),
        (_set("space", "candidates", value=["a", "a"]), "space: .*named twice"),
        (_set("space", "nodes", value=True), "space.nodes"),
        (_set("space", "nodes", value="4"), "space.nodes"),
        (_set("tasks", value=[]), "tasks: "),
        (_set("tasks", 0, "name", value="a\x1b[2J"), _VISIBLE),
        (_set("tasks", 0, "name", value="a\u202eb"), _VISIBLE),
        (_set("tasks", 0, "name", value="a\u200fb"), _VISIBLE),
        (_set("tasks", 0, "name", value="\u3164"), _VISIBLE),
        (_set("description", value="a\u200b"), "description: .*invisible characters"),
        (_set("tasks", 0, "images", value=0), "tasks.0.images"),
        (_set("tasks", 0, "dataset", value="/home/me/pictures"), "tasks.0.dataset: .*pattern"),
        (_set("tasks", 0, "dataset", value="a/b@main"), "tasks.0.dataset: .*pattern"),
        (_set("tasks", 0, "dataset", value="a/b.git"), "tasks.0.dataset: .*without '--'"),
        (_set("embeddings", 1, "tasks", value=["sha256:" + "0" * 64]), "does not name"),
        (_set("embeddings", 0, "file", value="README.md"), r"README\.md .*not among .*embeddings/"),
        (_set("embeddings", 0, "space", "settings", value={"a": True}), "embeddings.0.space"),
        (_set("embeddings", 0, "space", "settings", value={"A": 1}), "embeddings.0.space"),
        (lambda d: d["embeddings"].append(d["embeddings"][0]), "two embeddings"),
        (_set("provenance", "created", value="2026-02-30T00:00:00Z"), "provenance.created"),
        (_set("provenance", "created", value="2026-02-03"), "provenance.created"),
        (_set("provenance", "seed", value=-1), "provenance.seed"),
        (_set("metrics", "Bad Name", value=1), "metrics"),
        (_set("metrics", "a", value="1"), "metrics"),
        (_set("lineage", "mode", value="Cold!"), "lineage.mode"),
        (_set("description", value="x" * 10_001), "description"),
        (_set("surprise", value=1), "surprise: Extra inputs"),
        (lambda d: d.pop("license"), "license: Field required"),
    ],
)
def test_what_the_format_does_not_allow(
    content: bytes, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    def with_file(data: dict[str, Any]) -> None:
        data["files"]["a.md"] = dict(_RECORD)
        change(data)

    with pytest.raises(ArtifactError, match=message):
        Manifest.from_bytes(_changed(content, with_file), what=MANIFEST)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not valid JSON"),
        (b"\xff", "is not valid JSON"),
        (b"[]", "has no format version"),
        (b'{"format":1,"format":1}', "a key stands twice"),
        (b'{"format":NaN}', "NaN is no JSON"),
        (b'{"format":1e999}', "number is too large"),
        (b'{"format":"\\ud800"}', "is not valid JSON"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nested deeper than 32 levels"),
        (b"[" * 500_000, "is not valid JSON"),
        (b'{"format":1}' + b" " * 2**20, "expected at most 1048576"),
        (b"9" * 5000, "integer .*more than 63 bits"),
        (b'{"format":9223372036854775808}', "integer .*more than 63 bits"),
    ],
)
def test_json_that_readers_disagree_about(content: bytes, message: str) -> None:
    with pytest.raises(ArtifactError, match=message) as caught:
        Manifest.from_bytes(content, what=MANIFEST)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
