"""The picture of a confusion matrix: all in its place, whatever the number of classes."""

import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from tests.sdk.models.evaluated import make_evaluation
from wsdarts_sdk.reports._charts import confusion_svg


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
