from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from tests.registry.factories import Push, digest_of, make_embedding, make_space
from wsdarts_registry._files import CACHE_VARIABLE
from wsdarts_registry.embedding.distance import symmetric_distance
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.embedding.ranking import (
    Candidate,
    EmbeddingMatrix,
    Read,
    matrix_path,
    rank,
    read_matrix,
    shortlist,
)
from wsdarts_registry.errors import EmbeddingError, RegistryError
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.store import Entry

ROWS = {name: [1.0, 1.0 + number, 2.0] for number, name in enumerate("abcdef")}


@pytest.fixture
def full(store: DirectoryStore, push: Push) -> DirectoryStore:
    """A registry with six artifacts, the first one nearest to `query`."""
    for name, values in ROWS.items():
        push(name, embedding=make_embedding(name, values=np.array(values)))
    return store


@pytest.fixture
def read_names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the artifacts whose embeddings were read from now on."""
    names: list[str] = []
    original = DirectoryStore.embedding

    def embedding(store: DirectoryStore, entry: Entry, space: object) -> TaskEmbedding | None:
        names.append(entry.name)
        return original(store, entry, space)  # type: ignore[arg-type]

    monkeypatch.setattr(DirectoryStore, "embedding", embedding)
    return names


def query() -> TaskEmbedding:
    return make_embedding("query", values=np.array([1.0, 1.1, 2.0]))


def _bytes(*values: float) -> bytes:
    return np.array(values, dtype=np.float32).tobytes()


def file_of(store: DirectoryStore) -> Path:
    return matrix_path(store.location, query().space)


def everything(store: DirectoryStore) -> list[tuple[str, float]]:
    """Reference and distance of every latest version, from the artifacts alone."""
    entries = {entry.name: entry for entry in store.entries()}.values()
    candidates = []
    for entry in entries:
        found = store.embedding(entry, query().space)
        if found is not None:
            reference, kind = str(entry.reference), entry.manifest.kind
            candidates.append(Candidate(reference=reference, kind=kind, embedding=found))
    return [(n.reference, n.distance) for n in rank(query(), candidates)]


def found(store: DirectoryStore, k: int = 3) -> list[tuple[str, float]]:
    return [(n.reference, n.distance) for n in store.nearest(query(), k).neighbours]


def test_a_second_ranking_reads_what_it_lists_and_no_more(
    full: DirectoryStore, read_names: list[str]
) -> None:
    first = found(full)
    assert set(read_names) == set(ROWS)
    read_names.clear()
    assert found(full) == first == everything(full)[:3]
    assert read_names[:3] == ["a", "b", "c"]
    assert len(read_names) == 3 + len(ROWS)  # `everything` reads all


def test_new_versions_and_yanks_count_at_once(
    full: DirectoryStore, push: Push, read_names: list[str]
) -> None:
    found(full)
    full.yank("a@1", "wrong")
    push("c", "new", embedding=make_embedding("c", values=np.array([1.0, 1.1, 2.0])))
    read_names.clear()
    ranked = found(full)
    assert [reference for reference, _ in ranked] == ["c@2", "b@1", "d@1"]
    assert read_names.count("e") == 0  # kept from the old file
    assert ranked == everything(full)[:3]


def test_a_registry_whose_cache_cannot_be_written_ranks_all_the_same(
    full: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    assert found(full) == everything(full)[:3]
    assert found(DirectoryStore(full.location, read_only=True)) == everything(full)[:3]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:100],
        lambda content: content + b"x",
        lambda _: b"",
        lambda content: content.replace(b"<f4", b"<i4"),
    ],
)
def test_a_damaged_file_is_made_again(
    full: DirectoryStore, read_names: list[str], damage: Callable[[bytes], bytes]
) -> None:
    found(full)
    file = file_of(full)
    file.write_bytes(damage(file.read_bytes()))
    read_names.clear()
    assert found(full) == everything(full)[:3]
    assert set(read_names[: len(ROWS)]) == set(ROWS)


def test_numbers_of_other_embeddings_are_noticed(full: DirectoryStore) -> None:
    found(full)
    file = file_of(full)
    content = file.read_bytes()
    # The row of a becomes (1, 1.5, 2).
    changed = content.replace(_bytes(1, 1, 2), _bytes(1, 1.5, 2))
    assert changed != content
    file.write_bytes(changed)
    with pytest.raises(RegistryError, match=r"zoo; .*`rm .*\.npy`"):
        found(full)
    file.unlink()
    assert found(full) == everything(full)[:3]


def test_the_same_content_under_two_names(full: DirectoryStore) -> None:
    full.publish(full.pull("a").directory, "twin")
    assert [reference for reference, _ in found(full)] == ["a@1", "twin@1", "b@1"]
    assert found(full) == everything(full)[:3]


def test_artifacts_without_an_embedding_in_the_space_are_passed_over(
    full: DirectoryStore, push: Push, read_names: list[str]
) -> None:
    push("other", embedding=make_embedding("other", space=make_space("big")))
    assert found(full, 10) == everything(full)
    read_names.clear()
    found(full, 10)
    assert "other" not in read_names
    other = make_embedding("x", space=make_space("big"))
    assert [n.reference for n in full.nearest(other).neighbours] == ["other@1"]
    for _ in range(2):
        with pytest.raises(EmbeddingError, match="probe nosuch"):
            full.nearest(make_embedding("query", space=make_space("nosuch")))


def test_another_width_is_refused_with_both_named(full: DirectoryStore) -> None:
    found(full)
    with pytest.raises(EmbeddingError, match=r"2 filters, .*a has 3"):
        full.nearest(make_embedding("x", values=np.array([1.0, 2.0])))
    assert found(full) == everything(full)[:3]


def test_registries_and_spaces_have_files_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = make_space()
    monkeypatch.chdir(tmp_path)
    assert matrix_path("zoo", space) == matrix_path(str(tmp_path / "zoo"), space)
    hub = matrix_path("hf://zoo", space)
    monkeypatch.chdir("/")
    assert matrix_path("hf://zoo", space) == hub
    paths = {matrix_path("zoo", space), matrix_path("zoo", make_space("big")), hub}
    assert len(paths | {matrix_path(str(tmp_path / "zoo"), space)}) == 4


def test_the_file_keeps_what_it_was_given(tmp_path: Path) -> None:
    rows = {digest_of(name): (name, np.array(values)) for name, values in ROWS.items()}

    def read(digest: str) -> tuple[str, TaskEmbedding | None]:
        name, values = rows[digest]
        if name == "f":
            return "transfer", None
        kind = "meta-transfer" if name == "b" else "transfer"
        return kind, make_embedding(name, values=values)

    def never(digest: str) -> tuple[str, TaskEmbedding | None]:
        raise AssertionError(digest)

    readers: tuple[Read, ...] = (read, never)
    for reader in readers:
        matrix = read_matrix(tmp_path / "x.npy", rows, 3, reader)
        assert isinstance(matrix.rows.base, np.memmap) or isinstance(matrix.rows, np.memmap)
        assert matrix.digests[-1] == digest_of("f")
        assert len(matrix.rows) == len(matrix.digests) - 1 == 5
        kinds = matrix.of_kind("transfer")
        for row, digest, single in zip(matrix.rows, matrix.digests, kinds, strict=False):
            name, values = rows[digest]
            np.testing.assert_array_equal(row, values.astype(np.float32))
            assert single == (name != "b")


_POSITIVE = st.sampled_from([0.25, 0.5, 1.0, 1.0 + 2**-12, 1.5, 8.0])


@given(
    arrays(np.float32, (9, 4), elements=_POSITIVE),
    st.lists(st.booleans(), min_size=9, max_size=9),
    st.sets(st.integers(0, 8), min_size=1),
    st.integers(1, 10),
)
def test_the_shortlist_holds_all_that_can_be_listed(
    values: NDArray[np.float32], single: list[bool], allowed: set[int], k: int
) -> None:
    digests = tuple(str(i) for i in range(len(values)))
    kinds = np.array([0 if one else 1 for one in single], dtype=np.uint8)
    matrix = EmbeddingMatrix(path=Path("x"), rows=values, digests=digests, kinds=kinds)
    task = make_embedding("query", values=np.array([1.0, 2, 3, 4]))
    listed = shortlist(task, matrix, {str(i) for i in allowed}, k)
    exact = symmetric_distance(task.values, values)
    ordered = sorted(allowed, key=lambda i: exact[i])
    kth = exact[ordered[:k][-1]]
    singles = [exact[i] for i in allowed if single[i]]
    for i in allowed:
        if exact[i] <= kth or (single[i] and exact[i] == min(singles)):
            assert listed[str(i)] == pytest.approx(exact[i], abs=1e-6)
    assert set(listed) <= {str(i) for i in allowed}
