"""The gallery clicked through in Chromium, from a disk and from a server."""

import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from tests.gallery.conftest import Browser
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.artifact.reader import Artifact
from wsdarts_registry.embedding.distance import symmetric_distance
from wsdarts_registry.stores.opening import open_registry
from wsdarts_registry.stores.records import shipped_zoo

PAGES = (
    "index.html",
    "nearest.html",
    "compare.html#flowers102@3,cifar10-1000@3,dtd-10@2",
    "distances.html",
    "artifacts/meta-flowers-birds-textures/v2.html",
)
CARDS = "[...document.querySelectorAll('#cards > li')]"
VISIBLE = f"{CARDS}.filter(c => !c.hidden).map(c => c.dataset.r)"
BOXES = "[...document.querySelectorAll('[name=compare]')]"
MARKS = "[...document.querySelectorAll('.map.wide a:not(.out)')].map(a => a.dataset.r)"


def matching(fits: Callable[[Artifact], bool]) -> list[str]:
    """Return the artifacts of the zoo that fit, by name."""
    zoo = open_registry(shipped_zoo())
    names = [str(entry.reference) for entry in zoo.entries()]
    return [name for name in sorted(names) if fits(zoo.pull(name))]


def uses(artifact: Artifact, operation: str) -> bool:
    """Return whether a cell of an artifact has an operation."""
    nodes = [node for kind in CELL_KINDS for node in artifact.genotype.cell(kind)]
    return any(each.operation == operation for node in nodes for each in node)


def set_value(browser: Browser, selector: str, value: str) -> None:
    browser.run(
        "const field = document.querySelector(given[0]); field.value = given[1];"
        "field.dispatchEvent(new Event('input', {bubbles: true}))",
        selector,
        value,
    )


def visible(browser: Browser) -> list[str]:
    return list(browser.driver.execute_script(f"return {VISIBLE}"))


def test_every_page_is_reached_by_its_links(browser: Browser, root: str) -> None:
    browser.open(f"{root}/index.html")
    for name in ("Find a start", "Compare", "Distances", "Artifacts"):
        browser.driver.find_element("link text", name).click()
        browser.until("document.readyState === 'complete'")
        assert browser.find("nav a[aria-current]").text == name
    links = [link.get_attribute("href") for link in browser.all("#cards h3 a")]
    assert len(links) == 7
    for link in links:
        browser.open(link)
        assert browser.find("h1").text.startswith(link.split("/")[-2])
        assert browser.run("return [...document.images].every(i => i.naturalWidth)")
        assert len(browser.all(".drawing svg")) == 3


def test_filters(browser: Browser, root: str) -> None:
    browser.open(f"{root}/index.html")
    browser.until("!document.getElementById('filters').hidden")
    set_value(browser, "#order", "name")
    everything = visible(browser)
    assert len(everything) == 7
    longer = matching(lambda one: one.manifest.provenance.seconds >= 60 * 20)
    assert longer
    meta = "meta-flowers-birds-textures@2"
    for selector, value, expected in (
        ("#words", "FLOWERS meta", [meta]),
        ("#kind", "meta", [meta]),
        ("#images-to", "1000", ["bird-groups@2"]),
        ("#classes-from", "141", [meta, "tiny-imagenet-100@3"]),
        ("#minutes-from", "20", longer),
        ("#date-to", "2020-01-01", []),
    ):
        set_value(browser, selector, value)
        assert visible(browser) == expected, selector
        count = browser.find("#count").text
        assert count == f"{len(expected)} of 7 artifacts"
        assert browser.find("#none").is_displayed() is (not expected)
        browser.click("#filters button[type=reset]")
        browser.until(f"{VISIBLE}.length === 7")
        set_value(browser, "#order", "name")
    assert browser.find("#count").text == "7 artifacts"
    assert visible(browser) == everything
    set_value(browser, "#parameters-to", "0.8")  # those that state none are left out
    small = matching(lambda one: one.manifest.metrics.get("final_parameters", 1e9) <= 0.8e6)
    assert visible(browser) == small
    assert 0 < len(small) < 7


def test_the_list_begins_with_how_many_are_above_their_baseline(
    browser: Browser, disk: str
) -> None:
    browser.open(f"{disk}/index.html")
    judged = [len(browser.all(f"#cards .result.{word}")) for word in ("above", "below", "unsure")]
    said = [int(number) for number in re.findall(r"\d+", browser.find(".worth").text)]
    assert said == [sum(judged), *(count for count in judged if count)]


def test_operations_all_have_to_be_used(browser: Browser, root: str) -> None:
    browser.open(f"{root}/index.html")
    browser.until("!document.getElementById('filters').hidden")
    browser.click("#filters summary")
    boxes = {label.text: number for number, label in enumerate(browser.all(".checks label"), 1)}
    browser.click(f".checks label:nth-of-type({boxes['dil_conv_3x3']}) input")
    dilated = visible(browser)
    assert sorted(dilated) == matching(lambda one: uses(one, "dil_conv_3x3"))
    browser.click(f".checks label:nth-of-type({boxes['max_pool_3x3']}) input")
    both = matching(lambda one: uses(one, "dil_conv_3x3") and uses(one, "max_pool_3x3"))
    assert sorted(visible(browser)) == both
    shown = browser.run(f"return {MARKS}")
    assert sorted(shown) == sorted(visible(browser))


def test_order(browser: Browser, root: str) -> None:
    browser.open(f"{root}/index.html")
    browser.until("!document.getElementById('filters').hidden")
    set_value(browser, "#order", "name")
    by_name = visible(browser)
    assert by_name == sorted(by_name)
    set_value(browser, "#order", "images")
    assert visible(browser)[:2] == ["bird-groups@2", "dtd-10@2"]
    set_value(browser, "#order", "-images")
    assert visible(browser)[0] == "tiny-imagenet-100@3"
    set_value(browser, "#order", "-seconds")
    seconds = [
        open_registry(shipped_zoo()).resolve(name).manifest.provenance.seconds
        for name in visible(browser)
    ]
    assert seconds == sorted(seconds, reverse=True)
    set_value(browser, "#order", "name")
    assert visible(browser) == by_name


def test_artifacts_are_chosen_by_boxes_and_compared(browser: Browser, root: str) -> None:
    browser.open(f"{root}/index.html")
    browser.until("document.querySelector('.choice')")
    chosen = visible(browser)[1:4]
    browser.run(f"for (const box of {BOXES}.slice(0, 4)) box.click()")
    assert browser.run(f"return {BOXES}.slice(4).every(b => b.disabled)")
    browser.run(f"{BOXES}[0].click()")
    browser.click("#compare")
    browser.until("document.querySelectorAll('#side thead th').length === 3")
    assert browser.driver.current_url.endswith("#" + ",".join(chosen))
    assert browser.find("#state").text == "3 side by side."
    browser.until("document.querySelectorAll('#side img').length === 9")
    drawn = browser.run(
        "await Promise.all([...document.images].map(i => i.decode()));"
        "return [...document.images].every(i => i.naturalWidth > 100 && i.alt.length > 50)"
    )
    assert drawn
    browser.click("#side thead button")
    browser.until("document.querySelectorAll('#side thead th').length === 2")
    assert browser.driver.current_url.endswith("#" + ",".join(chosen[1:]))
    browser.click("#adding button")
    browser.until("document.querySelectorAll('#side thead th').length === 3")


def test_a_comparison_by_its_address(browser: Browser, root: str) -> None:
    browser.open(f"{root}/compare.html#dtd-10@2,absent..@1,flowers102@3")
    browser.until("document.querySelectorAll('#side thead th').length === 2")
    assert browser.find("#problem").text.startswith("absent..@1 is no reference")
    rows = {r.find_element("css selector", "th").text: r for r in browser.all("#side tbody tr")}
    assert rows["classes"].text.split()[-2:] == ["10", "102"]
    assert rows["preset"].text.split()[-2:] == ["small-zoo", "small-zoo"]
    marked = [name for name, row in rows.items() if row.get_attribute("class") == "differs"]
    assert {"classes", "images"} <= set(marked) < set(rows)
    store = open_registry(shipped_zoo())
    one, two = (store.pull(name) for name in ("dtd-10@2", "flowers102@3"))
    for space in {embedding.space for embedding in one.embeddings}:
        a, b = one.embedding(space).values, two.embedding(space).values
        row = rows[f"distance from dtd-10@2, by {space.probe}"].text
        assert float(row.split()[-1]) == pytest.approx(symmetric_distance(a, b[None])[0], abs=1e-4)
    masks = [[m.array(kind) for kind in CELL_KINDS] for m in (one.masks, two.masks)]
    both, either = (int(how(*masks).sum()) for how in (np.logical_and, np.logical_or))
    row = rows["operations left that it shares with dtd-10@2"].text
    assert row.endswith(f"{100 * both / either:.0f} % ({both} of {either})")


def test_what_can_be_added_to_a_comparison(browser: Browser, disk: str) -> None:
    browser.open(f"{disk}/compare.html")
    listed = [option.get_attribute("value") for option in browser.all("#add > option")]
    assert listed[0] == "aircraft-edges@2"
    yanked = [option.get_attribute("value") for option in browser.all("#add optgroup option")]
    assert "aircraft-edges@1" in yanked
    assert set(listed).isdisjoint(yanked)


def test_what_is_not_there_is_said(browser: Browser, disk: str) -> None:
    browser.open(f"{disk}/compare.html#nothing@1")
    browser.until("!document.getElementById('problem').hidden")
    assert browser.find("#problem").text.endswith("no artifact nothing@1")
    # The one complaint of the gallery that is the browser's own: it says which file is missing.
    assert [c for c in browser.complaints() if "nothing/v1/compared.js" not in c] == []


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, disk: str, page: str, scheme: str) -> None:
    pytest.importorskip("axe_core_python", reason="the script axe-core is not installed")
    browser.prefer(prefers_color_scheme=scheme)
    browser.open(f"{disk}/{page}")
    if page.startswith("compare"):
        browser.until("document.querySelectorAll('#side thead th').length === 3")
    browser.run("document.querySelectorAll('details').forEach(d => { d.open = true })")
    browser.driver.execute_script(files("axe_core_python").joinpath("axe.min.js").read_text())
    found = browser.run(
        "return (await axe.run()).violations.map(v => [v.id, v.nodes.map(n => n.html)])"
    )
    assert found == []


@pytest.mark.parametrize("page", PAGES)
def test_narrow_screens_show_everything_without_scrolling_sideways(
    browser: Browser, disk: str, page: str
) -> None:
    browser.resize(360, 780)
    browser.open(f"{disk}/{page}")
    browser.until("document.readyState === 'complete'")
    assert browser.run("return document.documentElement.scrollWidth") <= 360
    if page.startswith("compare"):  # every artifact of a row is seen
        browser.until("document.querySelectorAll('#side thead th').length === 3")
        cells = browser.all("#side tbody tr:first-child td")
        assert len({cell.rect["y"] for cell in cells}) == 3
        assert all(cell.rect["x"] + cell.rect["width"] <= 360 for cell in cells)
    links = browser.run(
        "const links = [...document.querySelectorAll('.listed a')];"
        "return links.map((link) => link.getBoundingClientRect().right)"
    )
    assert all(right <= 360 for right in links)  # the names of files are broken, not cut
    if page == "distances.html":
        assert not browser.find(".heat").is_displayed()
        assert browser.find(".closest svg").rect["width"] > 200


@pytest.mark.parametrize("page", PAGES)
def test_without_javascript_pages_read(browser: Browser, disk: str, page: str) -> None:
    browser.scripts(allowed=False)
    browser.open(f"{disk}/{page}")
    assert browser.find("h1").is_displayed()
    hidden = browser.all("#filters, .choice, #query, #adding, #tray")
    assert not any(element.is_displayed() for element in hidden)
    if page == "index.html":
        assert all(card.is_displayed() for card in browser.all("#cards h3"))
    if page == "distances.html":
        assert browser.find(".heat td").text == "0.00"


def test_commands_and_references_are_copied(browser: Browser, root: str) -> None:
    browser.open(f"{root}/artifacts/flowers102/v3.html")
    browser.until("document.querySelectorAll('.copy').length === 6")
    copied = browser.run(
        "const got = [];"
        "Object.defineProperty(navigator, 'clipboard', {value: {writeText: (t) => got.push(t)}});"
        "for (const button of document.querySelectorAll('.copy')) button.click();"
        "await new Promise((done) => setTimeout(done, 50)); return got"
    )
    assert copied[0] == "flowers102@3"
    assert copied[1].startswith("wsdarts-hub warm-start path/to/images --from flowers102@3 ")
    assert "load_network(" in copied[3]
    assert browser.find(".copy").text == "Copied"


def test_the_keyboard_alone(browser: Browser, disk: str) -> None:
    from selenium.webdriver.common.keys import Keys  # noqa: PLC0415

    browser.open(f"{disk}/index.html")
    browser.until("!document.getElementById('filters').hidden")
    first = visible(browser)[0]
    body = browser.find("body")
    body.send_keys(Keys.TAB)
    assert browser.driver.switch_to.active_element.text == "To the content"
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    browser.until("document.activeElement.id === 'content'")
    seen = []
    for _ in range(60):
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        element = browser.driver.switch_to.active_element
        seen.append(element.get_attribute("id") or element.get_attribute("name") or element.text)
        if seen[-1] == "compare":
            break
    assert {"words", "kind", "order"} < set(seen)
    browser.driver.switch_to.active_element.send_keys(Keys.SPACE)
    assert browser.find("#tray").is_displayed()
    assert first in browser.find("#chosen").text


def test_print_and_reduced_motion(browser: Browser, disk: str) -> None:
    browser.prefer(prefers_reduced_motion="reduce")
    browser.open(f"{disk}/index.html")
    behaviour = "return getComputedStyle(document.documentElement).scrollBehavior"
    assert browser.run(behaviour) == "auto"
    browser.prefer(prefers_reduced_motion="no-preference")
    assert browser.run(behaviour) == "smooth"
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not browser.find("#filters").is_displayed()
    assert browser.find("#cards h3").is_displayed()
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_a_script_that_got_into_a_page_does_not_run(
    browser: Browser, site: Path, tmp_path: Path
) -> None:
    (tmp_path / "other.js").write_text("hacked = 1")
    smuggled = "<script>hacked=1</script><script src='other.js'></script>"
    for name in ("index.html", "artifacts/dtd-10/v1.html"):
        page = tmp_path / "page.html"
        page.write_text((site / name).read_text().replace("<main", f"{smuggled}<main"))
        browser.open(page.as_uri())
        assert browser.run("return typeof hacked") == "undefined"
    refused = browser.complaints()
    assert any("Executing inline script violates" in text for text in refused)
    assert any("other.js" in text and "Content Security Policy" in text for text in refused)


def test_a_page_may_send_nothing(browser: Browser, root: str) -> None:
    browser.open(f"{root}/nearest.html")
    told = browser.run(
        "return await Promise.allSettled([fetch(location.href), fetch('https://example.com/')])"
        ".then((all) => all.map((one) => one.status))"
    )
    assert told == ["rejected", "rejected"]
    # A script that the page itself asks for is trusted by its first policy, and not by its second.
    outcome = browser.run(
        "const script = document.createElement('script');"
        "const ended = new Promise((done) => {"
        "script.onerror = () => done('refused'); script.onload = () => done('loaded') });"
        "script.src = 'https://example.com/x.js'; document.head.append(script); return await ended"
    )
    assert outcome == "refused"
    said = browser.complaints()
    assert len(said) >= 3
    assert all("Content Security Policy" in text or "Fetch API" in text for text in said)
