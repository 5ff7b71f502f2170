"""Everything that reads what strangers wrote, and valid inputs of each to start from.

To fuzz another reader, add a line to ``make_readers``.
"""

import base64
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from tests.fuzz.mutation import Mutate, mutate_bytes, mutate_json, mutate_tensors
from tests.registry.factories import (
    FILTERS,
    SPACE,
    digest_of,
    make_artifact,
    make_check,
    make_embedding,
    make_genotype,
    make_masks,
    make_ranked,
    make_space,
    make_weights,
)
from tests.registry.stores.huggingface.index_files import old_index
from tests.sdk.reports.samples import make_report
from tests.sdk.reports.test_reading import begun_search, row
from wsdarts_registry import _json, _tensors
from wsdarts_registry._json import Document
from wsdarts_registry._tensors import write_tensors
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.artifact import contents, signing
from wsdarts_registry.artifact.checked_files import checksum_line, file_record
from wsdarts_registry.artifact.contents import check_svg
from wsdarts_registry.artifact.manifest import EmbeddingSpaceRecord, Manifest, NetworkRecord
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.artifact.reference import Reference
from wsdarts_registry.drawing.cells import genotype_svg
from wsdarts_registry.embedding import ranking
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.errors import RunError
from wsdarts_registry.stores.huggingface._artifact_repository import RepositoryRecord
from wsdarts_registry.stores.huggingface._index_format import (
    Content,
    IndexedName,
    IndexedVersion,
    PartList,
    pack_bytes,
    read_old_index,
    read_pack,
)
from wsdarts_registry.stores.huggingface._index_format import Table as IndexTable
from wsdarts_registry.stores.records import Alias, Lift, NearRecord, RegistryConfig, Yank
from wsdarts_registry.stores.signature_policy import SignaturePolicy
from wsdarts_sdk.data.options import DataOptions
from wsdarts_sdk.data.sources._library_datasets import ArrowTable
from wsdarts_sdk.data.sources._metadata import read_metadata
from wsdarts_sdk.data.sources._table import Table, TableSource
from wsdarts_sdk.data.sources._webdataset import TarTable
from wsdarts_sdk.reports.page import render_report
from wsdarts_sdk.reports.report_files import ReportFile, complete_from_journals, keep_report
from wsdarts_sdk.runs.directory import REPORT_FILE, RunDirectory

_WHEN = "2026-01-02T03:04:05Z"


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One reader.

    Attributes:
        read: Reads bytes; raises nothing but a WsdartsError.
        seeds: Valid inputs.
        mutate: Changes an input along its structure.
    """

    read: Callable[[bytes], object]
    seeds: Sequence[bytes]
    mutate: Mutate


def make_readers(folder: Path) -> dict[str, Reader]:
    """All readers by name; those that read files do so in ``folder``."""
    return {
        **_json_readers(folder),
        **_tensor_readers(),
        "darts": Reader(
            read=_read_darts, seeds=[str(make_genotype()).encode()], mutate=mutate_bytes
        ),
        "reference": Reader(
            read=_read_reference,
            seeds=[
                b"flowers",
                b"a.b-c_d@3",
                b"x@stable",
                digest_of("x").encode().join([b"x@", b""]),
            ],
            mutate=mutate_bytes,
        ),
        "matrix": _matrix_reader(folder),
        **_run_readers(folder),
        **_dataset_readers(folder),
        "hub-pack": Reader(
            read=read_pack, seeds=[pack_bytes(_contents(folder / "indexed"))], mutate=mutate_tensors
        ),
        "hub-old-index": Reader(
            read=read_old_index, seeds=[_old_index(folder / "old")], mutate=mutate_tensors
        ),
        "hub-table": _document(IndexTable, _table().to_bytes()),
        "hub-index": _document(PartList, PartList(packs=(file_record(b"pack"),)).to_bytes()),
        "hub-record": _document(RepositoryRecord, _record().to_bytes()),
        "svg": Reader(
            read=lambda content: check_svg(content, what="x.svg"),
            seeds=[genotype_svg(make_genotype()).encode()],
            mutate=mutate_bytes,
        ),
        "signature": Reader(
            read=lambda content: signing._claims(content, "flowers@1"),
            seeds=[_signature()],
            mutate=mutate_json,
        ),
        "policy": Reader(
            read=lambda content: SignaturePolicy.load(_written(folder / "policy", content)),
            seeds=[_policy()],
            mutate=mutate_json,
        ),
    }


def _json_readers(folder: Path) -> dict[str, Reader]:
    space = EmbeddingSpaceRecord.model_validate(make_space(head_l2=10).to_json())
    near = NearRecord(space=space, distance=0.1, measured="three tasks")
    config = RegistryConfig(name="zoo", near=(near,))
    lifted = Yank(reason="wrong", when=_WHEN, lifted=Lift(reason="right", when=_WHEN))
    artifacts = []
    for name, tasks in (("one", ("flowers",)), ("two", ("flowers", "birds"))):
        make_artifact(folder / name, *tasks)
        artifacts.append((folder / name / "artifact.json").read_bytes())
    genotype = contents.write_genotype(make_genotype(), make_ranked(make_masks()))
    masks = make_masks()
    return {
        "manifest": _document(Manifest, *artifacts),
        "registry": _document(RegistryConfig, config.to_bytes()),
        "yank": _document(Yank, lifted.to_bytes(), Yank(reason="wrong", when=_WHEN).to_bytes()),
        "alias": _document(Alias, Alias(version=3, when=_WHEN).to_bytes()),
        "genotype": Reader(
            read=lambda content: contents.read_genotype(content, masks),
            seeds=[genotype],
            mutate=mutate_json,
        ),
        "masks-json": Reader(
            read=_read_masks_json, seeds=[json.dumps(masks.to_json()).encode()], mutate=mutate_json
        ),
        "artifact": Reader(
            read=lambda content: _read_sealed(folder / "one", content),
            seeds=artifacts[:1],
            mutate=mutate_json,
        ),
    }


def _tensor_readers() -> dict[str, Reader]:
    masks = contents.write_masks([OperationMasks.full(SPACE), make_masks()])
    readers: dict[str, tuple[Callable[[bytes], object], bytes]] = {
        "masks": (lambda content: contents.read_masks(content, SPACE), masks),
        "weights": (_read_weights, write_tensors(make_weights())),
        "check": (_read_check, write_tensors(make_check())),
        "embedding": (_read_embedding, make_embedding(space=make_space(head_l2=10)).to_bytes()),
    }
    return {
        name: Reader(read=read, seeds=[seed], mutate=mutate_tensors)
        for name, (read, seed) in readers.items()
    }


def _contents(directory: Path) -> dict[str, Content]:
    make_artifact(directory, "birds")
    artifact = read_artifact(directory)
    (record,) = artifact.manifest.embeddings
    content = Content(
        manifest=(directory / "artifact.json").read_bytes(),
        parsed=artifact.manifest,
        embeddings={record.file: (directory / record.file).read_bytes()},
    )
    return {artifact.digest: content}


def _old_index(directory: Path) -> bytes:
    contents = _contents(directory)
    return old_index({"birds": _indexed_name(next(iter(contents)))}, contents)


def _table() -> IndexTable:
    hexadecimal = file_record(b"pack").sha256
    names = (_indexed_name(f"sha256:{hexadecimal}"),)
    return IndexTable(names=names, packs={hexadecimal: (hexadecimal,)})


def _indexed_name(digest: str) -> IndexedName:
    version = IndexedVersion(version=1, digest=digest, commit="1" * 40)
    return IndexedName(name="birds", commit="2" * 40, versions=(version,))


def _record() -> RepositoryRecord:
    yank, alias = Yank(reason="wrong", when=_WHEN), Alias(version=2, when=_WHEN)
    record = RepositoryRecord().with_version(1, digest_of("a")).with_version(2, digest_of("b"))
    return record.with_yank(1, yank).with_alias("stable", alias)


def _policy() -> bytes:
    rules = [{"registry": "shipped", "accept": "unsigned"}, {"registry": "*", "keys": ["a.pub"]}]
    return json.dumps({"format": 1, "rules": rules}).encode()


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _signature() -> bytes:
    """What is read of a signature before it is verified."""
    resource = {"name": "artifact.json", "algorithm": "sha256", "digest": "0" * 64}
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "flowers@1", "digest": {"sha256": "0" * 64}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {"resources": [resource]},
    }
    envelope = {
        "payloadType": "application/vnd.in-toto+json",
        "payload": base64.b64encode(json.dumps(statement).encode()).decode(),
        "signatures": [{"sig": "AA=="}],
    }
    bundle = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": "1" * 64}},
        "dsseEnvelope": envelope,
    }
    return json.dumps(bundle).encode()


def _matrix_reader(folder: Path) -> Reader:
    path = folder / "matrix.npy"
    rows = [make_embedding(name) for name in "abc"]
    read = dict(zip(map(digest_of, "abc"), rows, strict=True))
    ranking.read_matrix(path, list(read), FILTERS, lambda d: ("transfer", read[d]))
    seed = path.read_bytes()

    def open_(content: bytes) -> None:
        path.write_bytes(content)
        found = ranking._open_matrix(path)
        if found is not None:
            assert len(found.digests) >= len(found.rows)
            found.rows.tobytes()

    return Reader(read=open_, seeds=[seed], mutate=mutate_bytes)


def _run_readers(folder: Path) -> dict[str, Reader]:
    """What a run leaves behind, up to the page that is made of it."""
    run = RunDirectory(folder)
    keep_report(run, make_report())
    report = (folder / REPORT_FILE).read_bytes()
    begun = begun_search()
    journal = folder / "search.metrics.jsonl"

    def read_report_file(content: bytes) -> None:
        file = ReportFile.from_bytes(content, what="file", error=RunError)
        found = file.report(what="file")
        render_report(found)
        again = ReportFile.of(found, what="again")
        assert again.to_bytes() == ReportFile.of(again.report(what="x"), what="x").to_bytes()

    def read_journal(content: bytes) -> None:
        journal.write_bytes(content)
        complete_from_journals(begun, folder, resumable=True)

    rows = json.dumps(row(0, 0, 2.0)).encode() + b"\n"
    return {
        "report": Reader(read=read_report_file, seeds=[report], mutate=mutate_json),
        "journal": Reader(read=read_journal, seeds=[rows], mutate=mutate_json),
    }


def _dataset_readers(folder: Path) -> dict[str, Reader]:
    """Images with labels, in files that were saved elsewhere."""
    images, labels = [b"image" * 20] * 4, [0, 1, 0, 1]
    arrow, tar = io.BytesIO(), io.BytesIO()
    table = pa.table({"image": images, "label": labels})
    with pa.ipc.new_stream(arrow, table.schema) as writer:
        writer.write_table(table)
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            for name, content in ((f"{number}.png", image), (f"{number}.cls", b"%d" % label)):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))

    def read_table(name: str, kind: Callable[[Path], Table], content: bytes) -> None:
        file = folder / name
        file.write_bytes(content)
        source = TableSource([kind(file)], name=name, options=DataOptions())
        for _, read in source.images(np.arange(len(source.labels))):
            read()

    def read_rows(content: bytes) -> None:
        (folder / "metadata.csv").write_bytes(content)
        read_metadata(folder)

    rows = b"file_name,label\na.png,1\nb.png,2\n"
    return {
        "arrow": Reader(
            read=partial(read_table, "rows.arrow", ArrowTable),
            seeds=[arrow.getvalue()],
            mutate=mutate_bytes,
        ),
        "tar": Reader(
            read=partial(read_table, "rows.tar", TarTable),
            seeds=[tar.getvalue()],
            mutate=mutate_bytes,
        ),
        "metadata": Reader(read=read_rows, seeds=[rows], mutate=mutate_bytes),
    }


def _document(kind: type[Document], *seeds: bytes) -> Reader:
    def read(content: bytes) -> None:
        document = kind.from_bytes(content, what="file")
        again = document.to_bytes()
        assert kind.from_bytes(again, what="again") == document
        assert kind.from_bytes(again, what="again").to_bytes() == again

    return Reader(read=read, seeds=seeds, mutate=mutate_json)


def _read_sealed(directory: Path, content: bytes) -> None:
    """Read an artifact whose manifest was forged, checksum and all."""
    (directory / "artifact.json").write_bytes(content)
    hexadecimal = file_record(content).sha256
    (directory / "artifact.sha256").write_bytes(checksum_line(hexadecimal))
    read_artifact(directory, f"sha256:{hexadecimal}")


def _read_weights(content: bytes) -> None:
    header = _tensors.read_header(content, len(content), what="file")
    contents.check_weights_header(header, SPACE)
    contents.read_finite(content, what="weights")


def _read_check(content: bytes) -> None:
    header = _tensors.read_header(content, len(content), what="file")
    contents.check_check_header(header, NetworkRecord(cells=3, channels=4, image_size=32))
    contents.read_finite(content, what="check")


def _read_embedding(content: bytes) -> None:
    embedding = TaskEmbedding.from_bytes(content)
    again = TaskEmbedding.from_bytes(embedding.to_bytes())
    assert again.space == embedding.space
    np.testing.assert_array_equal(again.values, embedding.values)


def _read_masks_json(content: bytes) -> None:
    masks = OperationMasks.from_json(_json.load(content, what="file"))
    assert OperationMasks.from_json(masks.to_json()) == masks


def _read_darts(content: bytes) -> None:
    genotype = Genotype.from_darts(content.decode("utf-8", "replace"))
    assert Genotype.from_darts(str(genotype)) == genotype


def _read_reference(content: bytes) -> None:
    reference = Reference.parse(content.decode("utf-8", "surrogateescape"))
    assert Reference.parse(str(reference)) == reference
