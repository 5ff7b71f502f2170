"""The site in Chromium: nothing asked of other machines, no complaints, readable by everyone."""

from importlib.resources import files
from pathlib import Path

import pytest

from tests.gallery.conftest import Browser

# The theme gives every button that copies a block a navigation of its own, without a name, and
# names the menu of a section as it does what holds it.
_OF_THE_THEME = {("landmark-unique", "md-code__nav"), ("landmark-unique", 'data-md-level="1"')}
_PAGES = (
    *("index.html", "start.html", "cli.html", "gallery.html", "trust.html"),
    *("decisions/index.html", "reference/index.html", "reference/registries.html"),
    *("guides/publish.html", "concepts/stages.html"),
)
# With the longest lines of code, and the tables of a notebook.
_WIDE = (
    *("start.html", "notebooks/warm-start.html", "contributing.html", "format.html"),
    *("guides/other-trainers.html", "guides/your-own-dataset.html", "guides/publish.html"),
)


@pytest.mark.parametrize("page", _PAGES)
def test_a_page_opens_from_the_disk_on_a_narrow_screen(
    browser: Browser, site: Path, page: str
) -> None:
    browser.resize(360, 780)
    browser.open((site / page).as_uri())
    browser.until("document.readyState === 'complete'")
    assert browser.find("h1").is_displayed()
    assert browser.run("return [...document.images].every(i => i.naturalWidth)")
    assert browser.run("return document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("page", _WIDE)
def test_no_code_is_cut_on_a_wide_screen(browser: Browser, site: Path, page: str) -> None:
    browser.resize(1440, 900)
    browser.open((site / page).as_uri())
    browser.until("document.readyState === 'complete'")
    scrolled = "document.querySelectorAll('pre > code, .notebook-output .scroll')"
    cut = f"[...{scrolled}].filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerText)"
    assert browser.run(f"return {cut}") == []


def test_the_search_finds_from_the_disk(browser: Browser, site: Path) -> None:
    browser.open((site / "index.html").as_uri())
    browser.until("document.readyState === 'complete'")
    browser.find(".md-search__input").click()
    browser.driver.switch_to.active_element.send_keys("yank")
    links = "[...document.querySelectorAll('.md-search-result__link')].map(a => a.href)"
    assert browser.until(f"{links}.some(href => href.includes('cli.html'))")


@pytest.mark.parametrize("page", _PAGES)
def test_axe_finds_nothing(browser: Browser, site: Path, page: str) -> None:
    pytest.importorskip("axe_core_python", reason="the script axe-core is not installed")
    browser.prefer(prefers_color_scheme="light")
    browser.open((site / page).as_uri())
    browser.until("document.readyState === 'complete'")
    browser.driver.execute_script(files("axe_core_python").joinpath("axe.min.js").read_text())
    assert _violations(browser, "") == []
    browser.prefer(prefers_color_scheme="dark")
    browser.until("document.body.dataset.mdColorScheme === 'slate'")
    assert _violations(browser, "{runOnly: ['color-contrast']}") == []


def _violations(browser: Browser, options: str) -> list[list[str]]:
    """Return axe's findings that are not the theme's: rule and element."""
    found: list[list[str]] = browser.run(
        f"return (await axe.run({options})).violations"
        ".flatMap(v => v.nodes.map(n => [v.id, n.html]))"
    )
    return [v for v in found if not any(v[0] == r and kind in v[1] for r, kind in _OF_THE_THEME)]
