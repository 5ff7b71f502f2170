"""A gallery of more tasks than a table of distances holds."""

import itertools

import pytest

from tests.gallery.conftest import Browser
from tests.registry.factories import make_artifact
from wsdarts_registry.gallery.collection import read_collection
from wsdarts_registry.gallery.distances import RankedSpace
from wsdarts_registry.gallery.site import build_gallery
from wsdarts_registry.stores.directory import DirectoryStore

COUNT = 44


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, RankedSpace]:
    """The address of its gallery, and its embedding space."""
    root = tmp_path_factory.mktemp("many")
    store = DirectoryStore(root / "zoo", create=True)
    for number in range(COUNT):
        make_artifact(root / f"{number}", f"task-{number}", weights=False)
        store.publish(root / f"{number}", f"artifact-{number}")
    (space,) = read_collection(store, lambda *_: None).spaces
    return build_gallery(store, out=root / "site").parent.as_uri(), space


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
