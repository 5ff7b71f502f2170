"""Runs beside each other: what is comparable, what agrees, and how far seeds spread."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.sdk.models.evaluated import make_baseline
from tests.sdk.reports.compared import LAZY, OTHER, make_cold, make_runs, make_training, make_warm
from tests.sdk.reports.samples import Page, make_asked, make_genotype, make_report
from tests.sdk.reports.test_report_hostile import HOSTILE, make_hostile
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_sdk.reports.comparison import (
    ComparedRun,
    agreement,
    cost_comparisons,
    edge_rows,
    figures,
    seed_groups,
    with_cells,
)
from wsdarts_sdk.reports.facts import RunReport
from wsdarts_sdk.reports.report import (
    Report,
    curve_tables,
    overlaid_charts,
    render_comparison,
    run_warnings,
    tone_of_run,
)
from wsdarts_sdk.runs.records import PhaseCost

GOLDEN = Path(__file__).parents[2] / "golden"


def runs_of(*reports: RunReport) -> tuple[ComparedRun, ...]:
    return tuple(
        ComparedRun(letter=letter, name=f"run-{letter}", report=report)
        for letter, report in zip("ABCDEFGHIJKL", reports, strict=False)
    )


def test_golden_comparison(golden: Callable[[Path, str], None]) -> None:
    golden(GOLDEN / "comparison.html", render_comparison(make_runs()))


def test_page_is_well_formed_inert_and_complete_in_itself() -> None:
    page = render_comparison(make_runs())
    found = Page(page)
    assert found.open == []
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"] for tag, a in found.tags if tag == "a"]
    assert {str(link)[1:] for link in links} <= set(ids)
    assert {tag for tag, _ in found.tags}.isdisjoint({"script", "link", "img", "iframe", "form"})
    assert "url(" not in page
    policies = [a["content"] for _, a in found.tags if "http-equiv" in a]
    assert len(policies) == 1
    assert str(policies[0]).startswith("default-src 'none'; style-src 'unsafe-inline'; ")


def test_what_the_page_says() -> None:
    words = Page(render_comparison(make_runs())).words
    for sentence in (
        "4 runs compared All on the same task: digits.",
        "D has not finished. It was stopped.",
        "C: The normal cell has collapsed to skip-connects: 3 of its 4 operations. Raise",
        "B, C differ in the seed alone (0, 1).",
        # 10 + 20 of 10 + 110 seconds: 30 / 120 leaves 75 %; of the search alone it would be 81.8 %.
        (
            "B took 30 s (its search alone 20 s), the cold search A 2 min 00 s (its search alone "
            "1 min 50 s): 75.0 % less. Task, preset and hardware are the same."
        ),
        "Accuracy and size of a search are those of its training.",
        "D found no cells yet.",
    ):
        assert sentence in words


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hardware": "H200"}, r"hardware \(.*EPYC, 2 threads; H200\)"),
        ({"preset": "small"}, r"presets .*\(tiny and small\)"),
        ({"settings": "sha256:0"}, "tiny, .*other settings"),
    ],
)
def test_costs_that_are_not_comparable_say_why(changes: dict[str, str], says: str) -> None:
    cold = make_cold(asked=make_asked(command="search", **changes))
    (found,) = cost_comparisons(runs_of(make_warm(), cold))
    assert (found.run, found.cold) == ("A", "B")
    assert found.why_not is not None
    assert re.search(says, found.why_not)
    assert found.why_not in found.sentence
    assert "%" not in found.sentence


def test_costs_are_compared_only_where_there_is_something_to_compare() -> None:
    other = make_cold(tasks=(replace(make_report().tasks[0], digest="sha256:other"),))
    assert cost_comparisons(runs_of(make_warm(), other)) == ()
    assert cost_comparisons(runs_of(make_warm(), make_cold(unfinished="stopped"))) == ()
    assert cost_comparisons(runs_of(make_cold(), make_cold())) == ()
    assert cost_comparisons(runs_of(make_training(), make_cold())) == ()
    # A warm start of mode cold is a cold search.
    decision = make_report().decision
    assert decision is not None
    cold = make_warm(decision=replace(decision, mode="cold", sources=()))
    assert [each.cold for each in cost_comparisons(runs_of(make_warm(), cold))] == ["B"]


def test_a_dearer_start_is_called_dearer() -> None:
    dear = make_warm(costs=(PhaseCost(phase="search", seconds=150.0),))
    (found,) = cost_comparisons(runs_of(dear, make_cold()))
    assert "25.0 % more" in found.sentence


def test_mean_and_spread_over_seeds_by_hand() -> None:
    def trained(seed: int, accuracy: float) -> RunReport:
        training = make_report().training
        assert training is not None
        return make_training(
            asked=make_asked(command="train", seed=seed),
            training=replace(training, accuracy=accuracy),
        )

    runs = runs_of(trained(1, 0.5), trained(2, 0.6), make_cold(), trained(3, 0.7))
    (group,) = seed_groups(runs)
    assert (group.runs, group.seeds) == (("A", "B", "D"), (1, 2, 3))
    accuracy = next(spread for spread in group.spreads if spread.figure == "accuracy")
    assert accuracy.mean == pytest.approx(0.6)
    # sqrt((0.01 + 0 + 0.01) / 2) = 0.1; with n in the denominator it would be 0.0816.
    assert accuracy.deviation == pytest.approx(0.1)
    assert (accuracy.smallest, accuracy.largest) == (0.5, 0.7)


@pytest.mark.parametrize(
    "other",
    [
        make_warm(),  # the same seed
        replace(make_warm(), asked=make_asked(seed=1, hardware="H200")),
        replace(make_warm(), asked=make_asked(seed=1, settings="sha256:0")),
        replace(make_warm(), asked=make_asked(seed=1), unfinished="It was stopped."),
        replace(make_warm(), asked=make_asked(seed=1), decision=None),
        replace(make_warm(), asked=make_asked(seed=1), tasks=()),
        replace(make_warm(), asked=None),
    ],
)
def test_runs_that_differ_in_more_than_the_seed_are_no_group(other: RunReport) -> None:
    assert seed_groups(runs_of(make_warm(), other)) == ()


def test_trainings_of_different_cells_are_no_group() -> None:
    other = make_training(asked=make_asked(command="train", seed=1), genotype=make_genotype(*OTHER))
    assert seed_groups(runs_of(make_training(), other)) == ()


def test_a_figure_that_one_of_them_lacks_has_no_mean() -> None:
    runs = (
        *runs_of(make_warm()),
        ComparedRun(
            letter="B",
            name="b",
            report=replace(make_warm(), asked=make_asked(seed=1)),
            trainings=(("training", make_training()),),
        ),
    )
    (group,) = seed_groups(runs)
    assert "accuracy" not in {spread.figure for spread in group.spreads}
    assert "seconds" in {spread.figure for spread in group.spreads}


@pytest.mark.parametrize(
    ("changes", "alike"),
    [({"seed": 7}, True), ({"preset": "paper"}, False), ({"settings": "sha256:0"}, False)],
)
def test_accuracies_of_searches_that_were_not_trained_alike_have_no_mean(
    changes: dict[str, Any], alike: bool
) -> None:
    first, second = runs_of(make_warm(), replace(make_warm(), asked=make_asked(seed=1)))
    trained = make_training(asked=make_asked(command="train"))
    other = make_training(asked=make_asked(command="train", **changes))
    runs = (
        replace(first, trainings=(("training", trained),)),
        replace(second, trainings=(("training", other),)),
    )
    (group,) = seed_groups(runs)
    found = {spread.figure for spread in group.spreads}
    assert "alpha_accuracy" in found
    assert found & {"accuracy", "parameters"} == ({"accuracy", "parameters"} if alike else set())


def test_of_runs_with_one_seed_the_first_counts() -> None:
    runs = runs_of(*(replace(make_warm(), asked=make_asked(seed=s)) for s in (1, 2, 1, 3)))
    (group,) = seed_groups(runs)
    assert (group.runs, group.seeds) == (("A", "B", "D"), (1, 2, 3))


def test_figures_of_a_search_and_of_a_training() -> None:
    warm = make_runs()[1]
    found = figures(warm)
    assert found["accuracy"] == 0.7134  # of the training in its directory
    assert found["weights_loss"] == 1.0  # 2 / 2, of the last epoch
    assert found["seconds"] == 30.0
    assert "train_loss" not in found
    ((name, training),) = warm.trainings
    beside = replace(warm, trainings=((name, replace(training, baseline=make_baseline())),))
    assert figures(beside)["baseline_accuracy"] == 1.0
    assert figures(beside)["baseline_parameters"] == 1000
    assert [warning.partition(":")[0] for warning in run_warnings(beside)] == ["B"]
    page = Page(render_comparison((beside, make_runs()[0]))).words
    assert f"Baseline of B: {make_baseline().name}." in page
    assert Report(runs=(beside,)).to_json()["runs"][0]["baseline"] == make_baseline().to_json()
    twice = replace(warm, trainings=warm.trainings * 2)
    assert "accuracy" not in figures(twice)
    words = Page(render_comparison((twice, make_runs()[0]))).words
    assert "training 71.3 %, training 71.3 %." in words
    (trained,) = runs_of(make_training())
    assert figures(trained)["train_accuracy"] == pytest.approx(0.9)  # 0.3 · 3


def test_edges_that_agree_by_hand() -> None:
    # Nodes take inputs 0 and 1: edges (0, 2), (1, 2), (0, 3), (1, 3).
    first = make_warm(genotype=make_genotype("a", "b", "c", "d", space=ABCD))
    second = make_warm(genotype=make_genotype("a", "c", "c", "a", space=ABCD))
    rows = edge_rows(runs_of(first, second), "normal")
    assert [(row.source, row.target, row.same, row.shared) for row in rows] == [
        (0, 2, True, True),
        (1, 2, False, True),
        (0, 3, True, True),
        (1, 3, False, True),
    ]
    assert re.findall(r"\d edges|\d", agreement(rows)) == ["4 edges", "2", "2"]


def test_an_edge_that_one_does_not_use() -> None:
    cell = make_genotype("a", "b", "c", "d", space=ABCD)
    moved = replace(cell.normal[1][1], source=2)  # the second node takes the first instead
    other = replace(cell, normal=(cell.normal[0], (cell.normal[1][0], moved)))
    rows = edge_rows(runs_of(make_warm(genotype=cell), make_warm(genotype=other)), "normal")
    assert [(row.source, row.target, row.operations) for row in rows][-2:] == [
        (1, 3, ("d", None)),
        (2, 3, (None, "d")),
    ]
    assert [row.shared for row in rows] == [True, True, True, False, False]


def test_cells_of_other_spaces_are_not_compared() -> None:
    other = make_warm(genotype=make_genotype("a", "b", "c", "d", space=ABCD))
    assert with_cells(runs_of(make_warm(), other)) == ()
    assert with_cells(runs_of(make_warm())) == ()
    assert 'id="cells"' not in render_comparison(runs_of(make_warm(), other))


def test_equal_cells_are_drawn_once() -> None:
    page = render_comparison(runs_of(make_warm(), make_warm(), make_cold()))
    assert page.count("<figcaption><span") == 4  # of two kinds two different cells each
    assert page.count('class="wsd"') == 4


def test_curves_of_runs_of_different_length() -> None:
    runs = runs_of(make_warm(), make_warm(epochs=make_report().epochs[:2], alpha=None))
    titles = [title for title, _ in overlaid_charts(runs)]
    assert titles[:2] == ["Loss, weights half", "Loss, α half"]
    assert not [title for title in titles if "reduction" in title]  # nobody counted them
    loss = dict(overlaid_charts(runs))["Loss, weights half"]
    assert 'class="line t0"' in loss
    assert 'class="line t1"' in loss
    # Two stages of two epochs: the line begins anew in the third.
    assert [d.split('"')[0].count("M") for d in loss.split('<path d="')[1:] if "line t" in d] == [
        2,
        1,
    ]
    table = curve_tables(runs)[0]
    assert table.rows == (("2", "2"), ("1", "1"), ("2", "–"), ("1", "–"))


def test_every_run_has_a_line_of_its_own() -> None:
    assert len({tone_of_run(place) for place in range(12)}) == 12


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_inert(text: str) -> None:
    def page(words: str) -> str:
        report = replace(make_hostile(words), asked=make_asked(hardware=words, preset=words))
        (run, other) = runs_of(report, report)
        return render_comparison((replace(run, name=words), other))

    found, expected = Page(page(text)), Page(page("plain"))
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in expected.tags]
    assert [sorted(a) for _, a in found.tags] == [sorted(a) for _, a in expected.tags]
    assert "y" * 1001 not in page(text)
    page(text).encode()


def test_a_lazy_run_is_marked() -> None:
    runs = runs_of(make_warm(genotype=make_genotype(*LAZY)), make_cold())
    assert "normal cell has collapsed" in Page(render_comparison(runs)).words


ABCD = SearchSpace(nodes=2, candidates=("a", "b", "c", "d"))
