"""The evaluation in the report of a training and on its own page."""

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.sdk.models.evaluated import make_baseline, make_evaluation
from tests.sdk.reports.samples import Page, make_report
from tests.sdk.reports.test_report_hostile import HOSTILE
from wsdarts_registry._text import sanitize
from wsdarts_sdk.reports._page import render_report
from wsdarts_sdk.reports.evaluation_page import confusion_svg, images_text, render_evaluation
from wsdarts_sdk.reports.facts import TrainingFacts
from wsdarts_sdk.reports.report_files import ReportFile

TRAINED = replace(
    make_report(),
    training=TrainingFacts(accuracy=0.75, parameters=30, seconds=2.0),
    evaluation=make_evaluation(),
    baseline=make_baseline(),
)


def rects(classes: int) -> list[ET.Element]:
    root = ET.fromstring(str(confusion_svg(make_evaluation(classes))))  # noqa: S314 - our own
    return [each for each in root.iter() if each.tag.endswith("rect")]


@pytest.mark.parametrize("classes", [2, 10, 16, 17, 102, 1000])
def test_a_matrix_of_any_size_fits_a_telephone(classes: int) -> None:
    ground, *cells = rects(classes)
    assert len(cells) == 2 * classes  # what is 0 is not drawn
    left, side = float(ground.attrib["x"]), float(ground.attrib["width"])
    assert left + side <= 360
    for cell in cells:
        assert left - 0.01 <= float(cell.attrib["x"]) <= left + side
    right = [cell for cell in cells if cell.attrib["class"] == "right"]
    assert len(right) == classes
    # Two of three images are right, so these are darker.
    assert float(right[0].attrib["fill-opacity"]) > float(
        next(c for c in cells if c.attrib["class"] == "wrong").attrib["fill-opacity"]
    )


@pytest.mark.parametrize(("classes", "pitch"), [(17, 15), (102, 15), (1000, 15)])
def test_labels_of_many_classes_do_not_touch(classes: int, pitch: float) -> None:
    svg = str(confusion_svg(make_evaluation(classes)))
    above = [float(x) for x in re.findall(r'<text x="([\d.]+)" y="14"[^>]*>', svg)]
    assert len(above) >= 5
    assert min(b - a for a, b in pairwise(above)) >= pitch


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
