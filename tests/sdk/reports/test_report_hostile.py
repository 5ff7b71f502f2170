"""Text from outside cannot act in the report of a run."""

import re
from dataclasses import replace

import numpy as np
import pytest

from tests.sdk.reports.samples import Page, make_report
from wsdarts_registry.architecture.genotype import Connection, Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_sdk.reports.facts import AlphaHistory, ColdCost, RunReport, Table
from wsdarts_sdk.reports.page import render_report
from wsdarts_sdk.runs.records import NeighbourRow, PhaseCost

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "\" onload='alert(1)' style=\"x",
    "</style></title></svg>]]><!--",
    "{{ 7 * 7 }}{% include 'artifact_card.md.j2' %}",
    "\x1b[31m\u202e\x00\ud800",
    "y" * 10_000,
)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_inert(text: str) -> None:
    report, plain = make_hostile(text), make_hostile("plain")
    page, expected = render_report(report), Page(render_report(plain))
    found = Page(page)
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in expected.tags]
    assert [sorted(a) for _, a in found.tags] == [sorted(a) for _, a in expected.tags]
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\ud800-\udfff]", page)
    assert "y" * 1001 not in page
    page.encode()


def make_hostile(text: str) -> RunReport:
    """A report with one text in every field that takes text from outside."""
    report = make_report()
    assert report.decision is not None
    assert report.cold is not None
    assert report.training is not None
    return replace(
        report,
        title=text,
        summary=text,
        created=text,
        decision=replace(
            report.decision,
            mode=text,
            sources=(text,),
            why=text,
            probe=text,
            neighbours=(NeighbourRow(reference=text, distance=0.1, task=text, chosen=True),),
        ),
        tasks=(replace(report.tasks[0], name=text, digest=text),),
        costs=(PhaseCost(phase=text, seconds=1.0),),
        cold=ColdCost(phases=(PhaseCost(phase=text, seconds=1.0),), origin=text),
        warnings=(text,),
        training=replace(report.training, note=text),
        tables=(Table(title=text, header=(text,), rows=((text,),), note=text),),
        settings=((text, text),),
        environment=((text, text),),
    )


def test_hostile_operation_names_are_inert() -> None:
    space = SearchSpace(nodes=1, candidates=HOSTILE)
    cell = ((Connection(source=0, operation=HOSTILE[0]),),)
    shares = np.full((4, *space.shape), 1 / len(HOSTILE))
    report = replace(
        make_report(),
        genotype=Genotype(space=space, normal=cell, reduction=cell),
        masks=OperationMasks.full(space),
        alpha=AlphaHistory(space=space, normal=shares, reduction=shares),
    )
    page = render_report(report)
    assert "<script" not in page
    assert "<img" not in page
    assert Page(page).open == []
