"""Verdicts by a threshold, and figures that say the same."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.registry.factories import make_space
from wsdarts_registry.embedding.distance import distance_matrix
from wsdarts_registry.embedding.embedding_space import (
    ROUNDING,
    EmbeddingSpace,
    NearThreshold,
    figures,
    is_near,
)
from wsdarts_registry.embedding.ranking import Neighbour, judge
from wsdarts_registry.publishing._card import NeighbourFacts, NeighbourhoodFacts
from wsdarts_registry.stores.opening import open_registry
from wsdarts_registry.stores.records import shipped_zoo
from wsdarts_registry.stores.store import Store

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"
THRESHOLDS = st.floats(0.001, 0.999)


def _neighbour(distance: float, name: str = "x") -> Neighbour:
    return Neighbour(
        reference=f"{name}@1",
        distance=distance,
        kind="transfer",
        task_name=name,
        images=5,
        classes=2,
    )


@st.composite
def _distances(draw: st.DrawFn) -> tuple[list[float], float]:
    """A threshold, and distances anywhere, beside it, and as far from it as sums differ."""
    threshold = draw(THRESHOLDS)
    steps = st.integers(3, 16).flatmap(
        lambda digits: st.floats(-1, 1).map(lambda share: threshold + share * 10.0**-digits)
    )
    one = st.floats(0, 1) | steps | st.sampled_from([threshold, threshold + ROUNDING / 2])
    values = draw(st.lists(one, min_size=1, max_size=6))
    return [min(1.0, max(0.0, value)) for value in values], threshold


@given(_distances(), st.sampled_from([2, 4]))
def test_figures_order_as_the_verdicts_do(case: tuple[list[float], float], digits: int) -> None:
    distances, threshold = case
    shown = figures(distances, threshold, digits=digits)
    assert shown.threshold is not None
    assert float(shown.threshold) == pytest.approx(threshold, abs=1e-4)
    for distance, text in zip(distances, shown.distances, strict=True):
        assert (float(text) <= float(shown.threshold)) is is_near(distance, threshold)
        assert float(text) == pytest.approx(distance, abs=0.6 * 10**-digits)


@given(_distances())
def test_the_sentence_says_what_was_decided(case: tuple[list[float], float]) -> None:
    distances, distance = case
    threshold = NearThreshold(space=make_space(), distance=distance, measured="by hand")
    found = judge((_neighbour(distances[0]),), threshold, images=5)
    assert found.near is is_near(distances[0], distance)
    assert ("within" in found.why) is found.near
    words = found.why.replace(",", "").split()
    told = float(words[words.index("distance") + 1]), float(words[words.index("of") + 1])
    assert (told[0] <= told[1]) is found.near


def test_digits_are_added_only_where_they_are_needed() -> None:
    # 0.34708231 against 0.347082 was told as "0.3471, beyond the threshold of 0.3471".
    shown = figures((0.34708231, 0.1404, 0.6166), 0.347082)
    assert shown.threshold == "0.3470820"
    assert shown.distances == ("0.3470823", "0.1404", "0.6166")
    assert figures((0.1404, 0.6166), 0.347082).distances == ("0.1404", "0.6166")
    assert figures((0.1404, 0.6166), 0.347082).threshold == "0.3471"
    # 0.35 would be more than 0.3471 although it is near.
    assert figures((0.347, 0.14, 0.6), 0.34708231, digits=2).distances == ("0.347", "0.14", "0.60")
    assert figures((0.34708231,), None).distances == ("0.3471",)


def test_the_order_of_sums_does_not_decide() -> None:
    threshold = 0.34708231541828627
    assert is_near(np.nextafter(threshold, 1), threshold)
    assert not is_near(threshold + 1e-8, threshold)
    shown = figures((threshold + ROUNDING / 2, threshold + 2 * ROUNDING), threshold)
    assert shown.threshold is not None
    near, far = map(float, shown.distances)
    assert near <= float(shown.threshold) < far


def test_a_card_orders_its_rows_as_it_judges_them() -> None:
    distances = (0.34708231, 0.34709)
    rows = tuple(
        NeighbourFacts(reference="x@1", distance=d, task="x", near=is_near(d, 0.34708231))
        for d in distances
    )
    found = NeighbourhoodFacts(
        day="2026-01-01", state="ranked", rows=rows, probe="tiny", threshold=0.34708231
    ).figures
    assert found.threshold is not None
    assert float(found.distances[0]) <= float(found.threshold) < float(found.distances[1])


@pytest.fixture(scope="module")
def zoo() -> Store:
    return open_registry(shipped_zoo())


@pytest.mark.parametrize("place", [0, 1])
def test_shipped_thresholds_are_what_was_measured(zoo: Store, place: int) -> None:
    record = zoo.config.near[place]
    space: EmbeddingSpace = record.space.embedding_space
    entries = [entry for entry in zoo.entries() if entry.manifest.kind == "transfer"]
    embeddings = [zoo.embedding(entry, space) for entry in entries]
    matrix = distance_matrix(np.stack([e.values for e in embeddings if e is not None]))
    apart = matrix + np.diag(np.full(len(matrix), np.inf))
    # The artifacts were embedded by another processor than the one that measured the distances.
    assert record.distance == pytest.approx(apart.min(axis=1).max(), rel=1e-4)
    (stored,) = (
        found["threshold"]
        for path in RESULTS.glob("task_distances_*.json")
        for found in [json.loads(path.read_bytes())["whole"]]
        if found["space"] == space.to_json()
    )
    assert stored == record.distance


@pytest.mark.parametrize("place", [0, 1])
def test_the_tasks_that_define_a_threshold_are_near(zoo: Store, place: int) -> None:
    space = zoo.config.near[place].space.embedding_space
    for entry in zoo.entries():
        if entry.manifest.kind == "transfer":
            embedding = zoo.embedding(entry, space)
            assert embedding is not None
            ranking = zoo.nearest(embedding, 10)
            others = [
                n
                for n in ranking.neighbours
                if n.kind == "transfer" and n.reference != str(entry.reference)
            ]
            threshold = NearThreshold(
                space=space, distance=zoo.config.near[place].distance, measured="here"
            )
            assert judge(tuple(others), threshold, images=500).near is True
