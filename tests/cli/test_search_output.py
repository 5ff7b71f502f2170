"""Output of a search."""

from pathlib import Path

import pytest

from tests.sdk.reports.samples import make_genotype
from wsdarts_hub.cli.searches import show_genotype

ROW = {
    **dict.fromkeys(("weights_loss", "weights_accuracy", "alpha_loss", "alpha_accuracy"), 1.0),
    **dict.fromkeys(("learning_rate", "skip_dropout", "seconds"), 1.0),
    **dict.fromkeys(("peak_memory", "needed_memory"), None),
}


def row(epoch: int, normal: int) -> dict[str, object]:
    counts = {"skip_connects": normal, "skip_connects_reduction": 0}
    return {**ROW, "stage": 2, "epoch": epoch, **counts}


def test_a_collapse_is_said_with_its_moment(capsys: pytest.CaptureFixture[str]) -> None:
    lazy = make_genotype("skip_connect", "skip_connect", "skip_connect", "sep_conv_3x3")
    show_genotype(lazy, Path("run"), rows=[row(0, 2), row(1, 3)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3] == "drawing: run/cells.svg"
    # Journals count stages and epochs from 0, people from 1.
    assert lines[-2].startswith("warning: The normal cell")
    for value in ("3 of its 4", "epoch 2 of stage 3", "--set search.stages."):
        assert value in lines[-2]
    assert lines[-1].startswith("warning: The reduction cell")


def test_nothing_is_said_of_a_search_that_has_not_collapsed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_genotype(make_genotype(*["sep_conv_3x3"] * 4), Path("run"), rows=[row(0, 3), row(1, 2)])
    assert "warning" not in capsys.readouterr().out
