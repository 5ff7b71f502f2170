"""Galleries of more tasks than a table of distances holds, and than a page or a file does."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from tests.gallery.conftest import Browser
from tests.gallery.test_pages import set_value
from tests.registry.factories import make_artifact, make_embedding
from wsdarts_registry.embedding.distance import symmetric_distance
from wsdarts_registry.gallery import _distances as distances
from wsdarts_registry.gallery import _pages as pages
from wsdarts_registry.gallery import _scripts as scripts
from wsdarts_registry.gallery._distances import RankedSpace
from wsdarts_registry.gallery._pages import Collection, read_collection
from wsdarts_registry.gallery.site import build_gallery
from wsdarts_registry.stores.directory import DirectoryStore

COUNT, CARDS, ROWS, MAPPED = 44, 10, 20, 12
SHOWN = "[...document.querySelectorAll('#cards > li')].map((card) => card.dataset.r)"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> DirectoryStore:
    """A registry of as many artifacts."""
    root = tmp_path_factory.mktemp("many")
    store = DirectoryStore(root / "zoo", create=True)
    for number in range(COUNT):
        make_artifact(root / f"{number}", f"task-{number}", weights=False)
        store.publish(root / f"{number}", f"artifact-{number}")
    return store


@pytest.fixture(scope="module")
def many(
    store: DirectoryStore, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, RankedSpace]:
    """The address of its gallery, and its embedding space."""
    (space,) = read_collection(store, lambda *_: None).spaces
    out = tmp_path_factory.mktemp("whole") / "site"
    return build_gallery(store, out=out).parent.as_uri(), space


@pytest.fixture(scope="module")
def divided(
    store: DirectoryStore, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Collection]:
    """A gallery of it whose pages, files and map hold less than that, and its collection."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "CARDS_A_PAGE", CARDS)
        patch.setattr(pages, "_MOST_OPTIONS", CARDS)
        patch.setattr(pages, "ROWS_A_SHARD", ROWS)
        patch.setattr(scripts, "ROWS_A_SHARD", ROWS)
        patch.setattr(scripts, "_SHARD_VALUES", 7 * 15)
        patch.setattr(distances, "MOST_MAPPED", MAPPED)
        collection = read_collection(store, lambda *_: None)
        out = tmp_path_factory.mktemp("divided") / "site"
        return build_gallery(store, out=out).parent, collection


def shown(browser: Browser) -> list[str]:
    """The references of the cards of the page."""
    return list(browser.driver.execute_script(f"return {SHOWN}"))


def test_a_page_begins_with_its_own_cards(
    browser: Browser, divided: tuple[Path, Collection]
) -> None:
    site, collection = divided
    browser.open(f"{site.as_uri()}/index.html")
    browser.until("document.querySelectorAll('[name=compare]').length === 10")
    assert shown(browser) == [item.reference for item in collection.listed[:CARDS]]
    assert browser.find("#count").text == f"{COUNT} artifacts"
    assert browser.find("#pager").is_displayed()
    assert not browser.find("#more").is_displayed()
    assert [url for url in browser.requests() if "/data/" in url or "card.js" in url] == []
    assert len(browser.all(".map.wide a")) == MAPPED
    assert f"{MAPPED} of {COUNT} tasks" in browser.find("figcaption").text


def test_filters_and_orders_reach_every_artifact(
    browser: Browser, divided: tuple[Path, Collection]
) -> None:
    site, collection = divided
    browser.open(f"{site.as_uri()}/index.html")
    browser.until("document.querySelectorAll('[name=compare]').length === 10")
    set_value(browser, "#words", "task-4")
    browser.until("document.getElementById('count').textContent.startsWith('5 of 44')")
    assert shown(browser) == [
        item.reference for item in collection.listed if item.entry.name.startswith("artifact-4")
    ]
    assert not browser.find("#pager").is_displayed()
    assert not browser.find("#more").is_displayed()
    asked = [url for url in browser.requests() if "/data/" in url]
    assert len(asked) == -(-COUNT // ROWS)
    browser.click("[name=compare]")

    browser.click("#filters button[type=reset]")
    browser.until("document.getElementById('count').textContent === '44 artifacts'")
    set_value(browser, "#order", "-images")
    expected = sorted(collection.listed, key=lambda item: -item.images)
    references = [item.reference for item in expected]
    browser.until(f"{SHOWN}[0] === arguments[0]", references[0])
    assert shown(browser) == references[:CARDS]
    for more in range(2, 6):
        browser.click("#more")
        browser.until(f"{SHOWN}.length === arguments[0]", min(COUNT, more * CARDS))
    assert shown(browser) == references
    assert not browser.find("#more").is_displayed()
    # What was chosen stays so, whether its card is shown or not.
    assert "artifact-4@1" in browser.find("#chosen").text
    assert browser.find("[value='artifact-4@1']").is_selected()

    set_value(browser, "#words", "nothing of the kind")
    browser.until("!document.getElementById('none').hidden")
    assert shown(browser) == []
    assert "artifact-4@1" in browser.find("#chosen").text


def test_pages_lead_to_all_without_scripts(
    browser: Browser, divided: tuple[Path, Collection]
) -> None:
    site, collection = divided
    browser.scripts(allowed=False)
    browser.open(f"{site.as_uri()}/index.html")
    found = [card.get_attribute("data-r") for card in browser.all("#cards > li")]
    while links := browser.driver.find_elements("link text", "Next"):
        browser.open(links[0].get_attribute("href"))
        found += [card.get_attribute("data-r") for card in browser.all("#cards > li")]
        assert browser.find("nav a[aria-current]").text == "Artifacts"
    assert found == [item.reference for item in collection.listed]
    browser.open(browser.all("#cards h3 a")[-1].get_attribute("href"))
    assert browser.find("h1").text.startswith(collection.listed[-1].entry.name)


def test_a_file_is_ranked_in_parts(browser: Browser, divided: tuple[Path, Collection]) -> None:
    site, collection = divided
    (space,) = collection.spaces
    query = make_embedding("mine")
    browser.open(f"{site.as_uri()}/nearest.html")
    browser.until("!document.getElementById('query').hidden")
    found = browser.run(
        "const told = []; const tell = (part, all) => told.push([part, all]);"
        "const bytes = Uint8Array.from(given[0]);"
        "const { neighbours } = await wsdarts.ranking.rank(bytes, 'mine', tell);"
        "return [told, neighbours.map((n) => [n.reference, n.distance])]",
        list(query.to_bytes()),
    )
    assert found[0] == [[0, 3], [1, 3], [2, 3]]
    exact = symmetric_distance(query.values, space.rows.astype(np.float64))
    expected = sorted(zip(exact.tolist(), (m.reference for m in space.members), strict=True))
    assert [reference for reference, _ in found[1]] == [reference for _, reference in expected]
    np.testing.assert_allclose([d for _, d in found[1]], [d for d, _ in expected], atol=1e-9)


def test_a_comparison_of_what_is_not_on_the_map(
    browser: Browser, divided: tuple[Path, Collection]
) -> None:
    site, collection = divided
    (space,) = collection.spaces
    others = [member for member in space.members if member not in space.mapped][:2]
    browser.open(f"{site.as_uri()}/compare.html#{others[0].reference}")
    browser.until("document.querySelectorAll('#side thead th').length === 1")
    browser.find("#add").send_keys(others[1].reference)
    browser.click("#adding button")
    browser.until("document.querySelectorAll('#side thead th').length === 2")
    rows = {r.find_element("css selector", "th").text: r for r in browser.all("#side tbody tr")}
    (row,) = [row for name, row in rows.items() if name.startswith("distance from")]
    one, two = (space.rows[space.places[member]].astype(np.float64) for member in others)
    expected = symmetric_distance(one, two[None])[0]
    assert float(row.text.split()[-1]) == pytest.approx(expected, abs=1e-4)


def test_the_heat_map_is_painted_and_read(browser: Browser, many: tuple[str, RankedSpace]) -> None:
    root, space = many
    browser.open(f"{root}/distances.html")
    browser.until(f"document.querySelector('canvas').width === {COUNT}")
    pixels = browser.run(
        "const canvas = document.querySelector('canvas');"
        "return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]"
    )
    reds = [pixels[4 * i] for i in range(COUNT * COUNT)]
    largest = float(space.distances.max())
    ordered = [(space.order[i], space.order[j]) for i in range(COUNT) for j in range(COUNT)]
    near, far = 0x14, 0xFF
    for red, (a, b) in zip(reds, ordered, strict=True):
        expected = near + (far - near) * float(space.distances[a, b]) / largest
        assert red == pytest.approx(expected, abs=1.01)

    from selenium.webdriver.common.keys import Keys  # noqa: PLC0415

    canvas = browser.find("canvas")
    for key in (Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_LEFT, Keys.ARROW_UP):
        canvas.send_keys(key)
    first, second = space.order[1], space.order[0]
    names = [space.members[i].reference for i in (first, second)]
    expected_text = f"{names[0]} and {names[1]}: {space.distances[first, second]:.4f}"
    assert browser.find(".readout").text == expected_text


def test_a_large_map_is_no_hurdle_for_the_keyboard(
    browser: Browser, many: tuple[str, RankedSpace]
) -> None:
    browser.open(f"{many[0]}/index.html")
    browser.until("!document.getElementById('filters').hidden")
    assert len(browser.all(".map a")) == COUNT
    assert browser.all(".map a:not([tabindex='-1'])") == []


def test_neighbours_stand_side_by_side(many: tuple[str, RankedSpace]) -> None:
    space = many[1]
    assert sorted(space.order) == list(range(COUNT))
    beside = sum(space.distances[a, b] for a, b in itertools.pairwise(space.order))
    by_name = sum(space.distances[a, a + 1] for a in range(COUNT - 1))
    assert beside < 0.75 * by_name


def test_a_fifth_one_is_left_out(browser: Browser, many: tuple[str, RankedSpace]) -> None:
    wanted = ",".join(f"artifact-{number}@1" for number in range(5))
    browser.open(f"{many[0]}/compare.html#{wanted}")
    browser.until("document.querySelectorAll('#side thead th').length === 4")
    assert browser.find("#problem").text.startswith("5 were asked for")
    assert not browser.find("#adding button").is_enabled()
