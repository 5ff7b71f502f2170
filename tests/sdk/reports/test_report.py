"""The report of a run: complete in itself, honest, and inert."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.sdk.models.evaluated import make_baseline
from tests.sdk.reports.samples import SPACE, Page, make_epoch, make_genotype, make_report
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_registry.errors import RunError
from wsdarts_sdk.reports.facts import AlphaHistory, ColdCost, DecisionFacts, RunReport
from wsdarts_sdk.reports.page import collapses, render_report
from wsdarts_sdk.runs.records import PhaseCost

GOLDEN = Path(__file__).parents[2] / "golden"


def test_golden_report(golden: Callable[[Path, str], None]) -> None:
    golden(GOLDEN / "report.html", render_report(make_report()))


def test_page_is_well_formed_and_has_unique_ids() -> None:
    page = Page(render_report(make_report()))
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"] for tag, a in page.tags if tag == "a"]
    assert links
    assert all(link is not None and link.startswith("#") for link in links)
    assert {str(link)[1:] for link in links} <= set(ids)
    labels = [a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a]
    assert all(name in ids for label in labels for name in str(label).split())


def test_page_asks_for_nothing_from_outside() -> None:
    page = render_report(make_report())
    found = Page(page)
    assert {tag for tag, _ in found.tags}.isdisjoint(
        {"script", "link", "img", "iframe", "object", "embed", "form", "base", "image", "use"}
    )
    names = {name for _, attributes in found.tags for name in attributes}
    assert not any(name.startswith("on") for name in names)
    assert names.isdisjoint({"src", "srcset", "action", "data", "xlink:href"})
    assert "url(" not in page
    assert "@import" not in page
    policies = [a["content"] for _, a in found.tags if "http-equiv" in a]
    assert [str(policy).split("; ") for policy in policies] == [
        [
            *("default-src 'none'", "style-src 'unsafe-inline'", "img-src data:"),
            *("base-uri 'none'", "form-action 'none'"),
        ]
    ]
    # The only addresses are names of XML languages.
    assert set(re.findall(r"https?://[^\s\"'<]+", page)) == {"http://www.w3.org/2000/svg"}


def test_page_says_what_happened_in_words() -> None:
    words = Page(render_report(make_report())).words
    for sentence in (
        (
            "Started in mode trained from flowers@2. The reason: the nearest artifact is near; its "
            "weights fit."
        ),
        "A task counts as near up to a distance of 0.2000, the measured threshold.",
        "The nearest one is near. Embeddings: shipped-1a2b3c4d.",
        (
            "Skip-connects: 1 in the normal cell (the refinement leaves at most 2), 1 in the "
            "reduction cell."
        ),
        "no search and no selection has seen: 71.3 %. The network has 412,330 parameters",
        "This run took 30 s (its search alone 20 s): 66.7 % less than a cold search (its search",
        "Where the cold search's figure is from: measured in this run, with the same preset.",
        (
            "At the end the strongest operation of an edge has 50.0 % on average; even shares "
            "would give it 33.3 %."
        ),
    ):
        assert sentence in words


def test_skip_connects_without_a_limit() -> None:
    settings = (("skip_connects", "none"),)
    words = Page(render_report(replace(make_report(), skip_limit=None, settings=settings))).words
    assert "there was no refinement" in words
    older = replace(make_report(), skip_limit=None, settings=())  # what does not say
    assert "1 in the normal cell, 1" in Page(render_report(older)).words


def test_a_dearer_run_is_not_called_cheaper() -> None:
    cold = ColdCost(phases=(PhaseCost(phase="search", seconds=20.0),), origin="recorded.")
    words = Page(render_report(replace(make_report(), cold=cold))).words
    assert "50.0 % more than a" in words


@pytest.mark.parametrize(("near", "said"), [(False, ["None of these"]), (None, [])])
def test_nearness_is_said_only_where_it_is_known(near: bool | None, said: list[str]) -> None:
    decision = make_report().decision
    assert decision is not None
    threshold = None if near is None else 0.05
    found = Page(
        render_report(
            replace(make_report(), decision=replace(decision, near=near, threshold=threshold))
        )
    ).words
    assert re.findall(r"\. ([^.]+) is near\. Embeddings", found) == said
    assert ("No threshold was measured" in found) == (near is None)


def test_cold_search_without_a_registry() -> None:
    why = "a cold search was asked for"
    decision = DecisionFacts(mode="cold", sources=(), why=why)
    words = Page(render_report(replace(make_report(), decision=decision))).words
    assert f"Started cold. The reason: {why}." in words
    assert "threshold" not in words


def test_collapse_to_skip_connects_is_said_with_its_moment() -> None:
    skips = ["skip_connect"] * 3
    report = replace(make_report(), genotype=make_genotype(*skips, "sep_conv_3x3"))
    # Epochs (1, 2) and (2, 2) moved α; of four operations three are more than half.
    counts = (4, 2, 4, 3)
    rows = tuple(
        replace(row, skip_connects=n) for row, n in zip(report.epochs, counts, strict=True)
    )
    words = Page(render_report(replace(report, epochs=rows))).words
    normal, reduction = collapses(replace(report, epochs=rows))
    assert "3 of its 4 operations" in str(normal)
    assert "epoch 2 of stage 2" in str(normal)
    assert "3 of its 4 operations." in str(reduction)
    assert str(normal) in words
    assert str(reduction) in words
    # Half of them is not more than half.
    half = replace(
        make_report(), genotype=make_genotype(*skips[:2], "sep_conv_3x3", "sep_conv_3x3")
    )
    assert "collapsed" not in Page(render_report(half)).words


def verdict_of(page: str) -> dict[str, str]:
    """Return figure and words of each part of the first tile, by its title."""
    (block,) = re.findall(r'<dl class="panel verdict">(.*?)</dl>', page, re.DOTALL)
    found = re.findall(r"<dt>(.*?)</dt><dd><b>(.*?)</b> (.*?)</dd>", block)
    return {title: f"{value}: {words}" for title, value, words in found}


def test_the_first_tile_is_what_was_found_against_what_at_what_cost() -> None:
    trained = replace(make_report(), decision=None, baseline=make_baseline(-0.028, -0.047, -0.012))
    found = verdict_of(render_report(trained))
    assert list(found) == ["Found", "Baseline", "Cost"]
    assert found["Found"].startswith("71.3 %: of the validation third right")
    assert "2.8 points more" in found["Baseline"]
    assert found["Cost"] == "30 s: by the clock, 66.7 % less than a cold search (1 min 30 s)"
    page = render_report(trained)
    assert page.index("verdict") < page.index('class="figures"')


def test_the_verdict_on_a_search_is_that_on_its_last_training() -> None:
    training = replace(make_report(), baseline=make_baseline(0.02, -0.01, 0.05))
    search = replace(make_report(), training=None)
    alone = verdict_of(render_report(search))
    assert alone["Found"].startswith("40.0 %: of the images that α learned from")
    assert alone["Baseline"].startswith("–")
    facts = training.training
    assert facts is not None
    older = replace(training, created="2025", training=replace(facts, accuracy=0.9))
    found = verdict_of(render_report(search, [training, older]))
    assert found["Found"].startswith("71.3 %")
    assert "last of 2" in found["Found"]
    assert "2.0 points fewer, which may be chance" in found["Baseline"]
    assert found["Cost"].endswith("and 30 s for its training")


def test_an_unfinished_run_says_so_first() -> None:
    words = Page(render_report(replace(make_report(), unfinished="It was stopped."))).words
    assert words.index("has not finished. It was stopped.") < words.index("The cells")


def test_what_is_missing_is_left_out() -> None:
    bare = RunReport(title="Training on digits", summary="Trained.", created="today")
    page = Page(render_report(bare))
    assert page.open == []
    assert "h2" in {tag for tag, _ in page.tags}
    assert not {"svg", "figure", "dl"} & {tag for tag, _ in page.tags}


def test_alpha_of_another_length_or_shape_is_refused() -> None:
    short = np.zeros((3, *SPACE.shape))
    with pytest.raises(RunError) as caught:
        replace(make_report(), alpha=AlphaHistory(space=SPACE, normal=short, reduction=short))
    assert (caught.value.found, caught.value.expected[:2]) == ("3", "4,")
    with pytest.raises(RunError, match="reduction cell") as caught:
        AlphaHistory(space=SPACE, normal=short, reduction=np.zeros((4, 5)))
    assert (caught.value.found, caught.value.expected[:10]) == ("(4, 5)", "(epochs, 5")


def test_the_papers_size_stays_a_small_file() -> None:
    space = SearchSpace()
    shares = np.random.default_rng(0).dirichlet(np.ones(8), size=(75, 14))
    rows = tuple(make_epoch(stage, epoch) for stage in (1, 2, 3) for epoch in range(1, 26))
    report = replace(
        make_report(),
        epochs=rows,
        alpha=AlphaHistory(space=space, normal=shares, reduction=shares),
        masks=OperationMasks.full(space),
    )
    page = render_report(report)
    assert len(page.encode()) < 500_000
    assert page.count('class="stack"') == 28
