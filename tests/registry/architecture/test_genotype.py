"""Genotypes: laws, the text of the public DARTS code, and hostile text, which is never run."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.error_fields import assert_fields
from wsdarts_registry.architecture.genotype import Cell, Connection, Genotype
from wsdarts_registry.architecture.search_space import DARTS, SearchSpace
from wsdarts_registry.errors import SpaceError

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
_PAIRS = "[operation, source]"


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
        text(concat="2"),
        text(concat="np.load('hacked')"),
        text(concat="os.array([2])"),
        text(concat="np.array([2], out=open('hacked', 'w'))"),
        text(concat="np.int64([2])"),
        text(concat="[" + "np.int64(" * 300 + "2" + ")" * 300 + "]"),
        text(normal="['" + r"\'" * 40_000),
        "Genotype(" * 10_000,
        "Genotype" + " " * 90_000 + "(",
        text()[:-1],
        text()[:-1] + ", **{})",
        text()[:-1] + ", more=1)",
        f"Genotype({PAIR}, [2], {PAIR}, [2], [2])",
        text()[:-1] + f", normal={PAIR})",
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
    ],
)
def test_hostile_text_is_refused_and_not_run(
    hostile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpaceError, match=r"not a DARTS genotype") as caught:
        Genotype.from_darts(hostile)
    assert len(str(caught.value)) < 300
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (text(normal="[('skip_connect', 0), (open('x'), 1)]"), "`open('x')`"),
        (text(normal="[('skip_connect', 0), (np.random.rand(), 1)]"), "`np.random.rand()`"),
        (text(concat="[2 3 4]"), "`2 3 4]"),
        (text(concat="2"), "normal_concat is no list: `2`"),
        (text()[:-1] + ", more=1)", "`more=1`"),
        (text()[:-1], "brackets are not closed"),
        (f"Genotype(normal={PAIR}, normal_concat=[2])", "reduce and no reduce_concat"),
        ("epoch 3: 97 %", "does not contain Genotype("),
    ],
)
def test_the_first_thing_that_is_not_understood_is_named(bad: str, named: str) -> None:
    with pytest.raises(SpaceError) as caught:
        Genotype.from_darts(bad)
    assert named in caught.value.what


def fields(pairs: str, concat: str) -> str:
    return f"normal={pairs}, normal_concat={concat}, reduce={pairs}, reduce_concat={concat}"


def numbered(number: str) -> str:
    """The pairs of four nodes, each number written as in ``number``."""
    return "[" + ", ".join(f"('sep_conv_3x3', {number.format(n % 2)})" for n in range(8)) + "]"


PLAIN = numbered("{}")
FOUR = "[2, 3, 4, 5]"
WRAPPED_NAMES = numbered("{}").replace("('sep_conv_3x3'", "(np.str_('sep_conv_3x3')")
ON_A_DEVICE = "tensor([2, 3, 4, 5], device='cuda:0')"
ARRAY = PLAIN.replace("(", "[").replace(")", "]").replace("0]", "'0']").replace("1]", "'1']")


@pytest.mark.parametrize(
    "pasted",
    [
        f"Genotype({fields(numbered('np.int64({})'), FOUR)})",
        f"Genotype({fields(numbered('numpy.int32({})'), 'np.arange(2, 6)')})",
        f"Genotype({fields(numbered('tensor({})'), 'torch.tensor([2, 3, 4, 5])')})",
        f"Genotype({fields(numbered('{}'), ON_A_DEVICE)})",
        f"Genotype({fields(WRAPPED_NAMES, 'list(range(2, 6))')})",
        f"Genotype({fields(f'array({ARRAY}, dtype=object)', 'array([2, 3, 4, 5], dtype=int64)')})",
        f"Genotype ({fields(PLAIN, FOUR)})",
        f"Genotype\n(\n{fields(PLAIN, FOUR)}\n)\n".replace(", ", ",\r\n    "),
        f"genotypes.Genotype({fields(PLAIN, FOUR)}),",
        f"03/02 10:11:12 AM genotype = Genotype({fields(PLAIN, FOUR)})\n03/02 10:11:13 AM epoch 1",
        f"Here it is (it's good):\n```python\nBEST = Genotype({fields(PLAIN, FOUR)})\n```\nThanks!",
        f"Genotype({fields(PLAIN.replace(chr(39), '’'), FOUR)})".replace(", ", ",\u00a0"),
        f"Genotype({fields(PLAIN, 'range(2, 6)')})().x; import os",
        " " * 200_000 + f"Genotype({fields(PLAIN, FOUR)})",
        json.dumps(
            {
                "normal": [["sep_conv_3x3", n % 2] for n in range(8)],
                "normal_concat": [2, 3, 4, 5],
                "reduce": [["sep_conv_3x3", n % 2] for n in range(8)],
                "reduce_concat": [2, 3, 4, 5],
            }
        ),
    ],
)
def test_what_people_paste(pasted: str) -> None:
    found = Genotype.from_text(pasted)
    assert found == Genotype.from_darts(f"Genotype({fields(PLAIN, FOUR)})")


def test_the_last_genotype_of_a_log_counts(caplog: pytest.LogCaptureFixture) -> None:
    first, last = (text(normal=PAIR.replace("skip_connect", n)) for n in ("none", "max_pool_3x3"))
    found = Genotype.from_darts(f"stage 1 genotype = {first}\nstage 2 genotype = {last}\nGenotype(")
    assert found == Genotype.from_darts(last)
    assert "2 genotypes" in caplog.text
    with pytest.raises(SpaceError, match=r"2 genotypes .*\(V1, V2\)"):
        Genotype.from_darts(f"V1 = {first}\nV2 = {last}\nDARTS = V2\n")


@given(
    found=genotypes(st.just(2)),
    before=st.text(st.characters(exclude_characters="G"), max_size=40),
    after=st.text(st.characters(exclude_characters="G"), max_size=40),
    line_end=st.sampled_from(["", "\n", "\r\n"]),
    number=st.sampled_from(["{}", "np.int64({})", "tensor({}, device='cuda:0')"]),
)
def test_what_stands_around_a_genotype_does_not_matter(
    found: Genotype, before: str, after: str, line_end: str, number: str
) -> None:
    def pairs(cell: Cell) -> str:
        parts = [f"({c.operation!r}, {number.format(c.source)})" for node in cell for c in node]
        return f"[{f', {line_end}'.join(parts)}]"

    concat = f"[{', '.join(number.format(n) for n in range(2, 2 + found.space.nodes))}]"
    pasted = (
        f"{before} Genotype{line_end}({line_end}normal={pairs(found.normal)}, "
        f"normal_concat={concat}, "
        f"reduce={pairs(found.reduction)},{line_end} reduce_concat={concat}){after}"
    )
    assert Genotype.from_darts(pasted, found.space) == found


def test_a_text_file_of_windows(tmp_path: Path) -> None:
    (tmp_path / "cell.txt").write_bytes(b"\xef\xbb\xbf" + DARTS_V2.replace(" ", "\r\n").encode())
    assert Genotype.load(tmp_path / "cell.txt") == Genotype.from_darts(DARTS_V2)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_a_name_that_no_file_has(name: str) -> None:
    with pytest.raises(SpaceError, match="cannot read the genotype") as caught:
        Genotype.load(name)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("bad", "what", "expected"),
    [
        (text(normal="[('skip_connect', 0)]"), "lists 1 connections", "pairs"),
        (text(normal="[]"), "normal cell has 0 nodes", 1),
        (text(normal="[('skip_connect', 0), ('skip_connect', 0)]"), "sources [0, 0]", "once"),
        (text(normal="[('skip_connect', 0), ('skip_connect', 2)]"), "source 2", "0 to 1"),
        (text(normal="[('skip_connect', 0), ('skip_connect', -1)]"), "source -1", "0 to 1"),
        (text(normal="[('conv', 0), ('skip_connect', 1)]"), "operation 'conv'", "sep_conv_3x3"),
        (text(normal="[('skip_connect', 0), ('skip_connect', True)]"), ("holds", "True"), _PAIRS),
        (text(normal="[('skip_connect', 0), ('skip_connect', 1.0)]"), ("holds", "1.0"), _PAIRS),
        (text(normal="[('skip_connect', 0, 1), ('skip_connect', 1)]"), ("holds", "0, 1"), _PAIRS),
        (text(normal="[" * 150 + "]" * 150), "holds [[[[[[[...]]]]]]]", _PAIRS),
        (text(normal=f"['{'a' * 90_000}', 1]"), f"holds '{'a' * 12}...{'a' * 13}'", _PAIRS),
        (text(normal="[0, 1]"), "holds 0", _PAIRS),
    ],
)
def test_cells_that_do_not_hold_together(bad: str, what: object, expected: object) -> None:
    with pytest.raises(SpaceError) as caught:
        Genotype.from_darts(bad)
    assert_fields(caught.value, what=what, expected=expected)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("bad", "found", "expected"),
    [
        (text(concat="[2, 3]"), [2, 3], [2]),
        (text(normal=f"{PAIR[:-1]}, {PAIR[1:]}"), [2], [2, 3]),
    ],
)
def test_the_concatenation_leaves_no_node_out(
    bad: str, found: list[int], expected: list[int]
) -> None:
    with pytest.raises(SpaceError) as caught:
        Genotype.from_darts(bad)
    assert_fields(caught.value, what="normal_concat", found=found, expected=expected)


def test_more_nodes_than_any_space_has() -> None:
    many = "[" + "('skip_connect', 0), ('skip_connect', 1), " * 200 + "]"
    with pytest.raises(SpaceError, match=r"200 nodes; .* 64"):
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
    ("data", "fields"),
    [
        (None, {"what": "genotype in JSON", "found": "NoneType"}),
        ([], {"what": "genotype in JSON", "found": "list"}),
        ({}, {"what": "genotype in JSON", "found": []}),
        (data_of(format=2), {"what": "has format 2", "hint": ("reads 1", "`git pull")}),
        (data_of(space={"nodes": 1}), {"what": "search space in JSON", "found": {"nodes": 1}}),
        (data_of(normal=None), {"what": "normal cell in JSON", "found": None}),
        (data_of(normal=[None]), {"what": "normal cell in JSON", "found": [None]}),
        (data_of(normal=[[["skip_connect"]]]), {"what": "holds ['skip_connect']"}),
        (data_of(normal=[[["skip_connect", "0"]]]), {"what": "'0']", "expected": _PAIRS}),
        (data_of(normal=[[]]), {"what": "sources []", "expected": "at least one"}),
        (data_of(normal=[[["skip_connect", 1], ["skip_connect", 0]]]), {"what": "sources [1, 0]"}),
        (data_of(reduction=[]), {"what": "reduction cell has 0 nodes", "expected": 1}),
    ],
)
def test_no_genotype_in_json(data: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(SpaceError) as caught:
        Genotype.from_json(data)
    assert_fields(caught.value, **fields)


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
        (b"{", r"cell\.json: .* not valid JSON"),
        (b"\xff\xfe", r"cell\.json is not .*UTF-8"),
        (b'{"a":' * 100_000, r"cell\.json: .* not valid JSON"),
        (b"[]", "not a DARTS genotype"),
        (b"{}", "the genotype in JSON"),
    ],
)
def test_files_that_hold_no_genotype(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "cell.json"
    path.write_bytes(content)
    with pytest.raises(SpaceError, match=message):
        Genotype.load(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"cell\.json: No such file"):
        Genotype.load(tmp_path / "cell.json")
