"""Gallery and reports in Firefox, in dark colours: accessible, and they answer as in Chromium.

Firefox speaks WebDriver BiDi by itself, so no driver is needed between it and the tests.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.gallery.conftest import REQUIRED
from tests.gallery.test_ranking import query
from tests.sdk.reports.compared import make_runs
from wsdarts_registry.stores.opening import open_registry
from wsdarts_registry.stores.records import shipped_zoo
from wsdarts_sdk.reports.page import render_report

_LISTENS = "WebDriver BiDi listening on "
_SWITCHES = ("--headless", "--no-remote", "--remote-debugging-port=0")
_DARK = 'user_pref("layout.css.prefers-color-scheme.content-override", 0);\n'
_SECONDS = 300
_HERE = ("file://", "http://127.0.0.1:", "data:", "about:")
# Each page at one width: together with Chromium's tests both widths and both themes are seen.
PAGES = (
    ("index.html", 360),
    ("nearest.html", 1280),
    ("compare.html#flowers102@3,cifar10-1000@3", 360),
    ("distances.html", 1280),
    ("artifacts/meta-flowers-birds-textures/v2.html", 360),
)
VISIBLE = "[...document.querySelectorAll('#cards > li')].filter(c => !c.hidden)"


class Firefox:
    """A Firefox without a window: https://www.w3.org/TR/webdriver-bidi/ over a web socket.

    Args:
        program: The browser.
        profile: An empty directory.
    """

    def __init__(self, program: str, profile: Path) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._socket: Any = None
        self._sent = 0
        (profile / "user.js").write_text(_DARK)
        said = profile / "said"
        with said.open("wb") as output:
            self._process = subprocess.Popen(
                [program, *_SWITCHES, "--profile", str(profile)],
                env={**os.environ, "HOME": str(profile), "MOZ_CRASHREPORTER_DISABLE": "1"},
                stdout=subprocess.DEVNULL,
                stderr=output,
                start_new_session=True,
            )
        try:
            self._socket = self._connect(said)
            self.ask("session.new", capabilities={})
            tree = self.ask("browsingContext.getTree")
            self._page = tree["contexts"][0]["context"]
            events = ["log.entryAdded", "network.beforeRequestSent"]
            self.ask("session.subscribe", events=events)
        except BaseException:
            self.close()
            raise

    def _connect(self, said: Path) -> Any:
        import websocket  # noqa: PLC0415 - where there is no Firefox, it need not be there

        end = time.monotonic() + _SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            listening = [line for line in said.read_text().splitlines() if _LISTENS in line]
            if listening:
                address = f"{listening[0].removeprefix(_LISTENS).strip()}/session"
                return websocket.create_connection(address, timeout=_SECONDS, suppress_origin=True)
            time.sleep(0.05)
        raise AssertionError(f"Firefox does not listen: {said.read_text()}")

    def ask(self, method: str, **parameters: object) -> Any:
        """Run a command; what it returns. Events that come before are kept."""
        self._sent += 1
        command = {"id": self._sent, "method": method, "params": parameters}
        self._socket.send(json.dumps(command))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == self._sent:
                assert answer["type"] == "success", answer
                return answer["result"]
            told = answer.get("params", {})
            if answer.get("method") == "log.entryAdded":
                self.complaints.append(str(told["text"]))
            elif answer.get("method") == "network.beforeRequestSent":
                self.requests.append(str(told["request"]["url"]))

    def open(self, url: str, width: int = 1280) -> None:
        """Load a page in a window of that width."""
        size = {"width": width, "height": 900}
        self.ask("browsingContext.setViewport", context=self._page, viewport=size)
        for address in ("about:blank", url):  # also where only the part behind "#" differs
            where = {"context": self._page, "url": address}
            self.ask("browsingContext.navigate", **where, wait="complete")

    def run(self, expression: str) -> Any:
        """Evaluate an expression in the page; its value, awaited."""
        found = self.ask(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({expression})))()",
            target={"context": self._page},
            awaitPromise=True,
        )
        assert found["type"] == "success", found
        return json.loads(found["result"].get("value", "null"))

    def until(self, expression: str) -> None:
        """Wait until an expression of the page is true."""
        end = time.monotonic() + _SECONDS
        while not self.run(expression):
            assert time.monotonic() < end, expression
            time.sleep(0.05)

    def complaint(self, words: str) -> str:
        """Wait for a complaint that has these words, and return it."""
        end = time.monotonic() + _SECONDS
        while not (found := [text for text in self.complaints if words in text]):
            assert time.monotonic() < end, self.complaints
            self.run("1")  # events come before its answer
        return found[0]

    def choose(self, selector: str, path: Path) -> None:
        """Choose a file in a field of the page."""
        found = self.ask(
            "browsingContext.locateNodes",
            context=self._page,
            locator={"type": "css", "value": selector},
        )
        element = {"sharedId": found["nodes"][0]["sharedId"]}
        self.ask("input.setFiles", context=self._page, element=element, files=[str(path)])

    def violations(self) -> Any:
        """Return what axe finds, with everything unfolded."""
        pytest.importorskip("axe_core_python", reason="the script axe-core is not installed")
        self.run("document.querySelectorAll('details').forEach(d => { d.open = true })")
        axe = files("axe_core_python").joinpath("axe.min.js").read_text()
        self.ask(
            "script.evaluate",
            expression=f"{axe};0",
            target={"context": self._page},
            awaitPromise=False,
        )
        rules = "violations.map(v => [v.id, v.nodes.map(n => n.html)])"
        return self.run(f"axe.run().then((found) => found.{rules})")

    def close(self) -> None:
        """End it and its processes."""
        if self._socket is not None:
            self._socket.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture(scope="module")
def _firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    if program is None:
        missing = "there is no Firefox here (apt-get install firefox-esr)"
        if os.environ.get(REQUIRED):
            pytest.fail(missing)
        pytest.skip(missing)
    started = Firefox(program, tmp_path_factory.mktemp("profile"))
    try:
        yield started
    finally:
        started.close()


@pytest.fixture
def firefox(_firefox: Firefox) -> Iterator[Firefox]:
    """Firefox, which must have complained of nothing and asked nobody when the test ends."""
    _firefox.complaints.clear()
    _firefox.requests.clear()
    yield _firefox
    assert _firefox.run("1") == 1  # by now it has told what came before
    assert _firefox.complaints == []
    assert [url for url in _firefox.requests if not url.startswith(_HERE)] == []


@pytest.mark.parametrize(("page", "width"), PAGES)
def test_pages_are_accessible_and_fit(firefox: Firefox, disk: str, page: str, width: int) -> None:
    firefox.open(f"{disk}/{page}", width)
    if page.startswith("compare"):
        firefox.until("document.querySelectorAll('#side thead th').length === 2")
    assert firefox.run("matchMedia('(prefers-color-scheme: dark)').matches")
    assert firefox.run("document.documentElement.scrollWidth") <= width
    assert firefox.violations() == []


def test_a_report_is_accessible_and_fits(firefox: Firefox, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(render_report(make_runs()[1].report), encoding="utf-8")
    firefox.open(page.as_uri(), 360)
    assert firefox.run("document.documentElement.scrollWidth") <= 360
    assert firefox.violations() == []


def test_the_list_is_filtered(firefox: Firefox, root: str) -> None:
    firefox.open(f"{root}/index.html")
    firefox.until("!document.getElementById('filters').hidden")
    firefox.run(
        "(document.getElementById('words').value = 'FLOWERS meta',"
        "document.getElementById('words').dispatchEvent(new Event('input', {bubbles: true})))"
    )
    assert firefox.run(f"{VISIBLE}.map(c => c.dataset.r)") == ["meta-flowers-birds-textures@2"]
    assert firefox.run("document.getElementById('count').textContent") == "1 of 7 artifacts"


def test_the_map_is_zoomed(firefox: Firefox, disk: str) -> None:
    firefox.open(f"{disk}/index.html")
    firefox.until("document.querySelector('.zoom button') !== null")
    button = "document.querySelector('.map.wide + .zoom button')"
    firefox.run(f"(() => {{ for (let i = 0; i < 6; i += 1) {button}.click(); }})()")
    names = "[...document.querySelectorAll('.map.wide a > text.added')]"
    firefox.until(f"0 < {names}.length && {names}.length < 7")
    sizes = firefox.run(f"{names}.map((text) => text.getBoundingClientRect().width)")
    assert all(size > 20 for size in sizes)
    mark = "document.querySelector('.map.wide a').getBoundingClientRect()"
    wheel = (
        "document.querySelector('.map.wide').dispatchEvent(new WheelEvent('wheel', "
        f"{{ctrlKey: true, cancelable: true, deltaY: 9000, clientX: {mark}.x, clientY: {mark}.y}}))"
    )
    firefox.until(f"({wheel}, document.querySelector('.map.zoomed') === null)")


def test_a_file_is_ranked_as_by_the_command(firefox: Firefox, root: str, tmp_path: Path) -> None:
    embedding = query("wsdarts-resnet10t", 0.3)
    expected = open_registry(shipped_zoo()).nearest(embedding, 5)
    firefox.open(f"{root}/nearest.html")
    firefox.until("!document.getElementById('query').hidden")
    firefox.choose("#file", embedding.save(tmp_path / "mine.safetensors"))
    firefox.until("!document.getElementById('answer').hidden")
    rows = firefox.run(
        "[...document.querySelectorAll('#neighbours tr')].map((row) => ["
        "row.querySelector('a').textContent,"
        "Number(row.querySelector('[data-distance]').dataset.distance)])"
    )
    assert [name for name, _ in rows] == [n.reference for n in expected.neighbours]
    distances = [n.distance for n in expected.neighbours]
    assert [found for _, found in rows] == pytest.approx(distances, abs=1e-9)
    assert firefox.run("document.getElementById('why').textContent") == expected.why


def test_a_page_runs_no_other_script_and_asks_nobody(
    firefox: Firefox, site: Path, served: str, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    smuggled = "<script>hacked=1</script><main"
    page.write_text((site / "nearest.html").read_text().replace("<main", smuggled))
    firefox.open(page.as_uri())
    assert firefox.run("typeof hacked") == "undefined"
    asked = f"Promise.allSettled([fetch('{served}/'), fetch('https://example.com/')])"
    told = firefox.run(f"{asked}.then((all) => all.map((one) => one.status))")
    assert told == ["rejected", "rejected"]
    for what in ("inline script", f"connect-src) at {served}/", "connect-src) at https://example."):
        assert "Content-Security-Policy" in firefox.complaint(what)
    firefox.complaints.clear()
