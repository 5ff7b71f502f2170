"""Small runs to compare."""

from dataclasses import replace
from typing import Any

from tests.sdk.reports.samples import make_asked, make_genotype, make_report
from wsdarts_sdk.reports.comparison import ComparedRun
from wsdarts_sdk.reports.facts import RunReport
from wsdarts_sdk.runs.records import PhaseCost

LAZY = ("skip_connect", "skip_connect", "skip_connect", "sep_conv_3x3")
OTHER = ("skip_connect", "sep_conv_3x3", "sep_conv_3x3", "max_pool_3x3")


def make_warm(**changes: Any) -> RunReport:
    """A finished warm start."""
    return replace(make_report(), cold=None, training=None, asked=make_asked(), **changes)


def make_cold(**changes: Any) -> RunReport:
    """A finished cold search of the same task, preset and hardware."""
    report = replace(
        make_report(),
        title="Transfer Architecture Search on digits",
        cold=None,
        training=None,
        decision=None,
        asked=make_asked(command="search"),
        genotype=make_genotype(*OTHER),
        costs=(
            PhaseCost(phase="embedding", seconds=10.0),
            PhaseCost(phase="search", seconds=110.0),
        ),
    )
    return replace(report, **changes)


def make_training(**changes: Any) -> RunReport:
    """A finished training of what the warm start found."""
    report = replace(
        make_report(),
        title="Training on digits",
        cold=None,
        decision=None,
        epochs=(),
        alpha=None,
        masks=None,
        asked=make_asked(command="train"),
        costs=(PhaseCost(phase="training", seconds=31.0),),
    )
    return replace(report, **changes)


def make_runs() -> tuple[ComparedRun, ...]:
    """A cold search, a warm start with its training, one by another seed, one that was killed."""
    killed = make_warm(
        unfinished="It was stopped.",
        genotype=None,
        epochs=make_report().epochs[:3],
        alpha=None,
        costs=(PhaseCost(phase="search", seconds=6.0),),
    )
    return (
        ComparedRun(letter="A", name="cold", report=make_cold()),
        ComparedRun(
            letter="B", name="warm", report=make_warm(), trainings=(("training", make_training()),)
        ),
        ComparedRun(
            letter="C",
            name="warm-2",
            report=replace(make_warm(), genotype=make_genotype(*LAZY), asked=make_asked(seed=1)),
        ),
        ComparedRun(letter="D", name="killed", report=killed),
    )
