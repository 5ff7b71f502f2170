"""The parts of an index: what an update writes, and that any updates lead to what was wanted."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.registry.stores.huggingface.memory_client import Contents, MemoryClient, entry
from wsdarts_registry.stores.huggingface import _index_update
from wsdarts_registry.stores.huggingface._client import HuggingFaceClient
from wsdarts_registry.stores.huggingface._index_format import (
    LIST_FILE,
    Content,
    IndexedName,
    PartList,
    Table,
    table_path,
)
from wsdarts_registry.stores.huggingface._index_repository import IndexRepository

_SMALL_TABLE, _SMALL_PACK = 2_000, 12_000


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> Contents:
    """Contents of about 1,500 bytes."""
    return Contents(tmp_path_factory.mktemp("contents") / "base")


@pytest.fixture
def small_parts() -> Iterator[None]:
    """Let parts be full after a few names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_index_update, "TABLE_BYTES", _SMALL_TABLE)
        patch.setattr(_index_update, "PACK_BYTES", _SMALL_PACK)
        yield


class _Registry:
    """Names with versions, and the index that follows them."""

    def __init__(self, contents: Contents, cache: Path) -> None:
        self.client = MemoryClient(cache)
        self.names: dict[str, IndexedName] = {}
        self._contents = contents
        self._numbers: dict[str, int] = {}
        self._repository = IndexRepository(cast("HuggingFaceClient", self.client), "acme")
        self._changes = 0

    def change(self, name: str, what: str) -> None:
        """Publish a version of a name, change what is said of it, or delete it."""
        self._changes += 1
        digests = [v.digest for v in self.names[name].versions] if name in self.names else []
        if what == "delete":
            self.names.pop(name, None)
            return
        if what == "publish":
            digest, _ = self._contents.content(self._changes)
            self._numbers[digest] = self._changes
            digests.append(digest)
        if digests:
            self.names[name] = entry(name, digests, self._changes)

    def update(self, *, rebuild: bool = False) -> None:
        """Write the index."""
        found = self._repository.find()
        assert not found.problem
        head = self._repository.ensure_head()
        self._repository.write(found, head, self.names, self._load, rebuild=rebuild)

    def _load(self, digests: object) -> Iterator[tuple[str, Content]]:
        return self._contents.load(cast("list[str]", digests), self._numbers)

    def check(self) -> None:
        """Compare the index, as a new client reads it, with what it should be."""
        found = IndexRepository(cast("HuggingFaceClient", self.client), "acme").find()
        assert found.index is not None
        assert found.index.names == self.names
        digests = sorted({v.digest for e in self.names.values() for v in e.versions})
        assert sorted(found.index.contents) == digests
        for digest in digests:
            assert found.index.contents[digest].manifest
        listed = PartList.from_bytes(self.client.files[LIST_FILE], what="list")
        assert {path for path in self.client.files if path.startswith("index/")} == {*listed.paths}
        tables = [
            Table.from_bytes(self.client.files[table_path(r)], what="t") for r in listed.tables
        ]
        assert {entry.name for table in tables for entry in table.names} == self.names.keys()


_CHANGES = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from([f"name{number}" for number in range(12)]),
            st.sampled_from(["publish", "publish", "publish", "say", "delete"]),
        ),
        min_size=1,
        max_size=6,
    ),
    min_size=1,
    max_size=25,
)


@pytest.mark.usefixtures("small_parts")
@given(changes=_CHANGES, rebuild=st.booleans())
@settings(max_examples=25, deadline=None)
def test_any_updates_lead_to_the_index_that_is_wanted(
    contents: Contents, changes: list[list[tuple[str, str]]], rebuild: bool
) -> None:
    with tempfile.TemporaryDirectory() as cache:
        registry = _Registry(contents, Path(cache))
        for together in changes:
            for name, what in together:
                registry.change(name, what)
            registry.update()
        registry.check()
        if rebuild:
            commits = len(registry.client.written)
            registry.update(rebuild=True)
            assert len(registry.client.written) == commits
            registry.check()


@pytest.mark.usefixtures("small_parts")
def test_parts_stay_few_and_what_is_written_is_bounded(contents: Contents, tmp_path: Path) -> None:
    registry = _Registry(contents, tmp_path)
    for number in range(150):
        registry.change(f"name{number}", "publish")
        registry.update()
    registry.check()
    listed = PartList.from_bytes(registry.client.files[LIST_FILE], what="list")
    size = sum(record.size for record in listed.packs)
    # All but the last few are at least half full.
    assert len(listed.packs) < 2 * size / _SMALL_PACK + 5
    largest_list = len(registry.client.files[LIST_FILE])
    assert max(registry.client.written[1:]) < _SMALL_PACK + 2 * _SMALL_TABLE + largest_list
    mean = sum(registry.client.written) / 150 - largest_list / 2
    assert mean < 5 * size / 150


@pytest.mark.usefixtures("small_parts")
def test_entries_that_were_replaced_do_not_pile_up(contents: Contents, tmp_path: Path) -> None:
    registry = _Registry(contents, tmp_path)
    for number in range(30):
        registry.change(f"name{number}", "publish")
    registry.update()
    first = sum(len(data) for path, data in registry.client.files.items() if "tables" in path)
    for number in range(300):
        registry.change(f"name{number % 30}", "say")
        registry.update()
    registry.check()
    last = sum(len(data) for path, data in registry.client.files.items() if "tables" in path)
    assert last < 3 * first


def test_a_name_that_comes_back_is_listed(contents: Contents, tmp_path: Path) -> None:
    registry = _Registry(contents, tmp_path)
    for what in ("publish", "delete", "publish"):
        for name in ("birds", "cars"):
            registry.change(name, what)
        registry.update()
        registry.check()


def test_a_bulk_of_contents_goes_into_packs_of_bounded_size(
    contents: Contents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "wsdarts_registry.stores.huggingface._index_repository"
    monkeypatch.setattr(_index_update, "PACK_BYTES", 20_000)
    monkeypatch.setattr(f"{module}._COMMIT_BYTES", 45_000)
    registry = _Registry(contents, tmp_path)
    for number in range(60):
        registry.change(f"name{number}", "publish")
    registry.update()
    registry.check()
    assert len(registry.client.written) > 2  # the list comes last
    sizes = [len(data) for path, data in registry.client.files.items() if "packs" in path]
    assert max(sizes) <= 20_000
