from dataclasses import replace

import numpy as np
import pytest

from tests.registry.factories import make_embedding, make_space
from wsdarts_registry.embedding.distance import symmetric_distance
from wsdarts_registry.embedding.embedding_space import NearThreshold
from wsdarts_registry.embedding.ranking import Candidate, judge, rank
from wsdarts_registry.errors import EmbeddingError


def _candidate(reference: str, values: list[float]) -> Candidate:
    embedding = make_embedding(reference, values=np.array(values))
    return Candidate(reference=reference, kind="transfer", embedding=embedding)


def test_nearest_first_and_ties_by_reference() -> None:
    query = make_embedding("query", values=np.array([1.0, 1, 1]))
    far, near = _candidate("far@1", [9.0, 1, 1]), _candidate("near@1", [1.1, 1, 1])
    twins = [_candidate("b@1", [2.0, 1, 1]), _candidate("a@2", [2.0, 1, 1])]
    found = rank(query, [far, *twins, near])
    assert [n.reference for n in found] == ["near@1", "a@2", "b@1", "far@1"]
    expected = symmetric_distance(query.values, far.embedding.values[None])[0]
    assert found[-1].distance == expected
    assert found[0].task_name == "near@1"
    assert rank(query, []) == ()


def test_other_spaces_and_widths_are_refused() -> None:
    query = make_embedding("query")
    other = make_embedding("other", space=make_space("big"))
    candidate = Candidate(reference="other@1", kind="transfer", embedding=other)
    with pytest.raises(EmbeddingError, match=r"tiny \(sha256.*big \(sha256"):
        rank(query, [candidate])
    with pytest.raises(EmbeddingError, match=r"7 filters, .*x@1 has 2"):
        rank(query, [_candidate("x@1", [1.0, 2.0])])


def test_judgement() -> None:
    query = make_embedding("query", values=np.array([1.0, 1, 1]))
    found = rank(query, [_candidate("x@1", [1.5, 1, 1])])
    distance = found[0].distance
    limit = NearThreshold(space=query.space, distance=distance, measured="by hand")
    near = judge(found, limit, images=7)
    assert near.near is True
    assert near.threshold == distance
    assert "x@1 is at distance" in near.why
    assert "within the threshold" in near.why
    assert near.why.endswith("this task: 7): near")
    threshold = NearThreshold(space=query.space, distance=distance * 0.99, measured="by hand")
    far = judge(found, threshold, images=7)
    assert far.near is False
    assert "nothing is near" in far.why
    unknown = judge(found, None, images=7)
    assert (unknown.near, unknown.threshold) == (None, None)
    assert "no threshold was measured" in unknown.why


def test_single_tasks_are_judged_before_means() -> None:
    query = make_embedding("query", values=np.array([1.0, 1, 1]))
    mean = replace(_candidate("mean@1", [1.1, 1, 1]), kind="meta-transfer")
    found = rank(query, [mean, _candidate("single@1", [2.0, 1, 1])])
    assert found[0].reference == "mean@1"
    threshold = NearThreshold(space=query.space, distance=found[0].distance, measured="by hand")
    judged = judge(found, threshold, images=7)
    assert judged.near is False
    assert "single@1 is at distance" in judged.why
    assert judge(found[:1], threshold, images=7).near is True


def test_bad_judgements() -> None:
    with pytest.raises(EmbeddingError, match="no neighbour to judge"):
        judge((), None, images=7)
    with pytest.raises(EmbeddingError, match=r"the threshold is 1\.5"):
        NearThreshold(space=make_space(), distance=1.5, measured="")
