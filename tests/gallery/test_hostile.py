"""Artifacts whose every text is hostile, in the gallery and in a notebook, in Chromium."""

from importlib.resources import files
from pathlib import Path

import pytest

from tests.gallery.conftest import Browser, serve
from tests.gallery.test_pages import set_value
from tests.registry.factories import make_artifact
from tests.registry.hostile import LINE, make_hostile
from wsdarts_registry.artifact.difference import difference
from wsdarts_registry.gallery import _pages as pages
from wsdarts_registry.gallery.site import build_gallery
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.lineage import lineage
from wsdarts_registry.stores.opening import open_registry
from wsdarts_registry.stores.records import Yank, shipped_zoo

# Pictures that are none of ours, links that act, and handlers; a script would have been refused
# aloud, and an alert have stopped the driver.
ACTING = (
    "return [...document.images].map(i => i.src)"
    ".filter(src => !src.startsWith('data:image/svg+xml') && !src.startsWith(given[0]))"
    ".concat([...document.links].map(a => a.href).filter(h => h.startsWith('javascript:')),"
    "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())"
    ".filter(name => name.startsWith('on')))"
)
BAD = "\u202e\u2066\u200f\u200b\x1b"


@pytest.fixture(scope="module")
def hostile_zoo(tmp_path_factory: pytest.TempPathFactory) -> DirectoryStore:
    """Two of them, one yanked for a hostile reason, and a good one."""
    root = tmp_path_factory.mktemp("hostile")
    store = DirectoryStore(root / "zoo", create=True)
    store.publish(make_hostile(root / "one"), "one")
    store.publish(make_hostile(root / "two", "other"), "two")
    store.publish(make_hostile(root / "three", "third"), "three")
    yank = Yank(reason=LINE, when="2026-01-02T03:04:05Z")
    store.write_yank("three", 1, lambda _: yank)
    make_artifact(root / "good", "flowers")
    store.publish(root / "good", "good")
    return store


def assert_inert(browser: Browser, root: str, width: int) -> None:
    """Nothing acts, nothing loads but our pictures, and nothing is wider than the page."""
    assert browser.run(ACTING, root) == []
    text = browser.find("body").get_attribute("textContent")
    assert not set(BAD) & set(text)
    assert "y" * 1001 not in text
    assert browser.run("return document.documentElement.scrollWidth") <= width


def test_the_gallery(browser: Browser, hostile_zoo: DirectoryStore, tmp_path: Path) -> None:
    site = build_gallery(hostile_zoo, out=tmp_path / "site").parent
    names = (
        "index.html",
        "nearest.html",
        "distances.html",
        "compare.html#one@1,two@1,good@1",
        "artifacts/one/v1.html",
        "artifacts/three/v1.html",
    )
    for root, width in ((site.as_uri(), 360), (serve(site), 1280)):
        browser.resize(width)
        for page in names:
            browser.open(f"{root}/{page}")
            browser.until("document.readyState === 'complete'")
            if page.startswith("compare"):
                browser.until("document.querySelectorAll('#side thead th').length === 3")
            if page.startswith("artifacts"):
                browser.run("document.querySelectorAll('details').forEach(d => { d.open = true })")
            assert_inert(browser, root, width)
            if page not in ("nearest.html", "distances.html"):
                assert "<script>alert(1)</script>" in browser.find("main").text, page


def test_a_list_in_parts(
    browser: Browser, hostile_zoo: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "CARDS_A_PAGE", 1)
    root = build_gallery(hostile_zoo, out=tmp_path / "site").parent.as_uri()
    browser.resize(360)
    browser.open(f"{root}/list/2.html")
    assert_inert(browser, root, 360)
    browser.open(f"{root}/index.html")
    browser.until("document.querySelectorAll('[name=compare]').length === 1")
    set_value(browser, "#order", "-date")
    browser.until("!document.getElementById('more').hidden")
    browser.click("#more")
    browser.click("#more")
    browser.until("document.querySelectorAll('#cards > li').length === 3")
    assert_inert(browser, root, 360)
    assert "<script>alert(1)</script>" in browser.find("#cards").text


BODIES = {
    "light": '<body data-jp-theme-light="true" style="margin:8px;background:#fff">',
    "dark": '<body data-jp-theme-light="false" style="margin:8px;background:#111">',
}


@pytest.mark.parametrize("theme", BODIES)
def test_views_in_a_notebook(
    browser: Browser, hostile_zoo: DirectoryStore, theme: str, tmp_path: Path
) -> None:
    evil, other = hostile_zoo.pull("one"), hostile_zoo.pull("two")
    good = open_registry(shipped_zoo()).pull("dtd-10@2")
    shown = (
        evil,
        evil.genotype,
        evil.masks,
        hostile_zoo.nearest(evil.embeddings[0], 5),
        lineage("three@1", registry=hostile_zoo),
        difference(evil, other),
        good,
        good,  # twice, as in a notebook that is worked with
    )
    views = "".join(each._repr_html_() for each in shown)
    page = tmp_path / "page.html"
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>x</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"></head>'
    )
    page.write_text(f"{head}{BODIES[theme]}<main><h1>A notebook</h1>{views}</main></body></html>")
    # The notebook's theme decides, whatever the system's.
    browser.prefer(prefers_color_scheme="light" if theme == "dark" else "dark")
    for width in (1280, 360):
        browser.resize(width)
        browser.open(page.as_uri())
        browser.run("document.querySelectorAll('details').forEach(d => { d.open = true })")
        assert_inert(browser, "data:", width)
    drawn = "return [...document.images].every(i => i.naturalWidth > 100 && i.alt.length > 50)"
    assert browser.run(f"await Promise.all([...document.images].map(i => i.decode())); {drawn}")
    ground, ink = browser.run(
        "const style = getComputedStyle(document.querySelector('.wsd-view'));"
        "return [style.backgroundColor, style.color]"
    )
    expected = ("rgb(255, 255, 255)", "rgb(27, 34, 44)")
    assert (ground, ink) == (
        expected if theme == "light" else ("rgb(20, 24, 31)", "rgb(232, 237, 244)")
    )
    # Nothing of the view's style reaches what stands beside it.
    assert browser.run("return getComputedStyle(document.querySelector('h1')).color") == (
        "rgb(0, 0, 0)"
    )
    pytest.importorskip("axe_core_python", reason="the script axe-core is not installed")
    browser.driver.execute_script(files("axe_core_python").joinpath("axe.min.js").read_text())
    found = browser.run(
        "return (await axe.run({exclude: ['h1']})).violations"
        ".map(v => [v.id, v.nodes.map(n => n.html)])"
    )
    assert found == []
