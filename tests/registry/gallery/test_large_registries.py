"""What a gallery of many artifacts writes: pages, parts and a map of bounded size."""

import base64
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from wsdarts_registry.embedding.distance import symmetric_distance
from wsdarts_registry.gallery import _scripts as scripts
from wsdarts_registry.gallery._distances import MOST_MAPPED, RankedSpace, spread_out
from wsdarts_registry.gallery._items import GalleryItem
from wsdarts_registry.gallery._pages import CARDS_A_PAGE, Collection, Pages, read_collection
from wsdarts_registry.gallery._scripts import (
    ROWS_A_SHARD,
    data_script,
    distances_data,
    embeddings_shards,
    list_shards,
    spaces_data,
)
from wsdarts_registry.gallery._task_map import task_map
from wsdarts_registry.stores.opening import ShippedZoo

MANY, TASKS = 10_000, 1_200


def copies(of: GalleryItem, count: int) -> Iterator[GalleryItem]:
    """Artifacts with the content of one, under names of usual length."""
    for number in range(count):
        entry = replace(of.entry, name=f"some-laboratory-task-{number:06d}")
        yield replace(of, entry=entry)


@pytest.fixture(scope="module")
def shipped() -> Collection:
    """The shipped zoo."""
    return read_collection(ShippedZoo(), lambda *_: None)


def test_pages_and_parts_of_the_list_are_bounded(shipped: Collection) -> None:
    largest = max(shipped.listed, key=lambda item: len(Pages(shipped).card(item)))
    items = tuple(copies(largest, MANY))
    collection = replace(shipped, items=items, spaces=())
    written = Pages(collection)
    assert written.divided
    assert len(written.start()) < 400_000
    assert len(written.compare()) < 20_000
    further = list(written.further())
    assert [path for path, _ in further] == [
        f"list/{number}.html" for number in range(2, MANY // CARDS_A_PAGE + 1)
    ]
    assert max(len(content) for _, content in further) < 400_000
    assert len(data_script("card", written.card(items[0]))) < 8_000
    parts = [data_script("list", rows) for rows in list_shards(items, written.operations)]
    assert len(parts) == MANY // ROWS_A_SHARD
    assert max(map(len, parts)) < 1_000_000


def test_a_list_of_one_page_has_no_parts(shipped: Collection) -> None:
    written = Pages(shipped)
    assert not written.divided
    assert list(written.further()) == []


@pytest.fixture(scope="module")
def space(shipped: Collection) -> RankedSpace:
    """More tasks than a map shows, of seven filters; each three of them are the same."""
    random, first = np.random.default_rng(0), shipped.listed[0]
    space = first.entry.manifest.embeddings[0].space.embedding_space
    place = first.artifact.embeddings.index(first.artifact.embedding(space))
    values = np.exp(random.normal(size=(TASKS // 3, 7))).astype(np.float32).astype(np.float64)
    members = []
    for number, copy in enumerate(copies(first, TASKS)):
        embeddings = list(first.artifact.embeddings)
        embeddings[place] = replace(
            embeddings[place], values=values[number // 3], standard_error=None
        )
        artifact = replace(first.artifact, embeddings=tuple(embeddings))
        members.append(replace(copy, artifact=artifact))
    return RankedSpace.of(space, tuple(members), None)


def test_a_map_shows_some_tasks_and_every_other_is_near_to_one(space: RankedSpace) -> None:
    assert not space.whole
    assert len(set(space.mapped)) == MOST_MAPPED
    chosen = [space.places[member] for member in space.mapped]
    from_chosen = np.stack(
        [
            symmetric_distance(space.embeddings[place].values, space.rows.astype(np.float64))
            for place in chosen
        ]
    )
    farthest = from_chosen.min(axis=0).max()
    assert farthest < 1e-6  # every different one is on it
    assert len(task_map(space)) < 200_000
    assert len(data_script("distances", distances_data(space))) < 400_000


def test_what_is_spread_out_is_never_farther_than_what_was_chosen_is_apart() -> None:
    rows = np.exp(np.random.default_rng(1).normal(size=(300, 5))).astype(np.float32)
    chosen = list(spread_out(rows, 20))
    between = np.stack([symmetric_distance(row, rows) for row in rows.astype(np.float64)])
    apart = between[np.ix_(chosen, chosen)] + np.diag(np.full(20, np.inf))
    assert between[chosen].min(axis=0).max() <= apart.min() + 1e-6
    assert spread_out(rows, 300) == tuple(range(300))


@pytest.mark.parametrize("k", [1, 8, TASKS])
def test_neighbours_are_found_beyond_the_map(space: RankedSpace, k: int) -> None:
    item = next(member for member in space.members if member not in space.mapped)
    found = space.neighbours(item, k)
    assert found is not None
    exact = symmetric_distance(
        space.embeddings[space.places[item]].values,
        np.stack([embedding.values for embedding in space.embeddings]),
    )
    others = sorted(
        (distance, member.reference)
        for distance, member in zip(exact.tolist(), space.members, strict=True)
        if member is not item
    )
    assert [(d, member.reference) for member, d in found] == others[:k]


def test_embeddings_are_in_parts(space: RankedSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "_SHARD_VALUES", 7 * 500 + 3)
    parts = list(embeddings_shards(space))
    assert [len(part["members"]) for part in parts] == [500, 500, 200]
    listed = [member["reference"] for part in parts for member in part["members"]]
    assert listed == [member.reference for member in space.members]
    values = b"".join(base64.b64decode(part["values"]) for part in parts)
    np.testing.assert_array_equal(np.frombuffer(values, "<f4").reshape(-1, 7), space.rows)
    (shown,) = spaces_data("zoo", (space,))["spaces"]
    assert (shown["shards"], shown["whole"]) == (3, False)
