"""An artifact by another implementation, which knows docs/format.md and nothing of ours.

``_by_the_page`` uses the standard library, numpy and safetensors alone. What it writes has
to verify, and to have the very digest that our own writer gives the same content.
"""

import base64
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from safetensors.numpy import save

from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_registry.artifact.manifest import NetworkRecord, Provenance, TaskRecord
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.artifact.reference import Reference
from wsdarts_registry.artifact.signing import check_signature
from wsdarts_registry.artifact.writer import ArtifactDraft, write_artifact
from wsdarts_registry.embedding.embedding import EmbeddingSpace, TaskEmbedding
from wsdarts_registry.errors import SignatureError
from wsdarts_registry.stores.directory import DirectoryStore

_RECORDS = {
    "v1.yanked.json": {"format", "reason", "when", "lifted"},
    "aliases/stable.json": {"format", "version", "when"},
}
_PAGE = Path(__file__).parents[3] / "docs" / "format.md"
_SPACE = {"nodes": 1, "candidates": ["none", "skip_connect", "sep_conv_3x3"]}
_GENOTYPE = {
    "format": 1,
    "space": _SPACE,
    "normal": [[["sep_conv_3x3", 0], ["skip_connect", 1]]],
    "reduction": [[["sep_conv_3x3", 0], ["sep_conv_3x3", 1]]],
    "ranked": {
        "normal": [[["sep_conv_3x3", 0.7], ["skip_connect", 0.3]], [["skip_connect", 1.0]]],
        "reduction": [[["sep_conv_3x3", 1.0]], [["sep_conv_3x3", 1.0]]],
    },
}
_NORMAL = np.array([[0, 1, 1], [0, 1, 0]], dtype=np.bool_)
_REDUCTION = np.array([[0, 0, 1], [0, 0, 1]], dtype=np.bool_)
_ALPHA = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
_VALUES = {"flowers": np.array([1, 2, 3], np.float32), "birds": np.array([3, 2, 0], np.float32)}
_PROVENANCE: dict[str, Any] = {
    "code_version": "other 1.0",
    "libraries": {"numpy": "2"},
    "hardware": "abacus",
    "seed": 1,
    "seconds": 0.5,
    "created": "2026-01-02T03:04:05Z",
}
_PROBE = {
    "probe": "My Probe/2",
    "probe_digest": "sha256:" + "5" * 64,
    "estimator": "fisher",
    "version": 1,
    "settings": {"head_l2": 10},
}


def _canonical(data: Any) -> bytes:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode() + b"\n"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _task_digest(name: str) -> str:
    return f"sha256:{_sha256(name.encode())}"


def _embedding(values: np.ndarray[Any, Any], task: dict[str, Any]) -> bytes:
    metadata = {"format": 1, "space": _PROBE, "task": task}
    return save({"fisher": values}, {"wsdarts": _canonical(metadata).decode()})


def _embedding_files() -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    key = f"embeddings/my-probe-2-{_sha256(_canonical(_PROBE))[:8]}"
    digests = [_task_digest(name) for name in _VALUES]
    mean = np.mean(list(_VALUES.values()), axis=0)
    lines = "".join(f"{digest}\n" for digest in sorted(digests))
    mean_task = {
        "name": "mean of flowers, birds",
        "digest": f"sha256:{_sha256(lines.encode())}",
        "images": 20,
        "classes": 4,
    }
    files = {f"{key}.safetensors": _embedding(mean, mean_task)}
    records: list[dict[str, Any]] = [
        {"file": f"{key}.safetensors", "space": _PROBE, "tasks": digests}
    ]
    for number, (name, values) in enumerate(_VALUES.items(), start=1):
        task = {"name": name, "digest": _task_digest(name), "images": 10, "classes": 2}
        path = f"{key}--{number}.safetensors"
        files[path] = _embedding(values, task)
        records.append({"file": path, "space": _PROBE, "tasks": [_task_digest(name)]})
    return files, records


def _by_the_page(directory: Path) -> str:
    embedding_files, records = _embedding_files()
    files = {
        "genotype.json": _canonical(_GENOTYPE),
        "op_masks.safetensors": save({"stage_1/normal": _NORMAL, "stage_1/reduction": _REDUCTION}),
        "weights.safetensors": save({"alpha.normal": _ALPHA, "alpha.reduction": _ALPHA}),
        "README.md": "# λ by hand\n".encode(),
        **embedding_files,
    }
    manifest = {
        "format": 1,
        "kind": "meta-transfer",
        "space": _SPACE,
        "tasks": [
            {"name": n, "digest": _task_digest(n), "images": 10, "classes": 2, "image_size": None}
            for n in _VALUES
        ],
        "network": {"cells": 1, "channels": 2, "image_size": 8},
        "embeddings": records,
        "config": {"preset": "none", "ε": 0.01},
        "metrics": {"accuracy": 0.25, "steps": 3},
        "provenance": _PROVENANCE,
        "lineage": {"mode": "cold", "parents": []},
        "license": "cc0-1.0",
        "description": "Two lines,\nboth short.",
        "files": {p: {"size": len(c), "sha256": _sha256(c)} for p, c in files.items()},
    }
    content = _canonical(manifest)
    files["artifact.json"] = content
    files["artifact.sha256"] = f"{_sha256(content)}  artifact.json\n".encode()
    for path, data in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(data)
    return f"sha256:{_sha256(content)}"


def _by_our_writer(directory: Path) -> str:
    space = SearchSpace(nodes=1, candidates=tuple(_SPACE["candidates"]))  # type: ignore[arg-type]
    probe = EmbeddingSpace.from_json(_PROBE)
    draft = ArtifactDraft(
        kind="meta-transfer",
        tasks=[TaskRecord(name=n, digest=_task_digest(n), images=10, classes=2) for n in _VALUES],
        network=NetworkRecord(cells=1, channels=2, image_size=8),
        genotype=Genotype.from_json(_GENOTYPE),
        ranked=_GENOTYPE["ranked"],  # type: ignore[arg-type]
        stage_masks=[OperationMasks.from_arrays(space, _NORMAL, _REDUCTION)],
        embeddings=[
            TaskEmbedding(
                space=probe,
                values=values.astype(np.float64),
                task_digest=_task_digest(name),
                task_name=name,
                images=10,
                classes=2,
            )
            for name, values in _VALUES.items()
        ],
        weights={"alpha.normal": _ALPHA, "alpha.reduction": _ALPHA},
        config={"preset": "none", "ε": 0.01},
        metrics={"accuracy": 0.25, "steps": 3},
        provenance=Provenance(**_PROVENANCE),
        license="cc0-1.0",
        description="Two lines,\nboth short.",
        files={"README.md": "# λ by hand\n".encode()},
    )
    return write_artifact(directory, draft)


def test_an_artifact_by_the_page_verifies_and_is_found(tmp_path: Path) -> None:
    digest = _by_the_page(tmp_path / "artifact")
    artifact = read_artifact(tmp_path / "artifact", digest)
    assert artifact.masks.operations("normal", 0) == ("skip_connect", "sep_conv_3x3")
    assert artifact.genotype.to_darts().startswith("Genotype(normal=[('sep_conv_3x3', 0), ('skip")
    weights = artifact.weights()
    assert weights is not None
    np.testing.assert_array_equal(weights["alpha.normal"], _ALPHA)
    store = DirectoryStore(tmp_path / "zoo", create=True)
    assert store.publish(tmp_path / "artifact", "by-hand").digest == digest
    query = artifact.embeddings[0]
    np.testing.assert_array_equal(query.values, [2, 2, 1.5])
    (neighbour,) = store.nearest(query).neighbours
    assert (neighbour.reference, neighbour.distance) == ("by-hand@1", 0)


def test_both_writers_agree_to_the_byte(tmp_path: Path) -> None:
    assert _by_our_writer(tmp_path / "ours") == _by_the_page(tmp_path / "theirs")
    for path in (tmp_path / "ours").rglob("*.*"):
        other = tmp_path / "theirs" / path.relative_to(tmp_path / "ours")
        assert path.read_bytes() == other.read_bytes()


def _registry_by_the_page(root: Path) -> str:
    """A registry with two versions: the first yanked and restored, the second an alias's."""
    near = {"space": _PROBE, "distance": 0.25, "measured": "two tasks"}
    folder = root / "artifacts" / "by-hand"
    digest = _by_the_page(folder / "v1")
    shutil.copytree(folder / "v1", folder / "v2")
    manifest = json.loads((folder / "v2" / "artifact.json").read_bytes())
    content = _canonical({**manifest, "description": "Another."})
    (folder / "v2" / "artifact.json").write_bytes(content)
    (folder / "v2" / "artifact.sha256").write_text(f"{_sha256(content)}  artifact.json\n")
    when = "2026-01-02T03:04:05Z"
    lifted = {"reason": "it was right", "when": when}
    (folder / "aliases").mkdir()
    for path, data in (
        (root / "registry.json", {"format": 1, "name": "by-hand", "near": [near]}),
        (
            folder / "v1.yanked.json",
            {"format": 1, "reason": "wrong", "when": when, "lifted": lifted},
        ),
        (folder / "v2.yanked.json", {"format": 1, "reason": "worse", "when": when}),
        (folder / "aliases" / "stable.json", {"format": 1, "version": 1, "when": when}),
    ):
        path.write_bytes(_canonical(data))
    return digest


def test_a_registry_by_the_page_is_read(tmp_path: Path) -> None:
    digest = _registry_by_the_page(tmp_path)
    store = DirectoryStore(tmp_path)
    assert (store.config.name, store.config.default_probe) == ("by-hand", "shipped")
    threshold = store.config.threshold(EmbeddingSpace.from_json(_PROBE))
    assert threshold is not None
    assert (threshold.distance, threshold.measured) == (0.25, "two tasks")
    for reference in ("by-hand", "by-hand@1", "by-hand@stable", f"by-hand@{digest[:19]}"):
        assert store.pull(reference).digest == digest
    first, second = store.versions("by-hand")
    assert first.yanked is None
    assert first.status.yank is not None
    assert first.status.yank.lifted is not None
    assert first.status.aliases == ("stable",)
    assert second.yanked is not None
    assert second.yanked.reason == "worse"


def test_what_we_write_beside_a_version_is_on_the_page(tmp_path: Path) -> None:
    _by_the_page(tmp_path / "artifact")
    store = DirectoryStore(tmp_path / "zoo", create=True)
    store.publish(tmp_path / "artifact", "by-hand")
    store.set_alias("by-hand", "stable", 1)
    store.yank("by-hand@1", "wrong")
    store.unyank("by-hand@1", "right")
    folder = tmp_path / "zoo" / "artifacts" / "by-hand"
    keys = {path: set(json.loads((folder / path).read_bytes())) for path in _RECORDS}
    assert keys == _RECORDS
    yank = json.loads((folder / "v1.yanked.json").read_bytes())
    assert set(yank["lifted"]) == {"reason", "when"}


def _signature_by_the_page(
    directory: Path, key: ec.EllipticCurvePrivateKey, subject: str = "by-hand@1"
) -> bytes:
    paths = [p.relative_to(directory) for p in directory.rglob("*") if p.is_file()]
    digests = {str(p): _sha256((directory / p).read_bytes()) for p in sorted(paths)}
    root = _sha256(b"".join(map(bytes.fromhex, digests.values())))
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": subject, "digest": {"sha256": root}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": [
                {"name": p, "algorithm": "sha256", "digest": d} for p, d in digests.items()
            ],
        },
    }
    payload = json.dumps(statement).encode()
    signed = b"DSSEv1 28 application/vnd.in-toto+json %d %b" % (len(payload), payload)
    signature = key.sign(signed, ec.ECDSA(hashes.SHA256()))
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    bundle = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": _sha256(public)}},
        "dsseEnvelope": {
            "payloadType": "application/vnd.in-toto+json",
            "payload": base64.b64encode(payload).decode(),
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(bundle).encode()


def test_a_signature_by_the_page_verifies(tmp_path: Path) -> None:
    # Of the standard library nothing signs: this one takes the package for the curve alone.
    _by_the_page(tmp_path / "artifact")
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "key.pub").write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    artifact = read_artifact(tmp_path / "artifact")
    good = _signature_by_the_page(tmp_path / "artifact", key)
    keys, reference = [tmp_path / "key.pub"], Reference(name="by-hand", version=1)
    check_signature(artifact, good, keys, reference)
    for subject in ("v1", "by-hand", "by-hand@stable", "anything"):
        alone = _signature_by_the_page(tmp_path / "artifact", key, subject)
        check_signature(artifact, alone, keys, reference, content_only=True)
        with pytest.raises(SignatureError, match="names no version"):
            check_signature(artifact, alone, keys, reference)
    for subject in ("by-hand@2", "by-hands@1"):
        wrong = _signature_by_the_page(tmp_path / "artifact", key, subject)
        for content_only in (False, True):
            with pytest.raises(SignatureError, match=subject):
                check_signature(artifact, wrong, keys, reference, content_only=content_only)
    other = ec.generate_private_key(ec.SECP256R1())
    bad = json.loads(_signature_by_the_page(tmp_path / "artifact", other))
    bad["verificationMaterial"] = json.loads(good)["verificationMaterial"]
    with pytest.raises(SignatureError, match="forged"):
        check_signature(artifact, json.dumps(bad).encode(), keys, reference)


def test_manifests_need_not_be_canonical(tmp_path: Path) -> None:
    _by_the_page(tmp_path)
    text = json.dumps(json.loads((tmp_path / "artifact.json").read_bytes()), indent=3)
    (tmp_path / "artifact.json").write_text(text)
    digest = _sha256(text.encode())
    (tmp_path / "artifact.sha256").write_text(f"{digest}  artifact.json\n")
    assert read_artifact(tmp_path).digest == f"sha256:{digest}"


@pytest.mark.parametrize(
    "limit",
    ["4 MiB", "1 MiB", "32,768", "4 GiB", "8 MiB", "1,000,000", "32 levels", "2^48", "2^26"],
)
def test_the_page_names_the_limits(limit: str) -> None:
    assert limit in _PAGE.read_text(encoding="utf-8")


def test_the_example_of_the_page_is_the_one_used_here() -> None:
    text = _PAGE.read_text(encoding="utf-8").split("```json")[1].split("```")[0]
    assert json.loads(text) == _GENOTYPE
