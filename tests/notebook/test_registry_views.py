"""What artifacts, cells, masks and rankings show of themselves in a notebook."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.notebook.reading import Shown, read_view
from tests.registry.factories import make_artifact, make_embedding, make_genotype
from tests.registry.hostile import LINE, hostile_space, make_hostile
from wsdarts_registry.architecture.genotype import Connection, Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_registry.artifact.difference import difference
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.embedding.ranking import Neighbour, Ranking
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.lineage import lineage
from wsdarts_registry.stores.records import Yank

SPACE = SearchSpace(nodes=1, candidates=("none", "skip_connect", "sep_conv_3x3"))


def neighbour(name: str, distance: float, kind: str = "transfer") -> Neighbour:
    return Neighbour(
        reference=f"{name}@1", distance=distance, kind=kind, task_name=name, images=5, classes=2
    )


def test_a_genotype_counts_its_operations() -> None:
    two = (
        Connection(source=0, operation="sep_conv_3x3"),
        Connection(source=1, operation="sep_conv_3x3"),
    )
    one = (Connection(source=1, operation="skip_connect"),)
    genotype = Genotype(space=SPACE, normal=(two,), reduction=(one,))
    counted = "In the normal cell 2 sep_conv_3x3; in the reduction cell 1 skip_connect"
    assert repr(genotype) == f"<Genotype: {counted}>"
    page = read_view(genotype)
    assert f"of 1 intermediate node. {counted}." in page.words
    first, second = (attributes["alt"] for tag, attributes in page.tags if tag == "img")
    assert str(first).count("sep_conv_3x3 of c_{k-") == 2
    assert "is skip_connect of c_{k-1}." in str(second)
    assert "c_{k-1} ── skip_connect" in page.words  # as text, for those who want to copy it
    assert genotype.to_darts() in page.words


def test_masks_count_what_is_left() -> None:
    masks = OperationMasks(
        space=SPACE,
        normal=((True, True, False), (False, False, True)),
        reduction=((False, True, False), (False, True, False)),
    )
    # 2 edges of 3 candidates; 2 + 1 and 1 + 1 are left.
    words = "Of 6 operations, 3 on each of 2 edges, 3 in the normal cell and 2 in the reduction "
    assert repr(masks).startswith(f"<OperationMasks: {words}")
    assert repr(masks).endswith("at most 2 on an edge>")
    page = read_view(masks)
    assert words in page.words
    (alt,) = (str(attributes["alt"]) for tag, attributes in page.tags if tag == "img")
    assert "c_{k-2} to 0: none, skip_connect." in alt


def test_a_ranking_draws_its_bars_to_scale() -> None:
    ranking = Ranking(
        neighbours=(
            neighbour("near", 0.1),
            neighbour("mean", 0.12, "meta-transfer"),
            neighbour("edge", 0.2),
            neighbour("far", 0.5),
        ),
        threshold=0.2,
        near=True,
        why="near@1 is at distance 0.1000, within the threshold of 0.2000: near",
    )
    page = read_view(ranking)
    widths = [str(a["style"]) for tag, a in page.tags if tag == "span" and a.get("style")]
    # The largest takes 1 / 1.05 of the room: 0.1 / (1.05 × 0.5) = 19.05 %.
    assert widths == ["width:19.05%", "width:22.86%", "width:38.1%", "width:95.24%"]
    assert [a["style"] for tag, a in page.tags if tag == "i"] == ["left:38.1%"] * 4
    assert page.words.index("near@1 is at distance") < page.words.index("edge@1")
    # A threshold includes itself; a mean over tasks is not judged by it. No colour alone says so.
    rows = ["".join(page.text).partition(f"{name}@1{d:.4f}")[2] for name, d in
            (("near", 0.1), ("mean", 0.12), ("edge", 0.2), ("far", 0.5))]  # fmt: skip
    assert [row[:4] for row in rows] == ["near", "–met", "near", "beyo"]
    listed = "near@1 0.1000, mean@1 0.1200, edge@1 0.2000, far@1 0.5000"
    assert repr(ranking) == f"<Ranking: {listed}; {ranking.why}>"


@pytest.mark.parametrize("distance", [0.0, 0.3])
def test_a_ranking_without_a_threshold(distance: float) -> None:
    neighbours = (neighbour("a", distance),)
    page = read_view(Ranking(neighbours=neighbours, threshold=None, near=None, why="nothing says"))
    assert "judgement" not in page.words
    assert "threshold" not in page.words
    assert not [tag for tag, _ in page.tags if tag == "i"]
    assert read_view(Ranking(neighbours=(), threshold=0.1, near=None, why="none")).words


def test_an_artifact_says_what_it_is_without_its_files(tmp_path: Path) -> None:
    make_artifact(tmp_path / "one", "flowers")
    make_artifact(tmp_path / "two", "flowers", "birds", weights=False)
    one, two = (read_artifact(tmp_path / name) for name in ("one", "two"))
    for path in sorted((tmp_path / "one").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    what = "trained transfer architecture (λ̂) found on flowers (120 images, 10 classes)"
    assert repr(one) == f"<Artifact {one.digest[:19]}…: a {what}>"
    page = read_view(one)
    assert f"A {what}." in page.words
    assert str(tmp_path) not in repr(one) + "".join(page.text)
    assert "supernet accuracy, weights half50.0 %" in "".join(page.text)
    assert "(λ_meta) found on flowers" in read_view(two).words
    assert "startedcold" in "".join(page.text)


def test_a_family_and_a_difference(zoo: DirectoryStore) -> None:
    family = lineage("b", registry=zoo)
    page = read_view(family)
    assert "It started (trained) from" in page.words
    assert "a@1, sha256:" in page.words
    assert "No artifact of this" in page.words
    assert repr(family).endswith("b@1: parents a@1; children none>")
    none = read_view(lineage("a", registry=zoo))
    assert "No other artifact (cold)." in none.words
    found = difference(zoo.pull("a"), zoo.pull("b"))
    page = read_view(found)
    assert ", genotype, settings" in page.words
    assert "birdsgained" in "".join(page.text)
    assert repr(found).endswith(": 2 tasks, 4 other facts, 1 file>")
    assert repr(zoo) == f"<DirectoryStore {zoo.location}>"
    assert repr(zoo.resolve("b")).startswith("<Entry b@1: a trained")


@pytest.fixture
def zoo(tmp_path: Path) -> DirectoryStore:
    """Two artifacts, the second started from the first."""
    from wsdarts_registry.artifact.manifest import Lineage, Parent  # noqa: PLC0415

    store = DirectoryStore(tmp_path / "zoo", create=True)
    digest = make_artifact(tmp_path / "a", "flowers")
    store.publish(tmp_path / "a", "a")
    parents = (Parent(reference="a@1", digest=digest),)
    make_artifact(tmp_path / "b", "birds", lineage=Lineage(mode="trained", parents=parents))
    store.publish(tmp_path / "b", "b")
    return store


def test_hostile_text_is_inert(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "zoo", create=True)
    store.publish(make_hostile(tmp_path / "one"), "one")
    store.publish(make_hostile(tmp_path / "two", "other"), "two")
    yank = Yank(reason=LINE, when="2026-01-02T03:04:05Z")
    store.write_yank("one", 1, lambda _: yank)
    make_artifact(tmp_path / "plain", "flowers")
    evil, other = store.pull("one@1"), store.pull("two")
    query = replace(make_embedding("query", space=hostile_space()), task_name=LINE)
    shown: tuple[Shown, ...] = (
        evil,
        evil.genotype,
        evil.masks,
        store.nearest(query, 5),
        lineage("one@1", registry=store),
        difference(evil, other),
        difference(evil, read_artifact(tmp_path / "plain")),
    )
    for each in shown:
        page = read_view(each)
        alts = [str(attributes["alt"]) for tag, attributes in page.tags if tag == "img"]
        assert "alert(1)" in f"{page.words}{alts}"  # to be read
    for each in (query, store.resolve("one@1")):
        assert not set(repr(each)) & set("\x1b\u202e\u200b\u200f\n")


def test_showing_loads_no_torch_and_naming_no_templates(tmp_path: Path) -> None:
    make_artifact(tmp_path / "one", "flowers")
    code = (
        "import sys\n"
        "from wsdarts_hub import Artifact\n"
        "from wsdarts_registry.artifact.reader import read_artifact\n"
        "artifact = read_artifact(sys.argv[1])\n"
        "repr(artifact)\n"
        "assert 'jinja2' not in sys.modules\n"
        "artifact._repr_html_()\n"
        "assert not {'torch', 'timm', 'datasets'} & sys.modules.keys()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "one")]
    subprocess.run(command, check=True)


def test_equal_objects_show_the_same() -> None:
    assert make_genotype()._repr_html_() == make_genotype()._repr_html_()


def test_an_artifact_says_when_it_is_below_its_baseline(tmp_path: Path) -> None:
    metrics = {"classifier_accuracy": 0.5, "classifier_baseline_accuracy": 0.75}
    make_artifact(tmp_path / "a", "flowers", metrics=metrics)
    words = read_view(read_artifact(tmp_path / "a")).words
    assert "25.0 points below the linear baseline" in words
    assert "50.0 %" in words
