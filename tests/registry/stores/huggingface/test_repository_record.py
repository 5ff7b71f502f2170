"""The record of an artifact's repository: read back as written, and limited; its references."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.registry.factories import digest_of
from wsdarts_registry.errors import RegistryError
from wsdarts_registry.stores.huggingface._artifact_repository import RepositoryRecord, VersionRecord
from wsdarts_registry.stores.huggingface.location import namespace_of, split_reference
from wsdarts_registry.stores.records import Alias, Lift, Yank

MOMENT = "2026-01-02T03:04:05Z"
NUMBERS = st.integers(1, 999_999_999)
YANKS = st.builds(
    Yank,
    reason=st.just("wrong"),
    when=st.just(MOMENT),
    lifted=st.none() | st.just(Lift(reason="right", when=MOMENT)),
)
RECORDS = st.builds(
    RepositoryRecord,
    versions=st.dictionaries(
        NUMBERS.map(str), st.integers().map(lambda n: VersionRecord(digest=digest_of(str(n))))
    ),
    yanked=st.dictionaries(NUMBERS.map(str), YANKS),
    aliases=st.dictionaries(
        st.from_regex(r"[a-u][a-z0-9-]{0,31}", fullmatch=True).filter(lambda a: a != "latest"),
        NUMBERS.map(lambda n: Alias(version=n, when=MOMENT)),
    ),
)


@given(RECORDS, NUMBERS)
def test_a_record_is_read_as_it_was_written(record: RepositoryRecord, version: int) -> None:
    assert RepositoryRecord.from_bytes(record.to_commit(), what="x") == record
    assert list(record.digests) == sorted(map(int, record.versions))
    more = record.with_version(version, digest_of("new"))
    assert more.digests == {**record.digests, version: digest_of("new")}
    alias = Alias(version=version, when=MOMENT)
    assert more.with_alias("v", alias).with_alias("v", None).aliases.keys() <= record.aliases.keys()
    assert "stable" in more.with_alias("stable", alias).status(version, signed=False).aliases


def test_a_record_by_hand() -> None:
    record = RepositoryRecord().with_version(3, digest_of("x"))
    data = {
        "format": 1,
        "versions": {"3": {"digest": digest_of("x")}},
        "yanked": {},
        "aliases": {},
    }
    assert record.to_bytes() == json.dumps(data, sort_keys=True, separators=(",", ":")).encode() + (
        b"\n"
    )


@pytest.mark.parametrize(
    "content",
    [
        b'{"format":2}',
        b'{"format":1,"versions":{"0":{"digest":"x"}}}',
        b'{"format":1,"versions":{"03":{"digest":"sha256:' + b"0" * 64 + b'"}}}',
        b'{"format":1,"aliases":{"latest":{"format":1,"version":1,"when":"2026-01-02T03:04:05Z"}}}',
        b'{"format":1,"aliases":{"v2":{"format":1,"version":1,"when":"2026-01-02T03:04:05Z"}}}',
        b'{"format":1,"more":1}',
        b"[]",
    ],
)
def test_records_that_are_none(content: bytes) -> None:
    with pytest.raises(RegistryError):
        RepositoryRecord.from_bytes(content, what="registry.json", error=RegistryError)


def test_a_record_that_nobody_would_read_is_not_committed() -> None:
    yank = Yank(reason="x" * 200, when=MOMENT)
    record = RepositoryRecord(yanked={str(number): yank for number in range(1, 4600)})
    with pytest.raises(RegistryError, match=r"new registry\.json has \d+"):
        record.to_commit()


def test_references_with_a_registry() -> None:
    assert split_reference("flowers@3") == (None, "flowers@3")
    assert split_reference("hf://lab/flowers@3") == ("hf://lab", "flowers@3")
    assert split_reference("hf://lab/a/b") == ("hf://lab", "a/b")  # which no reference is
    assert namespace_of("hf://My-Lab/") == "My-Lab"
    for text in ("hf://", "hf://lab/x", "hf://../x", "hf://a b", "hf://-lab", "hf://lab?x"):
        with pytest.raises(RegistryError, match="is malformed") as caught:
            namespace_of(text)
        assert "hf://lab" in caught.value.expected
