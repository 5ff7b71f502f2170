"""The files of an index: packs are read back as written, and what is none is refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.registry.factories import make_artifact
from tests.registry.stores.huggingface.index_files import old_index
from tests.registry.stores.huggingface.memory_client import entry
from wsdarts_registry._tensors import read_header
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.errors import RegistryError
from wsdarts_registry.stores.huggingface._index_format import (
    Content,
    PartList,
    Table,
    pack_bytes,
    ranking_records,
    read_old_index,
    read_pack,
)

_SHA = "0" * 64


def test_a_pack_holds_the_bytes_of_the_artifacts(tmp_path: Path) -> None:
    names, contents = {}, {}
    for name, tasks in (("one", ("flowers",)), ("meta", ("flowers", "birds"))):
        make_artifact(tmp_path / name, *tasks)
        artifact = read_artifact(tmp_path / name)
        names[name] = entry(name, [artifact.digest], 1)
        records = ranking_records(artifact.manifest)
        contents[artifact.digest] = Content(
            manifest=(tmp_path / name / "artifact.json").read_bytes(),
            parsed=artifact.manifest,
            embeddings={record.file: artifact.read(record.file) for record in records},
        )
    content = pack_bytes(contents)
    assert read_pack(content) == contents
    assert pack_bytes(dict(reversed(contents.items()))) == content
    # Of three embeddings of the meta-transfer artifact the mean alone ranks it.
    header = read_header(content, len(content), what="x")
    assert len(header.tensors) == 4
    assert {record.dtype for record in header.tensors.values()} == {"U8"}
    old = read_old_index(old_index(names, contents))
    assert (old.names, old.contents) == (names, contents)
    with pytest.raises(RegistryError, match="does not name"):
        read_old_index(old_index({"one": names["one"]}, contents))


@given(st.binary(max_size=300))
def test_bytes_that_are_no_index(content: bytes) -> None:
    with pytest.raises(RegistryError):
        read_old_index(content)


@given(st.binary(max_size=300))
def test_bytes_that_are_no_part(content: bytes) -> None:
    with pytest.raises(RegistryError):
        read_pack(content)
    for kind in (PartList, Table):
        with pytest.raises(RegistryError):
            kind.from_bytes(content, what="part", error=RegistryError)


@pytest.mark.parametrize(
    "content",
    [
        b'{"format":2}',
        b'{"format":1,"packs":[{"sha256":"../x","size":1}]}',
        b'{"format":1,"packs":[{"sha256":"%s","size":99999999999}]}' % _SHA.encode(),
        b'{"format":1,"tables":[{"sha256":"%s","size":9999999}]}' % _SHA.encode(),
        b'{"format":1,"packs":[{"sha256":"%(s)s","size":1},{"sha256":"%(s)s","size":1}]}'
        % {b"s": _SHA.encode()},
        b'{"format":1,"more":[]}',
    ],
)
def test_lists_that_are_none(content: bytes) -> None:
    with pytest.raises(RegistryError):
        PartList.from_bytes(content, what="list", error=RegistryError)


@pytest.mark.parametrize(
    "content",
    [
        b'{"format":1,"names":[%(b)s,%(a)s]}'
        % {
            name: b'{"name":"%s","commit":"%s","versions":[]}' % (name, b"0" * 40)
            for name in (b"a", b"b")
        },
        b'{"format":1,"removed":["a"]}',
        b'{"format":1,"names":[{"name":"A B","commit":"%s","versions":[]}]}' % (b"0" * 40),
        b'{"format":1,"names":[{"name":"a","commit":"main","versions":[]}]}',
        b'{"format":1,"packs":{"%(s)s":["%(s)s","%(s)s"]}}' % {b"s": _SHA.encode()},
        b'{"format":1,"packs":{"x":[]}}',
    ],
)
def test_tables_that_are_none(content: bytes) -> None:
    with pytest.raises(RegistryError):
        Table.from_bytes(content, what="table", error=RegistryError)
