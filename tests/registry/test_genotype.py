"""Genotypes: laws, the text of the public DARTS code, and hostile text, which is never run."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdarts_registry.errors import SpaceError
from wsdarts_registry.genotype import Cell, Connection, Genotype
from wsdarts_registry.space import DARTS, SearchSpace

# As its authors print it; nodes list their inputs by strength, not by source.
DARTS_V2 = (
    "DARTS_V2 = Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), "
    "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), "
    "('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), "
    "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)


def cells(draw: st.DrawFn, space: SearchSpace, sizes: st.SearchStrategy[int]) -> Cell:
    def node(target: int) -> tuple[Connection, ...]:
        size = min(draw(sizes), target)
        sources = draw(
            st.lists(st.integers(0, target - 1), min_size=size, max_size=size, unique=True)
        )
        names = st.sampled_from(space.candidates)
        return tuple(Connection(source=i, operation=draw(names)) for i in sorted(sources))

    return tuple(node(target) for target in range(2, 2 + space.nodes))


@st.composite
def genotypes(draw: st.DrawFn, sizes: st.SearchStrategy[int]) -> Genotype:
    """Genotypes of small spaces; candidates may have any name that JSON can hold."""
    name = st.text(st.characters(exclude_categories=("Cs",)), max_size=10)
    space = SearchSpace(
        nodes=draw(st.integers(1, 5)),
        candidates=tuple(draw(st.lists(name, min_size=1, max_size=5, unique=True))),
    )
    return Genotype(
        space=space, normal=cells(draw, space, sizes), reduction=cells(draw, space, sizes)
    )


@given(genotypes(st.integers(1, 4)))
def test_json_law(found: Genotype) -> None:
    assert Genotype.from_json(found.to_json()) == found
    assert Genotype.from_json(json.loads(json.dumps(found.to_json()))) == found


@given(genotypes(st.just(2)))
def test_darts_text_law(found: Genotype) -> None:
    assert Genotype.from_darts(found.to_darts(), found.space) == found
    assert Genotype.from_darts(f"# best so far\nBEST = {found}\n", found.space) == found


@given(genotypes(st.integers(1, 4)))
def test_count(found: Genotype) -> None:
    for kind in ("normal", "reduction"):
        total = sum(found.count(name, kind) for name in found.space.candidates)
        assert total == sum(len(node) for node in found.cell(kind))


def test_text_of_the_public_code() -> None:
    found = Genotype.from_darts(DARTS_V2)
    assert found.space == DARTS
    assert [(c.operation, c.source) for c in found.normal[2]] == [
        ("skip_connect", 0),
        ("sep_conv_3x3", 1),
    ]  # by source
    assert found.count("skip_connect") == 2
    assert found.count("max_pool_3x3", "reduction") == 5
    assert "normal_concat=range(2, 6)" in found.to_darts()
    assert str(found) == found.to_darts()


def test_positional_text() -> None:
    pairs = "[('skip_connect', 0), ('skip_connect', 1)]"
    keywords = f"Genotype(normal={pairs}, normal_concat=[2], reduce={pairs}, reduce_concat=[2])"
    for text in (
        f"Genotype({pairs}, range(2, 3), {pairs}, range(2, 3))",
        f"Genotype({pairs}, [2], reduce={pairs}, reduce_concat=(2,))",
    ):
        assert Genotype.from_darts(text) == Genotype.from_darts(keywords)


PAIR = "[('skip_connect', 0), ('skip_connect', 1)]"


def text(normal: str = PAIR, concat: str = "range(2, 3)") -> str:
    return f"Genotype(normal={normal}, normal_concat={concat}, reduce={PAIR}, reduce_concat=[2])"


@pytest.mark.parametrize(
    "hostile",
    [
        "",
        "Genotype",
        "Genotype()",
        "__import__('os').system('touch hacked')",
        "Genotype(__import__('os').system('touch hacked'), [2], [], [2])",
        text(normal="__import__('os').listdir()"),
        text(normal="[(open('hacked', 'w'), 0), ('skip_connect', 1)]"),
        text(normal="[x for x in ().__class__.__bases__]"),
        text(normal="(lambda: 1)()"),
        text(normal="f'{open}'"),
        text(normal="5"),
        text(normal="None"),
        text(normal="{}"),
        text(normal="'ab'"),
        text(concat="range(2, 10**9)"),
        text(concat="range(2, 3, 1)"),
        text(concat="range(*[2, 3])"),
        text(concat="list(range(2, 3))"),
        text(concat="2"),
        text() + "; import os",
        text() + " or open('hacked', 'w')",
        text()[:-1],
        text()[:-1] + ", **{})",
        text()[:-1] + ", more=1)",
        f"Genotype({PAIR}, [2], {PAIR}, [2], [2])",
        text()[:-1] + f", normal={PAIR})",
        f"os.Genotype({PAIR}, [2], {PAIR}, [2]).x",
        f"Genotype({PAIR}, [2], {PAIR}, [2])()",
        "Genotype(\0)",
        "Genotype(\ud800)",
        "(" * 100_000,
        "Genotype(" + "(" * 90_000,
        "Genotype(" + "(" * 45_000 + ")" * 45_000 + ")",
        text(normal="[" * 45_000 + "]" * 45_000),
        text(normal="-" * 90_000 + "1"),
        text(normal="not " * 20_000 + "1"),
        text(normal="1" + "+1" * 45_000),
        text(normal="a" + ".a" * 45_000),
        text(normal="9" * 5_000),
        text(normal="2" + "**9" * 20_000),
        text(normal="'a' " * 20_000),
        " " * 100_000 + text(),
    ],
)
def test_hostile_text_is_refused_and_not_run(
    hostile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpaceError, match="not a DARTS genotype; expected Genotype") as caught:
        Genotype.from_darts(hostile)
    assert len(str(caught.value)) < 300
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (text(normal="[('skip_connect', 0)]"), "lists 1 connections; expected pairs"),
        (text(normal="[]"), "the normal cell has 0 nodes; expected 1"),
        (text(normal="[('skip_connect', 0), ('skip_connect', 0)]"), r"has sources \[0, 0\]"),
        (text(normal="[('skip_connect', 0), ('skip_connect', 2)]"), "has source 2; expected 0 to"),
        (text(normal="[('skip_connect', 0), ('skip_connect', -1)]"), "has source -1; expected 0"),
        (text(normal="[('conv', 0), ('skip_connect', 1)]"), "'conv' is not a candidate"),
        (text(normal="[('skip_connect', 0), ('skip_connect', True)]"), "holds .*True"),
        (text(normal="[('skip_connect', 0), ('skip_connect', 1.0)]"), r"holds .*1\.0"),
        (text(normal="[('skip_connect', 0, 1), ('skip_connect', 1)]"), r"expected \[operation, so"),
        (text(normal="[" * 150 + "]" * 150), r"holds \[\[\[\[\[\[\[\.\.\.\]\]\]\]\]\]\]; expected"),
        (text(normal=f"['{'a' * 90_000}', 1]"), r"holds 'a+\.\.\.a+'; expected"),
        (text(normal="[0, 1]"), r"holds 0; expected \[operation, source\]"),
        (text(concat="[2, 3]"), r"normal_concat is \[2, 3\]; only cells that concatenate all"),
        (text(normal=f"{PAIR[:-1]}, {PAIR[1:]}"), "normal_concat is .2.; only cells"),
    ],
)
def test_cells_that_do_not_hold_together(bad: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message) as caught:
        Genotype.from_darts(bad)
    assert len(str(caught.value)) < 300


def test_more_nodes_than_any_space_has() -> None:
    many = "[" + "('skip_connect', 0), ('skip_connect', 1), " * 200 + "]"
    with pytest.raises(SpaceError, match="a cell has 200 nodes; expected 1 to 64"):
        Genotype.from_darts(text(normal=many, concat="range(2, 99)"))


@given(st.text(max_size=60))
def test_any_text_is_a_genotype_or_a_space_error(anything: str) -> None:
    for candidate in (anything, f"Genotype({anything})", text(normal=anything)):
        try:
            found = Genotype.from_darts(candidate)
        except SpaceError:
            continue
        assert Genotype.from_darts(found.to_darts(), found.space) == found


def data_of(**changes: Any) -> dict[str, Any]:
    return Genotype.from_darts(text()).to_json() | changes


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "found NoneType"),
        ([], "found list"),
        ({}, r"found \[\]"),
        (data_of(format=2), "has format 2; this version reads 1: update with `git pull"),
        (data_of(space={"nodes": 1}), "a search space in JSON"),
        (data_of(normal=None), "the normal cell in JSON is a list of nodes"),
        (data_of(normal=[None]), "the normal cell in JSON is a list of nodes"),
        (data_of(normal=[[["skip_connect"]]]), r"holds \['skip_connect'\]"),
        (data_of(normal=[[["skip_connect", "0"]]]), "expected .operation, source."),
        (data_of(normal=[[]]), r"has sources \[\]; expected at least one"),
        (data_of(normal=[[["skip_connect", 1], ["skip_connect", 0]]]), r"has sources \[1, 0\]"),
        (data_of(reduction=[]), "the reduction cell has 0 nodes; expected 1"),
    ],
)
def test_no_genotype_in_json(data: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        Genotype.from_json(data)


def test_further_keys_are_ignored() -> None:
    assert Genotype.from_json(data_of(ranked=[1, 2])) == Genotype.from_darts(text())


def test_files(tmp_path: Path) -> None:
    found = Genotype.from_darts(DARTS_V2)
    path = found.save(tmp_path / "deep" / "cell.json")
    assert Genotype.load(path) == found
    (tmp_path / "printed.txt").write_text(DARTS_V2, encoding="utf-8")
    assert Genotype.load(tmp_path / "printed.txt") == found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a DARTS genotype"),
        (b"{", r"cell\.json is not valid JSON"),
        (b"\xff\xfe", r"cell\.json is not a genotype"),
        (b'{"a":' * 100_000, r"cell\.json is not valid JSON"),
        (b"[]", "not a DARTS genotype"),
        (b"{}", "a genotype in JSON has the keys"),
    ],
)
def test_files_that_hold_no_genotype(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "cell.json"
    path.write_bytes(content)
    with pytest.raises(SpaceError, match=message):
        Genotype.load(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"cannot read the genotype .*cell\.json: No such file"):
        Genotype.load(tmp_path / "cell.json")
