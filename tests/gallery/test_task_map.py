"""Zoom of the map of tasks, by every means, in a map with names and in one of dots alone."""

import itertools
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.gallery.conftest import Browser
from tests.gallery.test_pages import set_value
from tests.registry.factories import make_artifact
from wsdarts_registry.gallery.site import build_gallery
from wsdarts_registry.stores.directory import DirectoryStore

COUNT = 60
# Of the map that is shown: the marks and names that are within its frame.
FIND = """
const drawn = [...document.querySelectorAll('.map')].find((m) => m.getClientRects().length);
const plane = drawn.querySelector('.plane');
const frame = drawn.getScreenCTM();
const [width, height] = ['width', 'height'].map((n) => frame.a * plane.getAttribute(n));
const box = (element) => {
  const { left, top, right, bottom } = element.getBoundingClientRect();
  return [left, top, right, bottom];
};
const middle = (e) => { const b = box(e); return [(b[0] + b[2]) / 2, (b[1] + b[3]) / 2]; };
const within = (value, start, size) => value >= start && value <= start + size;
const inside = ([x, y]) => within(x, frame.e, width) && within(y, frame.f, height);
const links = [...drawn.querySelectorAll('a')];
const shapes = links.map((a) => a.querySelector('circle, rect'));
const seen = links.filter((a, i) => inside(middle(shapes[i])));
const shown = (e) => getComputedStyle(e).display !== 'none';
const names = [...drawn.querySelectorAll('a > text')].filter(shown);
return {
  places: Object.fromEntries(links.map((a, i) => [a.dataset.r, middle(shapes[i])])),
  seen: seen.map((a) => a.dataset.r),
  names: names.map((t) => [t.textContent, box(t)]),
  dots: seen.map((a) => box(a.querySelector('circle, rect'))),
  lines: [...drawn.querySelectorAll('.tie')].filter(shown).length,
  scale: drawn.querySelector('.scale + text').textContent,
  middle: [frame.e + width / 2, frame.f + height / 2],
};
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a gallery whose map has too many tasks for their names."""
    root = tmp_path_factory.mktemp("map")
    store = DirectoryStore(root / "zoo", create=True)
    for number in range(COUNT):
        make_artifact(root / f"{number}", f"task-{number}", weights=False)
        store.publish(root / f"{number}", f"artifact-{number}")
    return build_gallery(store, out=root / "site").parent.as_uri()


def look(browser: Browser) -> dict[str, Any]:
    """What the map shows."""
    return dict(browser.run(FIND))


def open_map(browser: Browser, address: str) -> None:
    browser.open(address)
    browser.until("document.querySelectorAll('.zoom button').length >= 3")


def press(browser: Browser, label: str) -> None:
    """Press a button of the map that is shown, as a keyboard does."""
    for button in browser.all(f".zoom button[aria-label='{label}']"):
        if button.is_displayed():
            browser.driver.execute_script("arguments[0].focus()", button)
            button.send_keys(" ")
            return
    raise AssertionError(label)


@pytest.mark.parametrize("width", [1280, 360])
def test_buttons_zoom_to_where_marks_are_and_back(browser: Browser, disk: str, width: int) -> None:
    browser.resize(width)
    open_map(browser, f"{disk}/index.html")
    whole = look(browser)
    assert len(whole["names"]) == len(whole["seen"]) == len(whole["places"]) == 7
    press(browser, "Zoom out")  # which has nothing to do
    assert look(browser) == whole
    for _ in range(4):
        press(browser, "Zoom in")
    near = look(browser)
    assert 1 <= len(near["seen"]) < 7
    a, b = whole["seen"][:2]
    factor = apart(near["places"], a, b) / apart(whole["places"], a, b)
    assert factor == pytest.approx(1.6**4, rel=0.01)
    assert near["scale"] != whole["scale"]
    press(browser, "Whole map")
    assert look(browser) == whole


def apart(places: dict[str, list[float]], a: str, b: str) -> float:
    (x, y), (u, v) = places[a], places[b]
    return float(((x - u) ** 2 + (y - v) ** 2) ** 0.5)


def test_names_and_nearest_lines_appear_where_few_tasks_are_in_view(
    browser: Browser, many: str
) -> None:
    open_map(browser, f"{many}/index.html")
    whole = look(browser)
    assert len(whole["seen"]) == COUNT
    assert whole["names"] == []
    assert whole["lines"] == 0
    while len(look(browser)["seen"]) > 40:
        press(browser, "Zoom in")
    near = look(browser)
    assert {name for name, _ in near["names"]} <= {r.split("@")[0] for r in near["seen"]}
    assert len(near["names"]) > len(near["seen"]) / 2
    assert near["lines"] >= len(near["seen"]) / 2
    boxes = [box for _, box in near["names"]]
    for one, two in itertools.combinations(boxes, 2):
        assert not overlap(one, two, least=3)  # their lines' height is more than the letters'
    assert not any(overlap(name, dot, least=3) for name in boxes for dot in near["dots"])


def overlap(a: list[float], b: list[float], least: float) -> bool:
    """Whether two boxes have more than so many pixels in common in both directions."""
    return all(min(a[i + 2], b[i + 2]) - max(a[i], b[i]) > least for i in (0, 1))


def test_names_of_what_fits_the_filters(browser: Browser, many: str) -> None:
    open_map(browser, f"{many}/index.html")
    set_value(browser, "#words", "task-5")
    browser.until("document.querySelectorAll('.map a:not(.out)').length === 11")
    fitting = {f"artifact-{number}" for number in (5, *range(50, 60))}
    named = {name for name, _ in look(browser)["names"]}
    assert named
    assert named <= fitting
    browser.click("#filters button[type=reset]")
    browser.until("document.querySelectorAll('.map a:not(.out)').length === 60")
    assert look(browser)["names"] == []


def test_control_and_the_wheel_zoom_about_the_pointer(browser: Browser, many: str) -> None:
    open_map(browser, f"{many}/index.html")
    whole = look(browser)
    reference = whole["seen"][7]
    x, y = whole["places"][reference]
    wheel = (
        "return document.elementFromPoint(given[0], given[1]).dispatchEvent(new WheelEvent('wheel',"
        " {bubbles: true, cancelable: true, clientX: given[0], clientY: given[1],"
        " deltaY: given[2], ctrlKey: given[3]}))"
    )
    assert browser.run(wheel, x, y, -100, False)  # the page scrolls
    assert look(browser) == whole
    assert not browser.run(wheel, x, y, -100, True)
    near = look(browser)
    assert near["places"][reference] == pytest.approx([x, y], abs=1)
    assert near["scale"] != whole["scale"]
    while not browser.run(wheel, x, y, 100, True):
        pass
    assert look(browser) == whole  # and the browser's own zoom goes on from here


def test_two_fingers_zoom(browser: Browser, many: str) -> None:
    browser.resize(360)
    open_map(browser, f"{many}/index.html")
    browser.run("document.querySelector('.map').scrollIntoView({block: 'center'})")
    whole = look(browser)
    x, y = whole["middle"]

    def fingers(kind: str, away: float) -> None:
        points = [{"x": x - away, "y": y, "id": 0}, {"x": x + away, "y": y, "id": 1}]
        event = {"type": kind, "touchPoints": [] if kind == "touchEnd" else points}
        browser.driver.execute_cdp_cmd("Input.dispatchTouchEvent", event)

    fingers("touchStart", 20)
    for away in (30, 40, 60):
        fingers("touchMove", away)
    fingers("touchEnd", 60)
    browser.until("document.querySelector('.map.zoomed')")
    a, b = whole["seen"][:2]
    factor = apart(look(browser)["places"], a, b) / apart(whole["places"], a, b)
    assert 2 < factor < 3.1  # Chromium keeps the first move for itself


def test_a_drag_moves_the_map_and_follows_no_link(browser: Browser, many: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains  # noqa: PLC0415

    open_map(browser, f"{many}/index.html")
    press(browser, "Zoom in")
    press(browser, "Zoom in")
    before = look(browser)
    reference = min(before["seen"], key=lambda r: distance(before["places"][r], before["middle"]))
    mark = next(m for m in browser.all(".map a") if m.get_attribute("data-r") == reference)
    ActionChains(browser.driver).click_and_hold(mark).move_by_offset(25, 0).move_by_offset(
        0, 15
    ).release().perform()
    after = look(browser)
    x, y = before["places"][reference]
    assert after["places"][reference] == pytest.approx([x + 25, y + 15], abs=1.5)
    assert browser.driver.current_url.endswith("index.html")
    mark.find_element("css selector", "circle, rect").click()
    browser.until("location.pathname.endsWith('v1.html')")


def distance(a: list[float], b: list[float]) -> float:
    return float(((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) ** 0.5)


def test_keys_zoom_move_and_bring_marks_into_view(browser: Browser, disk: str) -> None:
    from selenium.webdriver.common.keys import Keys  # noqa: PLC0415

    open_map(browser, f"{disk}/index.html")
    whole = look(browser)
    button = browser.find(".map.wide + .zoom button")
    browser.driver.execute_script("arguments[0].focus()", button)
    for key in "+++":
        button.send_keys(key)
    zoomed = look(browser)
    assert len(zoomed["seen"]) < 7
    button.send_keys(Keys.ARROW_RIGHT)
    reference = zoomed["seen"][0]
    assert look(browser)["places"][reference][0] < zoomed["places"][reference][0]
    hidden = next(r for r in whole["seen"] if r not in zoomed["seen"])
    browser.run(
        "const links = [...document.querySelectorAll('.map.wide a')];"
        "links.find((a) => a.dataset.r === given[0]).focus()",
        hidden,
    )
    assert hidden in look(browser)["seen"]
    browser.driver.switch_to.active_element.send_keys("0")
    assert look(browser) == whole


def test_motion_only_where_it_is_welcome(browser: Browser, disk: str) -> None:
    steps = (
        "const seen = new Set(); const [mark] = document.querySelectorAll('.map.wide a');"
        "new MutationObserver(() => seen.add(mark.getAttribute('transform')))"
        ".observe(mark, {attributes: true, attributeFilter: ['transform']});"
        "document.querySelector('.map.wide + .zoom button').click();"
        "await new Promise((done) => setTimeout(done, 1000)); return seen.size"
    )
    open_map(browser, f"{disk}/index.html")
    assert browser.run(steps) == 1
    browser.prefer(prefers_reduced_motion="no-preference")
    open_map(browser, f"{disk}/index.html")
    browser.run(
        "document.querySelector('.map.wide + .zoom button').click();"
        "while (!document.querySelector('.map.zoomed')) await new Promise(requestAnimationFrame)"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_a_zoomed_map(browser: Browser, many: str, scheme: str) -> None:
    pytest.importorskip("axe_core_python", reason="the script axe-core is not installed")
    browser.prefer(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
    open_map(browser, f"{many}/distances.html")
    for _ in range(4):
        press(browser, "Zoom in")
    assert look(browser)["names"]
    browser.driver.execute_script(files("axe_core_python").joinpath("axe.min.js").read_text())
    found = browser.run(
        "return (await axe.run()).violations.map(v => [v.id, v.nodes.map(n => n.html)])"
    )
    assert found == []


def test_without_javascript_there_is_no_zoom(browser: Browser, many: str, disk: str) -> None:
    browser.scripts(allowed=False)
    for address in (many, disk):
        browser.open(f"{address}/index.html")
        assert browser.find(".map").is_displayed()
        assert browser.all(".zoom button") == []


def test_pages_of_a_store_with_one_task_have_no_zoom(browser: Browser, tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "zoo", create=True)
    make_artifact(tmp_path / "one", "flowers", weights=False)
    store.publish(tmp_path / "one", "flowers")
    browser.open(build_gallery(store, out=tmp_path / "site").as_uri())
    browser.until("!document.getElementById('filters').hidden")
    assert browser.all(".zoom") == []
