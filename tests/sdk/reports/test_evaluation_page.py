"""The evaluation in the report of a training and on its own page."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.sdk.models.evaluated import make_baseline, make_evaluation
from tests.sdk.reports.samples import Page, make_report
from tests.sdk.reports.test_report_hostile import HOSTILE
from wsdarts_registry._text import sanitize
from wsdarts_sdk.reports.facts import TrainingFacts
from wsdarts_sdk.reports.page import images_text, render_evaluation, render_report
from wsdarts_sdk.reports.report_files import ReportFile

TRAINED = replace(
    make_report(),
    training=TrainingFacts(accuracy=0.75, parameters=30, seconds=2.0),
    evaluation=make_evaluation(),
    baseline=make_baseline(),
)


def test_the_report_shows_evaluation_and_baseline() -> None:
    page = Page(render_report(TRAINED))
    assert TRAINED.baseline is not None
    assert page.words.count(TRAINED.baseline.verdict) == 2  # as a warning, and beside the figures
    assert "photos/cat/1.jpg" in page.words
    assert "data:image/jpeg;base64,AAAA" in render_report(TRAINED)
    worse = replace(TRAINED, baseline=make_baseline(0.2, 0.1, 0.3))
    assert worse.baseline is not None
    assert Page(render_report(worse)).words.count(worse.baseline.verdict) == 1


def test_it_is_read_back_from_the_file_of_the_report() -> None:
    kept = ReportFile.of(TRAINED, what="x").to_bytes()
    found = ReportFile.from_bytes(kept, what="x").report(what="x")
    assert (found.evaluation, found.baseline) == (TRAINED.evaluation, TRAINED.baseline)


def test_reports_of_earlier_versions_have_none() -> None:
    data = ReportFile.of(make_report(), what="x").model_dump(mode="json")
    del data["evaluation"], data["baseline"]
    assert ReportFile.model_validate_json(json.dumps(data)).evaluation is None


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names(text: str) -> None:
    name = sanitize(text, 200)  # as every evaluation has them
    found = make_evaluation(3, name=name)
    mistakes = tuple(each.model_copy(update={"image": name}) for each in found.mistakes)
    page = render_evaluation(found.model_copy(update={"mistakes": mistakes}), text)
    assert "<script" not in page
    assert "onerror=" not in re.sub(r'"[^"]*"|>[^<]*<', "", page)


def test_images_are_named() -> None:
    whole = make_evaluation().model_copy(update={"part": "all"})
    assert images_text(whole) != images_text(make_evaluation())
    assert "6 images" in Page(render_evaluation(whole, str(Path("net")))).words
