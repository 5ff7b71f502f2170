"""Nothing that is read can cost memory, time or a way out: every reader, by attack files."""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.registry.attacks import BAD_JSON, run_in_little_memory, safetensors, tensor
from tests.registry.factories import Push, digest_of, make_embedding, make_space, reseal
from wsdarts_registry import _json
from wsdarts_registry._tensors import read_tensors
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.search_space import CELL_KINDS, SearchSpace
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.embedding.ranking import read_matrix
from wsdarts_registry.errors import (
    ArtifactError,
    EmbeddingError,
    RegistryError,
    SpaceError,
    WsdartsError,
)
from wsdarts_registry.stores.directory import DirectoryStore

_EMPTY_ROWS = tensor(shape=(2**40, 0), offsets=(0, 0))
_FEW_BYTES_MANY_ROWS = safetensors({f"stage_1/{kind}": _EMPTY_ROWS for kind in CELL_KINDS})


@pytest.mark.parametrize("case", BAD_JSON)
def test_bad_json(case: str) -> None:
    content, message = BAD_JSON[case]
    with pytest.raises(ArtifactError, match=message):
        _json.load(content, what="file")


@pytest.mark.parametrize("case", BAD_JSON)
def test_bad_json_in_a_header_and_in_its_metadata(case: str) -> None:
    content, _ = BAD_JSON[case]
    with pytest.raises(ArtifactError, match="header of file"):
        read_tensors(safetensors(content), what="file")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return
    with pytest.raises(ArtifactError, match=r"(metadata|header) of file"):
        read_tensors(safetensors({"__metadata__": {"wsdarts": text}}), what="file")


@pytest.mark.parametrize("case", ["deep lists", "a key twice", "1e999", "too long"])
@pytest.mark.parametrize(
    "path", ["registry.json", "v1.yanked.json", "aliases/stable.json", "v1/artifact.json"]
)
def test_bad_json_in_the_records_of_a_registry(
    path: str, case: str, store: DirectoryStore, push: Push
) -> None:
    push("flowers")
    root = Path(store.location)
    file = root / path if path == "registry.json" else root / "artifacts" / "flowers" / path
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(BAD_JSON[case][0])
    if path == "v1/artifact.json":
        _sum(file.parent)
    with pytest.raises(WsdartsError):
        DirectoryStore(root).resolve("flowers@stable" if "aliases" in path else "flowers")


@pytest.mark.parametrize("case", BAD_JSON)
@pytest.mark.parametrize("path", ["artifact.json", "genotype.json", "more.json"])
def test_bad_json_in_an_artifact(path: str, case: str, copy: Path) -> None:
    content = BAD_JSON[case][0]
    if path == "artifact.json":
        (copy / path).write_bytes(content)
        _sum(copy)
    else:
        (copy / path).write_bytes(content)
        reseal(copy, lambda data: data["files"].update({path: _record(content)}))
    with pytest.raises(ArtifactError):
        read_artifact(copy)


def test_a_shape_without_bytes_cannot_keep_a_reader_busy(copy: Path) -> None:
    # Row by row, 2^40 empty rows would take days.
    (copy / "op_masks.safetensors").write_bytes(_FEW_BYTES_MANY_ROWS)
    reseal(copy)
    with pytest.raises(ArtifactError, match=r"a mask has shape \(1099511627776, 0\)"):
        read_artifact(copy)


@pytest.mark.parametrize("shape", [(2**47, 2), (2**47, 2**47, 0), (0, 2**47, 2)])
def test_shapes_that_overflow(shape: tuple[int, ...]) -> None:
    content = safetensors({"a": tensor(shape=shape, offsets=(0, 0))})
    with pytest.raises(ArtifactError, match=r"in 0 bytes|shape"):
        read_tensors(content, what="file")


def test_as_many_candidates_as_a_file_can_name() -> None:
    # Each connection looks its operation up: a million candidates would take minutes.
    names = tuple(map(str, range(500_000)))
    with pytest.raises(SpaceError, match="500000 candidate operations"):
        SearchSpace(nodes=64, candidates=names)


def test_a_tree_of_empty_directories_is_not_walked_to_its_end(copy: Path) -> None:
    for outer in range(20):
        for inner in range(20):
            (copy / "more" / f"{outer}" / f"{inner}").mkdir(parents=True)
    with pytest.raises(ArtifactError, match="too many files"):
        read_artifact(copy)


@pytest.mark.parametrize(
    "path",
    [
        "../a.md",
        "a/../../b.md",
        "/etc/passwd.md",
        "C:/a.md",
        "C:a.md",
        "\\\\host\\a.md",
        "a\\b.md",
        "a//b.md",
        "./a.md",
        "a./b.md",
        "a.md.",
        "a.md ",
        "con.md",
        "x/NUL.svg",
        "a\0.md",
        "a\n.md",
        "a\u202egpj.md",
        "caf\u00e9.md",  # and its decomposed form would be one file on some systems
        "cafe\u0301.md",
        "-rf.md",
        ".git.md",
        "a.sh",
        "a.md:stream.md",
        "%2e%2e/a.md",
        "~/a.md",
        "x" * 300 + ".md",
    ],
)
def test_paths_that_lead_elsewhere(path: str, copy: Path) -> None:
    reseal(copy, lambda data: data["files"].update({path: _record(b"")}))
    with pytest.raises(ArtifactError, match=r"artifact\.json is not valid"):
        read_artifact(copy)


@pytest.mark.parametrize(
    "path", ["readme.md", "Embeddings/x.md", "ARTIFACT.json", "README.md/a.md"]
)
def test_paths_that_collide(path: str, copy: Path) -> None:
    reseal(copy, lambda data: data["files"].update({path: _record(b"")}))
    with pytest.raises(ArtifactError, match=r"artifact\.json is not valid"):
        read_artifact(copy)


def test_a_hard_link_is_read_by_its_content_and_copied_by_it(copy: Path, tmp_path: Path) -> None:
    os.link(copy / "README.md", tmp_path / "other")
    card = (copy / "README.md").read_bytes()
    artifact = read_artifact(copy)
    (tmp_path / "out").mkdir()
    artifact.copy_to(tmp_path / "out")
    (tmp_path / "other").write_bytes(b"# Another\n")
    assert (tmp_path / "out" / "README.md").read_bytes() == card
    with pytest.raises(ArtifactError, match="fetch it again"):
        read_artifact(copy)


@pytest.mark.parametrize("load", [TaskEmbedding.load, Genotype.load])
def test_a_pipe_or_a_device_is_not_waited_for(
    load: Callable[[Path], object], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(WsdartsError, match="no regular file"):
            load(path)


@pytest.mark.parametrize("path", ["registry.json", "artifacts/flowers/v1.yanked.json"])
def test_a_record_that_is_a_pipe(path: str, store: DirectoryStore, push: Push) -> None:
    push("flowers")
    file = Path(store.location) / path
    file.unlink(missing_ok=True)
    os.mkfifo(file)
    with pytest.raises(RegistryError):
        DirectoryStore(store.location).resolve("flowers")


def test_a_genotype_with_numbers_that_python_does_not_print() -> None:
    digits = "0x" + "f" * 5000
    pairs = f"[('none', {digits}), ('none', 0)]"
    for normal, concat in ((pairs, "[2]"), ("[('none', 0), ('none', 1)]", f"[{digits}]")):
        text = (
            f"Genotype(normal={normal}, normal_concat={concat}, "
            "reduce=[('none', 0), ('none', 1)], reduce_concat=[2])"
        )
        with pytest.raises(SpaceError, match="not a DARTS genotype"):
            Genotype.from_darts(text)


def test_the_matrix_of_embeddings_believes_no_claim(tmp_path: Path) -> None:
    path = tmp_path / "matrix.npy"
    known = digest_of("a")
    embedding = make_embedding("a")
    width = len(embedding.values)

    def read(digest: str) -> tuple[str, TaskEmbedding]:
        return "transfer", embedding

    read_matrix(path, [known], width, read)
    good = path.read_bytes()
    for claim in (b"(1, 7)", b"(9, 7)", b"(1, 9999999999)", b"(99999999999999999999, 7)"):
        shape = b"(1, 7), }" + b" " * (len(claim) - 6)
        path.write_bytes(good.replace(shape, claim + b", }", 1))
        found = read_matrix(path, [known], width, read)
        np.testing.assert_array_equal(found.rows, embedding.values[None].astype(np.float32))
        assert path.read_bytes() == good
    path.unlink()
    os.mkfifo(path)
    assert read_matrix(path, [known], width, read).digests == (known,)


def test_the_header_of_the_matrix_is_not_evaluated(tmp_path: Path) -> None:
    path = tmp_path / "matrix.npy"

    def read(digest: str) -> tuple[str, None]:
        return "transfer", None

    for text in (b"(" * 9000, b"-" * 9000 + b"1", b"{'shape': (1, 7)", b"\xff" * 50, b"'''"):
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
        assert read_matrix(path, ["sha256:x"], 7, read).digests == ("sha256:x",)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited by a call of Linux")
class TestMemory:
    """A small file that claims gigabytes costs none; the process could not claim them."""

    def test_the_limit_holds(self) -> None:
        code = "try:\n    bytes(2**30)\nexcept MemoryError:\n    print('refused')"
        assert run_in_little_memory(code) == "refused\n"

    @pytest.mark.parametrize(
        "content",
        [
            safetensors({"fisher": tensor("F32", (2**30,), (0, 2**32))}),
            safetensors({}, length=2**32),
            safetensors({}, length=2**63),
            safetensors({}, length=2**64 - 1),
            safetensors({"fisher": tensor("F32", (2**30, 0), (0, 0))}),
            safetensors(b"[" * 4_000_000),
            safetensors(b'"' + b"\\u0000" * 600_000 + b'"'),
            safetensors({"__metadata__": {"wsdarts": "[" * 4_000_000}}),
        ],
    )
    def test_files(self, content: bytes, copy: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(content)
        for path in ("op_masks", "weights", "check"):
            (copy / f"{path}.safetensors").write_bytes(content)
        reseal(copy)
        code = """
for read, path in ((TaskEmbedding.load, sys.argv[1]), (read_artifact, sys.argv[2])):
    try:
        read(path)
    except WsdartsError as error:
        print("refused")
"""
        assert run_in_little_memory(code, str(tmp_path / "file"), str(copy)) == "refused\n" * 2

    def test_a_manifest_that_claims_gigabytes(self, copy: Path) -> None:
        code = """
try:
    read_artifact(sys.argv[1])
except WsdartsError as error:
    print(error)
"""
        for path, message in (
            ("op_masks.safetensors", "expected at most 4194304"),
            ("genotype.json", "expected at most 4194304"),
            ("README.md", "expected at most 4194304"),
            ("weights.safetensors", "expected 3221225472"),
        ):
            reseal(copy, lambda data, p=path: data["files"][p].update(size=3 * 2**30))
            assert message in run_in_little_memory(code, str(copy))

    def test_a_sparse_file_of_gigabytes(self, copy: Path) -> None:
        with (copy / "op_masks.safetensors").open("r+b") as file:
            file.truncate(3 * 2**30)
        data = json.loads((copy / "artifact.json").read_bytes())
        data["files"]["op_masks.safetensors"]["size"] = 3 * 2**30
        (copy / "artifact.json").write_text(json.dumps(data))
        _sum(copy)
        code = """
try:
    read_artifact(sys.argv[1])
except WsdartsError as error:
    print(error)
"""
        assert "has 3221225472 bytes" in run_in_little_memory(code, str(copy))

    def test_a_matrix_that_claims_gigabytes(self, tmp_path: Path) -> None:
        path = tmp_path / "matrix.npy"
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 7), }"
        labels = (
            b"{'descr': [('digest', '|S71'), ('kind', '|u1')], 'fortran_order': False, "
            b"'shape': (99999999999,), }"
        )
        parts = [b"\x93NUMPY\x01\x00" + len(t).to_bytes(2, "little") + t for t in (header, labels)]
        path.write_bytes(b"".join(parts))
        code = """
found = read_matrix(Path(sys.argv[1]), ["sha256:x"], 7, lambda digest: ("transfer", None))
print(found.digests)
"""
        assert run_in_little_memory(code, str(path)) == "('sha256:x',)\n"


def test_errors_quote_hostile_text_and_stay_one_harmless_line() -> None:
    hostile = "\x1b[2J\x9b31m\x1b]8;;http://evil.example\x07x\u202e\n\ud800" + "y" * 100_000
    for error in (
        lambda: SearchSpace(candidates=(hostile, hostile)),
        lambda: make_embedding("a", space=make_space(x=hostile)),
        lambda: SearchSpace.from_json({hostile: 1}),
        lambda: Genotype.from_json({hostile: 1}),
        lambda: _json.load(b"{", what=hostile),
    ):
        with pytest.raises(WsdartsError) as caught:
            error()
        text = str(caught.value)
        assert text.isprintable()
        assert len(text) <= 4000


def test_a_signalling_nan_is_refused_like_any_other() -> None:
    content = make_embedding("a").to_bytes()
    spoilt = content[:-4] + b"\1\0\x80\x7f"
    with pytest.raises(EmbeddingError, match="is nan at filter 6"):
        TaskEmbedding.from_bytes(spoilt)


def test_booleans_are_no_versions() -> None:
    content = make_embedding("a").to_bytes()
    changed = content.replace(b'\\"format\\":1,', b'\\"format\\":true,')
    longer = len(changed) - len(content)
    length = int.from_bytes(changed[:8], "little") + longer
    with pytest.raises(EmbeddingError, match="embedding format True"):
        TaskEmbedding.from_bytes(length.to_bytes(8, "little") + changed[8:])


def _record(content: bytes) -> dict[str, Any]:
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _sum(directory: Path) -> None:
    """Make the checksum fit the manifest."""
    hexadecimal = hashlib.sha256((directory / "artifact.json").read_bytes()).hexdigest()
    (directory / "artifact.sha256").write_text(f"{hexadecimal}  artifact.json\n")
