"""Candidates of a choice against their sizes."""

import re
import xml.etree.ElementTree as ET

import pytest
from pydantic import ValidationError

from tests.registry.factories import make_genotype
from wsdarts_sdk.reports._charts import best_for_size, trade_off_chart
from wsdarts_sdk.reports.rows import candidate_rows
from wsdarts_sdk.runs.result_records import Candidate, GenotypeChoice


def candidate(parameters: int, *accuracies: float) -> Candidate:
    return Candidate(
        genotype=make_genotype().to_json(),
        log_probability=-1.0,
        parameters=parameters,
        multiply_adds=10 * parameters,
        accuracies=accuracies,
        losses=tuple(1 - accuracy for accuracy in accuracies),
    )


def choice(*candidates: Candidate, chosen: int | None = 0) -> GenotypeChoice:
    return GenotypeChoice(
        candidates=candidates,
        chosen=chosen,
        own=True,
        steps=(3, 6),
        judged_on="α half",
        images=20,
        image_size=8,
        limits={},
    )


SMALL, MIDDLE, LARGE, WORSE = (
    candidate(1000, 0.2),
    candidate(2000, 0.5, 0.6),
    candidate(4000, 0.4, 0.7),
    candidate(2000, 0.1),
)


def test_the_best_for_their_size() -> None:
    assert best_for_size([LARGE, WORSE, MIDDLE, SMALL]) == (SMALL, MIDDLE)
    equal = candidate(1000, 0.2, 0.3)
    assert len(best_for_size([SMALL, equal])) == 1


def test_rows() -> None:
    rows = candidate_rows(choice(SMALL, MIDDLE, LARGE, WORSE, chosen=2))
    assert [row.name for row in rows] == ["3", "2", "1 (α)", "4"]
    assert rows[0].accuracies == ("40.0 %", "70.0 %")
    assert rows[2].accuracies == ("20.0 %", "–")
    assert [row.chosen for row in rows] == [True, False, False, False]


def test_chart() -> None:
    picture = trade_off_chart(choice(SMALL, MIDDLE, LARGE, WORSE, chosen=2))
    assert picture is not None
    tree = ET.fromstring(picture)  # noqa: S314 - written by the code under test
    circles = [each.attrib for each in tree.iter("circle")]
    assert len(circles) == 4
    # Larger is further right, and better is higher; the chosen one is the large dot.
    assert float(circles[0]["cx"]) < float(circles[1]["cx"]) < float(circles[2]["cx"])
    assert float(circles[1]["cy"]) < float(circles[2]["cy"]) < float(circles[3]["cy"])
    assert max(circles, key=lambda each: float(each["r"])) is circles[2]
    assert all(0 <= float(number) <= 360 for number in re.findall(r'c[xy]="([^"]+)"', picture))


def test_what_does_not_hold_together() -> None:
    for spoilt in (7, 0):  # no candidate, and one that was struck out
        with pytest.raises(ValidationError):
            choice(SMALL, MIDDLE, chosen=spoilt)


def test_no_chart_of_what_was_not_trained() -> None:
    assert trade_off_chart(choice(candidate(1000), chosen=None)) is None


def test_an_unfinished_choice() -> None:
    begun = choice(SMALL, candidate(5), chosen=None)
    assert "not ended" in begun.summary
    assert GenotypeChoice.model_validate_json(begun.model_dump_json()) == begun
