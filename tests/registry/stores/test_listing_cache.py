"""The cache of a directory registry's listing: what it saves, and that nothing is out of date."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.registry.factories import digest_of
from wsdarts_registry._files import cache_directory
from wsdarts_registry.artifact.checked_files import checksum_line
from wsdarts_registry.errors import RegistryWarning
from wsdarts_registry.stores import _listing_cache
from wsdarts_registry.stores._listing_cache import Listing, listed_versions
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.query import find
from wsdarts_registry.stores.records import Lift, Status, VersionInfo, Yank

NAMES = 260
WHEN = "2026-01-02T03:04:05Z"


class CountingStore(DirectoryStore):
    """A registry that counts the names and manifests that it reads."""

    def __init__(self, root: Path) -> None:
        self.read_names: list[str] = []
        super().__init__(root)

    def versions(self, name: str) -> tuple[VersionInfo, ...]:
        """Return the versions of a name."""
        self.read_names.append(name)
        return super().versions(name)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry with many names, whose directories count as settled at once."""
    monkeypatch.setenv("WSDARTS_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(_listing_cache, "_SETTLED", -(10**18))
    DirectoryStore(tmp_path / "registry", create=True)
    for number in range(NAMES):
        _publish(tmp_path / "registry", f"name{number:03d}", 1)
    return tmp_path / "registry"


def _publish(root: Path, name: str, version: int) -> None:
    place = root / "artifacts" / name / f"v{version}"
    place.mkdir(parents=True)
    line = checksum_line(digest_of(f"{name}@{version}").removeprefix("sha256:"))
    (place / "artifact.sha256").write_bytes(line)


def _uncached(root: Path) -> dict[str, tuple[VersionInfo, ...]]:
    store = DirectoryStore(root)
    return {name: store.versions(name) for name in store.names()}


def test_names_that_have_not_changed_are_not_read_again(root: Path) -> None:
    assert CountingStore(root).listing() == _uncached(root)
    store = CountingStore(root)
    assert store.listing() == _uncached(root)
    assert store.read_names == []
    assert len(store.catalogue().names()) == NAMES
    assert store.read_names == []


def test_every_change_is_seen(root: Path) -> None:
    store = CountingStore(root)
    store.listing()
    changes: tuple[Callable[[], object], ...] = (
        lambda: _publish(root, "name001", 2),
        lambda: store.yank("name002@1", "wrong"),
        lambda: store.unyank("name002@1", "right"),
        lambda: store.set_alias("name003", "stable", 1),
        lambda: store.set_alias("name003", "second", 1),
        lambda: store.remove_alias("name003", "stable"),
        lambda: store.write_signature("name004", 1, b"{}"),
        lambda: shutil.rmtree(root / "artifacts" / "name005"),
        lambda: shutil.rmtree(root / "artifacts" / "name006" / "v1"),
        lambda: _publish(root, "other", 1),
    )
    for number, change in enumerate(changes):
        time.sleep(0.02)  # longer than a tick of the file system's clock
        change()
        store.read_names.clear()
        found = store.listing()
        assert found == _uncached(root), number
        assert len(store.read_names) < 12
    _rewrite(root)
    fresh = CountingStore(root)
    assert fresh.listing() == _uncached(root)
    assert len(fresh.read_names) < 3


def _rewrite(root: Path) -> None:
    """Let the cache hold what there is now."""
    shutil.rmtree(cache_directory() / "listings")
    DirectoryStore(root).listing()


def test_what_has_just_changed_is_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_listing_cache, "_SETTLED", 3600 * 10**9)
    for _ in range(2):
        store = CountingStore(root)
        store.listing()
        assert len(store.read_names) == NAMES


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"{}\n",
        b'{"format": 2, "sha256": "0"}\n["name001",[1,2,3]]\n',
        b"\xff",
        b"[" * 10**6,
    ],
)
def test_a_damaged_cache_is_not_used(root: Path, content: bytes) -> None:
    DirectoryStore(root).listing()
    (path,) = (cache_directory() / "listings").iterdir()
    path.write_bytes(content)
    assert DirectoryStore(root).listing() == _uncached(root)
    path.write_bytes(path.read_bytes().replace(b'[1,"', b'[1,"0', 1))
    assert DirectoryStore(root).listing() == _uncached(root)


def test_a_cache_that_cannot_be_written_makes_no_difference(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root.parent / "cache").write_text("no directory")
    monkeypatch.setenv("WSDARTS_HUB_CACHE", str(root.parent / "cache"))
    assert DirectoryStore(root).listing() == _uncached(root)


def test_a_first_page_reads_no_more_than_it_shows(root: Path) -> None:
    store = CountingStore(root)
    damaged: list[object] = []
    assert find(registry=store, limit=3, damaged=damaged.append) == ()  # they have no manifests
    assert len(damaged) == NAMES
    store.read_names.clear()
    versions = store.iter_versions()
    assert [next(versions)[0] for _ in range(3)] == ["name000", "name001", "name002"]
    assert len(store.read_names) == 3


_STATUSES = st.builds(
    Status,
    yank=st.none()
    | st.builds(
        Yank,
        reason=st.just("wrong"),
        when=st.just(WHEN),
        lifted=st.none() | st.just(Lift(reason="right", when=WHEN)),
    ),
    aliases=st.lists(st.sampled_from(["a", "stable"]), unique=True).map(lambda a: tuple(sorted(a))),
    signed=st.booleans(),
)
_VERSIONS = st.lists(
    st.builds(
        VersionInfo,
        version=st.integers(1, 999_999_999),
        digest=st.none() | st.integers().map(lambda number: digest_of(str(number))),
        status=_STATUSES,
    ),
    max_size=4,
).map(tuple)


@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "c"]),
        st.tuples(st.lists(st.integers(0, 2**64), min_size=3, max_size=6).map(tuple), _VERSIONS),
    )
)
def test_what_is_kept_is_read_as_it_was(
    rows: dict[str, tuple[tuple[int, ...], tuple[VersionInfo, ...]]],
) -> None:
    lines = {name: _listing_cache._line(name, *row) for name, row in rows.items()}
    path = cache_directory() / "listings" / "round.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_listing_cache._dump(lines))
    key, kept = _listing_cache._read(path)
    assert key is not None
    assert kept == list(lines.values())
    found = Listing({name: line for name, line in lines.items() if rows[name][1]}, key)
    assert found == {name: versions for name, (_, versions) in rows.items() if versions}
    expected = {
        name: [info.digest for info in versions if info.yanked is None][-1:]
        for name, versions in found.items()
    }
    assert dict(found.latest()) == {name: last[0] for name, last in expected.items() if last}


def test_what_did_not_change_is_compared_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):  # read, compared with what was seen, known to be the same
        DirectoryStore(root).catalogue()
    store = DirectoryStore(root)
    states = store._seen_states()
    assert states is not None
    read: list[object] = []
    monkeypatch.setattr(states, "rows", lambda: read.append(1) or {})
    assert len(store.catalogue().names()) == NAMES
    assert not read
    shutil.rmtree(root / "artifacts" / "name005")
    with pytest.warns(RegistryWarning, match="name005@1"):
        DirectoryStore(root).catalogue()
    with pytest.warns(RegistryWarning, match="name005@1"):
        DirectoryStore(root).catalogue()
    DirectoryStore(root).accept_state()
    DirectoryStore(root).catalogue()
    _publish(root, "name005", 1)
    DirectoryStore(root).catalogue()  # remembers it
    shutil.rmtree(root / "artifacts" / "name005")
    with pytest.warns(RegistryWarning, match="name005@1"):
        DirectoryStore(root).catalogue()


def test_a_small_registry_is_not_kept(tmp_path: Path) -> None:
    read = {"a": (VersionInfo(version=1, digest=digest_of("a")),), "b": ()}
    assert listed_versions(tmp_path, read, read.__getitem__) == {"a": read["a"]}
    assert not (cache_directory() / "listings").exists()
