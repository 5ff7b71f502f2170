"""Differences of artifacts that were made by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.registry.factories import (
    SPACE,
    digest_of,
    make_artifact,
    make_embedding,
    make_masks,
    make_ranked,
    make_space,
)
from wsdarts_registry.architecture.genotype import Connection, Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_registry.artifact.difference import FigureDifference, difference
from wsdarts_registry.artifact.reader import Artifact, read_artifact

# The space has nodes 2 and 3, so edges (0, 2), (1, 2), (0, 3), (1, 3), (2, 3).
SKIP, SEP = "skip_connect", "sep_conv_3x3"


@pytest.fixture
def made(tmp_path: Path) -> Any:
    """Make and read a small artifact with some parts changed."""

    def make(name: str, *tasks: str, **changes: Any) -> Artifact:
        make_artifact(tmp_path / name, *tasks, **changes)
        return read_artifact(tmp_path / name)

    return make


def masks_with(kind: str, edge: int, row: tuple[bool, ...]) -> OperationMasks:
    """The usual masks, which keep skip_connect and sep_conv_3x3, but for one edge."""
    usual = make_masks()
    rows = {k: list(usual.rows(k)) for k in ("normal", "reduction")}
    rows[kind][edge] = row
    return OperationMasks(
        space=SPACE, normal=tuple(rows["normal"]), reduction=tuple(rows["reduction"])
    )


def test_equal_content_has_no_difference(made: Any) -> None:
    one, two = made("one"), made("two")
    found = difference(one, two)
    assert found.before == found.after
    parts = (found.masks, found.genotype, found.config, found.metrics, found.facts, found.files)
    assert parts == ((),) * 6
    assert (found.lost_tasks, found.gained_tasks) == ((), ())
    assert [task.name for task in found.common_tasks] == ["flowers"]
    assert [distance for _, distance in found.distances] == [0.0]


def test_masks_of_the_last_stage_edge_by_edge(made: Any) -> None:
    # The reduction cell's edge (0, 3) keeps none and sep_conv_3x3 instead.
    other = masks_with("reduction", 2, (True, False, True))
    one = made("one")
    two = made("two", stage_masks=[OperationMasks.full(SPACE), other], ranked=make_ranked(other))
    (edge,) = difference(one, two).masks
    assert (edge.kind, edge.edge) == ("reduction", (0, 3))
    assert (edge.lost, edge.gained) == ((SKIP,), ("none",))
    (back,) = difference(two, one).masks
    assert (back.lost, back.gained) == (("none",), (SKIP,))
    # An earlier stage alone is another file, and no other λ.
    three = made("three", stage_masks=[make_masks(), make_masks()])
    found = difference(one, three)
    assert found.masks == ()
    assert found.files == ("op_masks.safetensors",)


def test_genotypes_node_by_node(made: Any) -> None:
    pair = (Connection(source=0, operation=SEP), Connection(source=1, operation=SEP))
    moved = (Connection(source=0, operation=SEP), Connection(source=2, operation=SEP))
    other = Genotype(space=SPACE, normal=(pair, moved), reduction=(pair, pair))
    (node,) = difference(made("one"), made("two", genotype=other)).genotype
    assert (node.kind, node.node) == ("normal", 3)
    assert (node.before, node.after) == (pair, moved)
    assert node.to_json() == {
        "cell": "normal",
        "node": 3,
        "before": [[SEP, 0], [SEP, 1]],
        "after": [[SEP, 0], [SEP, 2]],
    }


def test_a_larger_search_space_has_gained_its_edges(made: Any) -> None:
    space = SearchSpace(nodes=3, candidates=(*SPACE.candidates, "max_pool_3x3"))
    row = (False, True, True, False)
    masks = OperationMasks(space=space, normal=(row,) * 9, reduction=(row,) * 9)
    node = (Connection(source=0, operation=SEP), Connection(source=1, operation=SEP))
    genotype = Genotype(space=space, normal=(node,) * 3, reduction=(node,) * 3)
    two = made(
        "two",
        stage_masks=[masks],
        ranked=make_ranked(masks),
        genotype=genotype,
        weights=False,
    )
    found = difference(made("one", weights=False), two)
    assert [(e.kind, e.edge) for e in found.masks] == [
        (kind, (source, 4)) for kind in ("normal", "reduction") for source in range(4)
    ]
    assert {(e.lost, e.gained) for e in found.masks} == {((), (SKIP, SEP))}
    assert [(n.node, n.before, n.after) for n in found.genotype] == [(4, (), node)] * 2
    assert [change.key for change in found.facts] == ["space.candidates", "space.nodes"]


def test_figures_with_their_difference(made: Any) -> None:
    one = made("one", metrics={"steps": 96, "alpha_accuracy": 0.5, "old": 1})
    two = made("two", metrics={"steps": 96, "alpha_accuracy": 0.25, "new": 0})
    assert difference(one, two).metrics == (
        FigureDifference(name="alpha_accuracy", before=0.5, after=0.25),
        FigureDifference(name="old", before=1, after=None),
        FigureDifference(name="new", before=None, after=0),
    )
    first, *others = difference(one, two).metrics
    assert first.difference == -0.25
    assert [figure.difference for figure in others] == [None, None]


def test_tasks_by_digest_and_distance_in_every_common_space(made: Any) -> None:
    # a/(a+b) = (1/2, 0, 0/0 -> 0), b/(a+b) = (1/2, 1, 0): the distance is 1 - 1/sqrt(5).
    a, b = np.array([1.0, 0, 0]), np.array([1.0, 1, 0])
    common, other, third = make_space("common"), make_space("other"), make_space("third")
    one = made(
        "one",
        "flowers",
        embeddings=[
            make_embedding("flowers", space=space, values=values)
            for space, values in ((common, a), (other, a))
        ],
    )
    two = made(
        "two",
        "birds",
        embeddings=[
            make_embedding("birds", space=space, values=values)
            for space, values in ((third, b), (common, b))
        ],
    )
    found = difference(one, two)
    ((space, distance),) = found.distances
    assert space == common
    assert distance == pytest.approx(1 - 5**-0.5, rel=1e-6)
    assert [task.name for task in found.lost_tasks] == ["flowers"]
    assert [task.name for task in found.gained_tasks] == ["birds"]
    assert found.common_tasks == ()
    assert found.to_json()["tasks"]["gained"][0]["digest"] == digest_of("birds")


def test_several_tasks_share_one(made: Any) -> None:
    found = difference(made("one", "flowers"), made("two", "flowers", "birds"))
    assert [task.name for task in found.common_tasks] == ["flowers"]
    assert [task.name for task in found.gained_tasks] == ["birds"]
    assert [change.key for change in found.facts] == ["kind"]


def test_no_common_space_is_no_distance(made: Any) -> None:
    one = made("one", embeddings=[make_embedding(space=make_space("one"))])
    two = made("two", embeddings=[make_embedding(space=make_space("two"))])
    assert difference(one, two).distances == ()
    assert difference(one, made("bare", embeddings=[])).distances == ()
