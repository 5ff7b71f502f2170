"""Reports of runs in Chromium: accessible, on light and dark ground, and on narrow screens."""

from importlib.resources import files
from pathlib import Path

import pytest

from tests.gallery.conftest import Browser
from tests.sdk.models.evaluated import make_evaluation
from tests.sdk.reports.compared import make_runs
from wsdarts_sdk.reports.page import render_evaluation, render_report
from wsdarts_sdk.reports.report import render_comparison


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Addresses of a comparison and of a report."""
    runs, folder = make_runs(), tmp_path_factory.mktemp("reports")
    written = {
        "comparison": render_comparison(runs),
        "report": render_report(runs[1].report),
        "evaluation": render_evaluation(make_evaluation(102, "a class of a long name"), "net"),
        "few": render_evaluation(make_evaluation(10), "net"),
    }
    for name, text in written.items():
        Path(folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: (folder / f"{name}.html").as_uri() for name in written}


@pytest.mark.parametrize(
    ("page", "scheme"),
    [
        ("comparison", "light"),
        ("comparison", "dark"),
        ("report", "light"),
        ("evaluation", "dark"),
        ("few", "light"),
    ],
)
def test_axe_finds_nothing(browser: Browser, pages: dict[str, str], page: str, scheme: str) -> None:
    pytest.importorskip("axe_core_python", reason="the script axe-core is not installed")
    browser.prefer(prefers_color_scheme=scheme)
    browser.open(pages[page])
    browser.run("document.querySelectorAll('details').forEach(d => { d.open = true })")
    browser.driver.execute_script(files("axe_core_python").joinpath("axe.min.js").read_text())
    found = browser.run(
        "return (await axe.run()).violations.map(v => [v.id, v.nodes.map(n => n.html)])"
    )
    assert found == []


@pytest.mark.parametrize("page", ["comparison", "report", "evaluation", "few"])
def test_a_narrow_screen_does_not_scroll_sideways(
    browser: Browser, pages: dict[str, str], page: str
) -> None:
    browser.resize(360, 780)
    browser.open(pages[page])
    assert browser.run("return document.documentElement.scrollWidth") <= 360
