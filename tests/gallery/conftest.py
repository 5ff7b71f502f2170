"""A browser for the gallery, and galleries from a disk and from a server."""

import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from wsdarts_registry.gallery.site import build_gallery, serve_gallery
from wsdarts_registry.stores.records import shipped_zoo

# Set where a browser is installed on purpose: its tests then fail rather than skip.
REQUIRED = "WSDARTS_HUB_BROWSER_TESTS"
_SWITCHES = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--window-size=1280,900"),
)


def _programs() -> tuple[str, str]:
    """Chromium and its driver."""
    browser, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if browser is None or driver is None:
        missing = "there is no chromium with chromedriver here (apt-get install chromium-driver)"
        if os.environ.get(REQUIRED):
            pytest.fail(missing)
        pytest.skip(missing)
    return browser, driver


@dataclass
class Browser:
    """A Chromium that says what it was asked to load and what it complained about."""

    driver: Any

    def open(self, url: str) -> None:
        """Go to a page; also where only the part behind ``#`` differs from the last one."""
        self.driver.get("about:blank")
        self.driver.get(url)

    def run(self, script: str, *arguments: object) -> Any:
        """Run a script in the page; what it returns, awaited."""
        wrapped = (
            "const done = arguments[arguments.length - 1];"
            f"(async (...given) => {{ {script} }})(...Array.from(arguments).slice(0, -1))"
            ".then((value) => done({value}), (error) => done({error: String(error)}));"
        )
        found = self.driver.execute_async_script(wrapped, *arguments)
        assert "error" not in found, found["error"]
        return found.get("value")

    def until(self, script: str, *arguments: object) -> Any:
        """Wait until an expression of the page is true."""
        from selenium.webdriver.support.ui import WebDriverWait  # noqa: PLC0415

        ask = lambda driver: driver.execute_script(f"return {script}", *arguments)
        return WebDriverWait(self.driver, 60, poll_frequency=0.05).until(ask)

    def find(self, selector: str) -> Any:
        """The first element that fits a selector."""
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> Any:
        """Every element that fits a selector."""
        return self.driver.find_elements("css selector", selector)

    def click(self, selector: str) -> None:
        """Click the first element that fits a selector, wherever the page is scrolled to."""
        self.driver.execute_script("arguments[0].click()", self.find(selector))

    def complaints(self) -> list[str]:
        """What stands in the console since this was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """What was asked for since this was last asked, less what a policy kept in the page."""
        asked: dict[str, list[str]] = {}
        for entry in self.driver.get_log("performance"):
            event = json.loads(entry["message"])["message"]
            told = event["params"]
            if event["method"] == "Network.requestWillBeSent":
                asked.setdefault(told["requestId"], []).append(told["request"]["url"])
            elif event["method"] == "Network.loadingFailed" and told.get("blockedReason") == "csp":
                asked.pop(told["requestId"], None)
        return [url for urls in asked.values() for url in urls]

    def prefer(self, **features: str) -> None:
        """Let the page believe in media features, such as ``prefers_color_scheme="dark"``."""
        listed = [{"name": k.replace("_", "-"), "value": v} for k, v in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": listed})

    def resize(self, width: int, height: int = 900) -> None:
        """Give the page another size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def scripts(self, allowed: bool) -> None:
        """Switch JavaScript of pages off or on."""
        disabled = {"value": not allowed}
        self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", disabled)


@pytest.fixture(scope="session")
def _chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program, driver = _programs()
    from selenium import webdriver  # noqa: PLC0415
    from selenium.webdriver.chrome.service import Service  # noqa: PLC0415

    options = webdriver.ChromeOptions()
    options.binary_location = program
    for switch in (*_SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    chrome.set_script_timeout(120)
    chrome.set_page_load_timeout(120)
    try:
        yield Browser(chrome)
    finally:
        chrome.quit()


@pytest.fixture
def browser(_chromium: Browser) -> Iterator[Browser]:
    """Chromium, which must have complained of nothing and asked nobody when the test ends."""
    _chromium.open("about:blank")
    _chromium.complaints()
    _chromium.requests()
    _chromium.prefer(prefers_reduced_motion="reduce")
    yield _chromium
    _chromium.scripts(allowed=True)
    _chromium.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    _chromium.prefer()
    assert _chromium.complaints() == []
    here = ("file://", "http://127.0.0.1:", "data:", "about:")
    assert [url for url in _chromium.requests() if not url.startswith(here)] == []


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gallery of the shipped zoo."""
    return build_gallery(shipped_zoo(), out=tmp_path_factory.mktemp("gallery") / "site").parent


def serve(site: Path) -> str:
    """Serve a gallery for as long as the tests run; its address without the last slash."""
    told: list[str] = []
    ready = threading.Event()

    def started(url: str) -> None:
        told.append(url.rstrip("/"))
        ready.set()

    threading.Thread(
        target=serve_gallery, args=(site,), kwargs={"port": 0, "started": started}, daemon=True
    ).start()
    assert ready.wait(600)
    return told[0]


@pytest.fixture(scope="session")
def disk(site: Path) -> str:
    """The gallery's address on the disk."""
    return site.as_uri()


@pytest.fixture(scope="session")
def served(site: Path) -> str:
    """The gallery's address on a server."""
    return serve(site)


@pytest.fixture(params=["disk", "served"])
def root(request: pytest.FixtureRequest) -> str:
    """The gallery's address, each in turn."""
    return str(request.getfixturevalue(request.param))
