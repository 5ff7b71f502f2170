import itertools
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from tests.registry.factories import Push, make_artifact, make_embedding, make_space
from wsdarts_registry.artifact.manifest import EmbeddingSpaceRecord
from wsdarts_registry.errors import EmbeddingError
from wsdarts_registry.gallery._distances import heat_map
from wsdarts_registry.gallery._pages import read_collection
from wsdarts_registry.gallery._task_map import task_map
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.records import NearRecord, RegistryConfig


def silent(*_: object) -> None:
    pass


def test_neighbours_are_those_of_the_registry(store: DirectoryStore, push: Push) -> None:
    for name in ("flowers", "birds", "textures", "planes"):
        push(name)
    (space,) = read_collection(store, silent).spaces
    for member in space.members:
        found = space.neighbours(member, 2)
        assert found is not None
        ranked, own = store.nearest(make_embedding(member.entry.name), 4), member.reference
        expected = [n for n in ranked.neighbours if n.reference != own]
        assert [m.reference for m, _ in found] == [n.reference for n in expected[:2]]
        for (_, distance), neighbour in zip(found, expected, strict=False):
            assert distance == pytest.approx(neighbour.distance, abs=1e-6)


def test_an_older_version_is_no_neighbour_and_has_some(store: DirectoryStore, push: Push) -> None:
    push("flowers", "old", embedding=make_embedding("flowers"))
    push("flowers", "new", embedding=make_embedding("flowers"))
    push("birds")
    collection = read_collection(store, silent)
    (space,) = collection.spaces
    assert [m.reference for m in space.members] == ["birds@1", "flowers@2"]
    old = next(e for e in collection.items if e.reference == "flowers@1")
    found = space.neighbours(old, 5)
    assert found is not None
    assert [member.reference for member, _ in found] == ["birds@1"]
    expected = store.nearest(make_embedding("flowers"), 2).neighbours[1]
    assert found[0][1] == pytest.approx(expected.distance, abs=1e-6)


def test_the_fullest_space_comes_first(store: DirectoryStore, push: Push) -> None:
    other = make_space("other")
    push("flowers", embedding=make_embedding("flowers", space=other))
    push("birds")
    push("planes")
    first, second = read_collection(store, silent).spaces
    assert first.space.probe == "tiny"
    assert second.space == other
    assert second.neighbours(first.members[0], 3) is None


def test_widths_must_agree(store: DirectoryStore, push: Push) -> None:
    push("flowers")
    values = make_embedding("birds").values[:-1]
    push("birds", embedding=make_embedding("birds", values=values))
    with pytest.raises(EmbeddingError, match=r"6 filters.* flowers has 7"):
        read_collection(store, silent)


def test_the_heat_map_is_symmetric_and_darkest_where_tasks_are_equal(
    store: DirectoryStore, push: Push
) -> None:
    for name in ("flowers", "birds", "textures"):
        push(name)
    (space,) = read_collection(store, silent).spaces
    shown = heat_map(space)
    assert shown is not None
    rows = shown.rows
    assert rows is not None
    for row in rows:  # on narrow screens, in place of the map
        others = [other.item.reference for other in rows if other is not row]
        assert sorted(item.reference for item, *_ in row.nearest) == sorted(others)
        assert row.nearest[0][1] <= row.nearest[1][1]
    for i, row in enumerate(rows):
        assert row.cells[i] == ("0.00", 0, False)
        for j, other in enumerate(rows):
            assert row.cells[j] == other.cells[i]
    assert max(shade for row in rows for _, shade, _ in row.cells) == 9


def test_equal_tasks_and_a_single_one_have_a_map(store: DirectoryStore, tmp_path: Path) -> None:
    make_artifact(tmp_path / "flowers", "flowers")
    store.publish(tmp_path / "flowers", "one")
    (one,) = read_collection(store, silent).spaces
    assert task_map(one).count("<circle") == 1
    store.publish(tmp_path / "flowers", "two")
    (two,) = read_collection(store, silent).spaces
    drawn = task_map(two)
    assert drawn.count("<circle") == 2
    assert "nan" not in drawn
    assert "inf" not in drawn
    assert two.map.stress == 0


def test_names_cover_neither_each_other_nor_dots(store: DirectoryStore, push: Push) -> None:
    names = [f"a-name-of-some-length-{number}" for number in range(6)]
    for name in names:
        push(name)
    (space,) = read_collection(store, silent).spaces
    for narrow in (False, True):
        drawn = ET.fromstring(task_map(space, narrow=narrow))  # noqa: S314 - ours
        texts = drawn.findall(".//a/text")
        assert sorted(str(text.text) for text in texts) == names
        boxes = [_box(text) for text in texts]
        for one, two in itertools.combinations(boxes, 2):
            assert one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1]
        for x, y in ((float(c.attrib["cx"]), float(c.attrib["cy"])) for c in drawn.iter("circle")):
            assert not any(b[0] < x < b[2] and b[1] < y < b[3] for b in boxes)


def _box(text: ET.Element) -> tuple[float, float, float, float]:
    """Return about what a name covers at 13.5 pixels."""
    x, y = float(text.attrib["x"]), float(text.attrib["y"])
    return x, y - 10, x + 7 * len(str(text.text)), y + 2


def test_each_task_is_joined_with_its_nearest(store: DirectoryStore, push: Push) -> None:
    for name in ("flowers", "birds", "textures", "planes"):
        push(name)
    (space,) = read_collection(store, silent).spaces
    drawn = ET.fromstring(task_map(space))  # noqa: S314 - ours
    dots = [(c.attrib["cx"], c.attrib["cy"]) for c in drawn.iter("circle")]
    ends = [
        re.findall(r"[\d.]+", p.attrib["d"])
        for p in drawn.iter("path")
        if "tie" in p.attrib["class"]
    ]
    joined = {frozenset((dots.index((a, b)), dots.index((c, d)))) for a, b, c, d in ends}
    apart = space.distances + np.diag([np.inf] * len(dots))
    assert joined == {frozenset((row, int(apart[row].argmin()))) for row in range(len(dots))}


def test_the_threshold_does_not_apply_to_a_mean_of_several_tasks(
    store: DirectoryStore, push: Push, tmp_path: Path
) -> None:
    for name in ("birds", "planes", "textures"):
        push(name)
    make_artifact(tmp_path / "both", "birds", "planes")
    store.publish(tmp_path / "both", "both")
    space = EmbeddingSpaceRecord.model_validate(make_space().to_json())
    near = NearRecord(space=space, distance=0.99, measured="halves of two sets")
    store.configure(RegistryConfig(name="zoo", near=(near,)))
    (found,) = read_collection(store, silent).spaces
    both = [member.sort for member in found.mapped].index("meta")
    drawn = ET.fromstring(task_map(found))  # noqa: S314 - ours
    styles = [c for p in drawn.iter("path") if (c := p.attrib["class"]).startswith("tie")]
    nearest = (found.distances + np.diag([np.inf] * 4)).argmin(axis=1)
    pairs = {frozenset((row, int(column))) for row, column in enumerate(nearest)}
    expected = ["tie mean" if both in pair else "tie near" for pair in pairs]
    assert sorted(styles) == sorted(expected)
    assert "tie mean" in styles
    marks = {link.attrib["data-r"]: link.attrib["data-tie"] for link in drawn.iter("a")}
    assert marks["both@1"] == "mean"
    heat = heat_map(found)
    assert heat is not None
    framed = [[near for _, _, near in row.cells] for row in heat.rows]
    columns = [row.item.sort for row in heat.rows]
    for i, row in enumerate(framed):
        assert row == [i != j and "meta" not in (columns[i], columns[j]) for j in range(4)]
