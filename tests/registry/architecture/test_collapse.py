"""The rule of a collapse, each case counted by hand."""

import pytest

from wsdarts_registry.architecture.genotype import Connection, Genotype
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_registry.architecture.search_verdicts import SkipCounts, find_collapses


def genotype(normal: int, reduction: int) -> Genotype:
    """DARTS' four nodes with two inputs each; of the 8 operations the first are skip-connects."""

    def cell(skips: int) -> tuple[tuple[Connection, ...], ...]:
        names = ["skip_connect"] * skips + ["sep_conv_3x3"] * (8 - skips)
        return tuple(
            tuple(Connection(source=s, operation=names[2 * node + s]) for s in (0, 1))
            for node in range(4)
        )

    return Genotype(space=SearchSpace(), normal=cell(normal), reduction=cell(reduction))


def history(*counts: tuple[int, int, int | None, int | None]) -> list[SkipCounts]:
    return [SkipCounts(stage=s, epoch=e, normal=n, reduction=r) for s, e, n, r in counts]


@pytest.mark.parametrize("skips", [0, 2, 4])
def test_up_to_half_is_no_collapse(skips: int) -> None:
    # 4 of 8 is half and not more; a rule with "at least half" would warn.
    assert find_collapses(genotype(skips, skips), history((1, 1, skips, skips))) == ()


def test_more_than_half_is_a_collapse_without_any_history() -> None:
    (found,) = find_collapses(genotype(5, 0))
    assert (found.kind, found.skips, found.chosen, found.stage) == ("normal", 5, 8, None)
    assert "since" not in found.what


def test_since_is_the_start_of_the_last_unbroken_run() -> None:
    counts = history(
        (1, 2, 7, 0),  # collapsed, and recovered
        (2, 2, 4, 0),
        (2, 3, 5, 0),  # from here on to the end, across a stage
        (3, 2, 6, 0),
        (3, 3, 5, 0),
    )
    (found,) = find_collapses(genotype(5, 0), counts)
    # The first collapsed epoch of all would be (1, 2), the first of the last stage (3, 2).
    assert (found.stage, found.epoch) == (2, 3)
    assert found.what.endswith("since epoch 3 of stage 2.")


def test_epochs_in_which_alpha_had_not_moved_do_not_break_the_run() -> None:
    counts = history((1, 4, 5, 5), (2, 1, None, None), (2, 2, 6, 6))
    found = find_collapses(genotype(6, 6), counts)
    assert [(each.kind, each.stage, each.epoch) for each in found] == [
        ("normal", 1, 4),
        ("reduction", 1, 4),
    ]


def test_a_cell_that_the_refinement_saved_is_a_collapse_of_the_search() -> None:
    (found,) = find_collapses(genotype(2, 0), history((1, 1, 4, 0), (1, 2, 6, 0)))
    assert (found.preferred, found.skips, found.stage, found.epoch) == (6, 2, 1, 2)
    for words in ("6 of the 8", "epoch 2 of stage 1", "left 2"):
        assert words in found.what
    # Recovered by the end: 4 of 8 before the refinement is none.
    assert find_collapses(genotype(2, 0), history((1, 1, 6, 0), (1, 2, 4, 0))) == ()


def test_the_reduction_cell_has_counts_and_a_remedy_of_its_own() -> None:
    (found,) = find_collapses(genotype(0, 7), history((1, 1, 8, 4), (1, 2, 0, 7)))
    assert (found.kind, found.stage, found.epoch) == ("reduction", 1, 2)
    assert "7 of its 8" in str(found)
    # The refinement takes skip-connects from the normal cell alone.
    assert "skip_connects=2" not in found.remedy
    (normal,) = find_collapses(genotype(5, 0))
    assert "--set search.skip_connects=2" in normal.remedy


def test_as_json() -> None:
    (found,) = find_collapses(genotype(5, 0), history((3, 2, 5, 0)))
    data = found.to_json()
    assert data["since"] == {"stage": 3, "epoch": 2}
    assert (data["cell"], data["skip_connects"], data["operations"]) == ("normal", 5, 8)
    assert find_collapses(genotype(5, 0))[0].to_json()["since"] is None
