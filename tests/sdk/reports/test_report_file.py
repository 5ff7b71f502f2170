"""``report.json``: what a page says, kept so that newer code can write the page anew."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.sdk.reports.samples import SPACE, make_asked, make_report
from tests.sdk.reports.test_report_hostile import HOSTILE, make_hostile
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.errors import RunError
from wsdarts_sdk.reports.facts import AlphaHistory, RunReport
from wsdarts_sdk.reports.page import render_report
from wsdarts_sdk.reports.report_files import keep_report, read_report, save_report
from wsdarts_sdk.runs.directory import RunDirectory


def kept(report: RunReport, path: Path) -> RunReport:
    keep_report(RunDirectory(path), report)
    return read_report(path / "report.json")


def test_the_page_can_be_written_anew(tmp_path: Path) -> None:
    report = replace(make_report(), asked=make_asked())
    page = save_report(RunDirectory(tmp_path), report)
    again = read_report(tmp_path / "report.json")
    assert render_report(again) == page.read_text(encoding="utf-8") == render_report(report)
    assert again.alpha is not None
    assert report.alpha is not None
    for kind in CELL_KINDS:
        np.testing.assert_array_equal(again.alpha.cell(kind), report.alpha.cell(kind))
    assert replace(again, alpha=None) == replace(report, alpha=None)


def test_a_bare_report_and_one_without_epochs(tmp_path: Path) -> None:
    bare = RunReport(title="Training on digits", summary="Trained.", created="today")
    assert kept(bare, tmp_path) == bare
    none = np.zeros((0, *SPACE.shape))
    begun = replace(bare, alpha=AlphaHistory(space=SPACE, normal=none, reduction=none))
    found = kept(begun, tmp_path).alpha
    assert found is not None
    assert (found.space, found.normal.shape) == (SPACE, (0, 5, 4))


def test_a_small_share_is_not_rounded_to_a_dropped_operation(tmp_path: Path) -> None:
    shares = np.full((4, *SPACE.shape), 0.25)
    shares[:, 0] = [0.99999, 0.00001, 0, 0]
    history = AlphaHistory(space=SPACE, normal=shares, reduction=shares)
    found = kept(replace(make_report(), alpha=history), tmp_path).alpha
    assert found is not None
    assert found.normal[0, 0].tolist() == [1.0, 0.0001, 0.0, 0.0]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_kept_as_it_is_shown(text: str, tmp_path: Path) -> None:
    report = make_hostile(text)
    page = render_report(kept(report, tmp_path))
    assert page == render_report(report)
    assert len((tmp_path / "report.json").read_bytes()) < 100_000
    assert b"\x1b" not in (tmp_path / "report.json").read_bytes()


def changed(path: Path, **changes: Any) -> Path:
    """A valid ``report.json`` of which some fields are replaced."""
    keep_report(RunDirectory(path), make_report())
    file = path / "report.json"
    file.write_text(json.dumps(json.loads(file.read_bytes()) | changes))
    return file


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": 2}, "has format 2;"),
        ({"format": None}, "has no format version"),
        ({"more": 1}, "more: Extra inputs"),
        ({"title": "y" * 1001}, "title: String should have"),
        ({"costs": [{"phase": "search", "seconds": -1.0}]}, "costs.0.seconds: "),
        ({"epochs": [{"stage": 1}]}, "epochs.0.epoch: Field required"),
        ({"genotype": {"format": 1}}, "genotype in JSON"),
        ({"epochs": []}, "α history is 4; expected 0"),
        ({"tasks": None}, "tasks: Input should be"),
    ],
)
def test_what_is_not_a_report_is_one_line(
    changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(RunError) as caught:
        read_report(changed(tmp_path, **changes))
    assert says in str(caught.value)
    assert "report.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_alpha_of_ragged_rows_is_one_line(tmp_path: Path) -> None:
    keep_report(RunDirectory(tmp_path), make_report())
    data = json.loads((tmp_path / "report.json").read_bytes())
    data["alpha"]["normal"][0][0].pop()
    with pytest.raises(RunError, match="rows of different lengths"):
        read_report(changed(tmp_path, alpha=data["alpha"]))


def test_transposed_alpha_is_not_read_as_something_else(tmp_path: Path) -> None:
    keep_report(RunDirectory(tmp_path), make_report())
    data = json.loads((tmp_path / "report.json").read_bytes())
    turned = [
        [list(column) for column in zip(*epoch, strict=True)] for epoch in data["alpha"]["normal"]
    ]
    assert np.shape(turned) != np.shape(data["alpha"]["normal"])  # so that it would be noticed
    with pytest.raises(RunError, match="history of the normal cell"):
        read_report(changed(tmp_path, alpha=data["alpha"] | {"normal": turned}))


@pytest.mark.parametrize("content", [b"{", b'{"format": 1, "format": 1}', b'{"format": NaN}'])
def test_what_is_no_json_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_bytes(content)
    with pytest.raises(RunError, match="is not valid JSON"):
        read_report(tmp_path / "report.json")
