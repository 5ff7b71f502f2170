import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsdarts_registry.errors import RegistryError
from wsdarts_registry.gallery.site import build_gallery, serve_gallery
from wsdarts_registry.stores.records import shipped_zoo

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the gallery of the shipped zoo is served."""
    site = build_gallery(shipped_zoo(), out=tmp_path_factory.mktemp("served") / "site").parent
    (site.parent / "secret.txt").write_text("secret")
    told: list[str] = []
    ready = threading.Event()

    def started(url: str) -> None:
        told.append(url)
        ready.set()

    threading.Thread(
        target=serve_gallery, args=(site,), kwargs={"port": 0, "started": started}, daemon=True
    ).start()
    assert ready.wait(600)
    return told[0]


def get(address: str, path: str, host: str | None = None) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(address.split("/")[2], timeout=600)
    connection.request("GET", path, headers={"Host": host} if host else {})
    return connection.getresponse()


def test_pages_scripts_and_files(address: str) -> None:
    assert address.startswith("http://127.0.0.1:")
    for path, kind in (
        ("/", "text/html"),
        ("/assets/data.js", "text/javascript; charset=utf-8"),
        ("/artifacts/dtd-10/v1/normal.svg", "image/svg+xml"),
        ("/artifacts/dtd-10/v1/op_masks.safetensors", "application/octet-stream"),
    ):
        found = get(address, path)
        assert found.status == 200
        assert found.headers["Content-Type"] == kind
        assert found.headers["X-Content-Type-Options"] == "nosniff"
        assert found.headers["Content-Security-Policy"] == "frame-ancestors 'none'"


@pytest.mark.parametrize("path", ["/artifacts/", "/data/", "/../secret.txt", "/%2e%2e/secret.txt"])
def test_no_lists_and_no_way_out(address: str, path: str) -> None:
    assert get(address, path).status == 404


def test_another_name_for_this_machine_is_refused(address: str) -> None:
    assert get(address, "/", "evil.example:80").status == 403
    assert get(address, "/", "localhost").status == 200


def test_what_is_no_gallery_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(RegistryError) as caught:
        serve_gallery(tmp_path)
    assert f"gallery build --out {tmp_path}" in caught.value.hint


def test_a_port_that_is_taken(address: str, tmp_path: Path) -> None:
    build_gallery(shipped_zoo(), out=tmp_path / "site")
    port = int(address.rstrip("/").rpartition(":")[2])
    with pytest.raises(RegistryError, match=rf"cannot listen at port {port} .*name another one"):
        serve_gallery(tmp_path / "site", port=port)
