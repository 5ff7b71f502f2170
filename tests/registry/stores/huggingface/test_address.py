"""Addresses of Hubs, and sessions that cannot be made: one line each, and no token on the wire."""

import sys

import pytest
from huggingface_hub import close_session

from tests.error_fields import assert_fields
from tests.registry.stores.huggingface.conftest import LOCATION
from wsdarts_registry.errors import RegistryError
from wsdarts_registry.stores.huggingface.location import INSECURE_VARIABLE, Endpoint
from wsdarts_registry.stores.huggingface.store import HubStore
from wsdarts_registry.stores.opening import open_registry

_ALLOWED = ("--insecure", f"{INSECURE_VARIABLE}=1")


@pytest.mark.parametrize(
    ("endpoint", "fields"),
    [
        ("127.0.0.1:8000", {"what": "'127.0.0.1:8000' is malformed", "expected": "https://HOST"}),
        ("huggingface.co", {"what": "'huggingface.co' is malformed", "expected": "scheme"}),
        ("ftp://hub.example", {"what": "is malformed", "expected": "https://HOST"}),
        ("https://", {"what": "is malformed"}),
        ("https://hub.example:x", {"what": "is malformed"}),
        ("https://hub.example/a b", {"what": "is malformed"}),
        ("https://hub.example?a=b", {"what": "is malformed"}),
        ("https://user:secret@hub.example", {"what": ("user", "password"), "hint": "remove it"}),
        ("http://hub.example", {"what": "is not encrypted", "hint": _ALLOWED}),
        ("http://192.0.2.1:8000", {"what": "is not encrypted"}),
    ],
)
def test_an_address_that_is_refused(endpoint: str, fields: dict[str, object]) -> None:
    with pytest.raises(RegistryError) as caught:
        open_registry(LOCATION, endpoint=endpoint)
    assert_fields(caught.value, **fields)
    assert str(caught.value).isprintable()
    assert "secret" not in str(caught.value)


def test_what_may_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Endpoint(url="https://hub.example")
    assert hub.is_own("https://HUB.example:443/x")
    for other in ("http://hub.example/x", "https://hub.example:8443/x", "https://x.hub.example"):
        assert not hub.is_own(other)
    assert hub.is_allowed("https://cdn.example/x?signed")
    refused = (
        "http://cdn.example",
        "http://127.0.0.1",
        "http://localhost",
        "file:///x",
        "//x",
        "x",
    )
    for other in (*refused, "https://user@cdn.example", "https://[x", "https://a\nb"):
        assert not hub.is_allowed(other)
    here = Endpoint(url="http://127.0.0.1:8000")
    for other in (
        "http://localhost:1",
        "http://[::1]:1/x",
        "http://127.1.2.3",
        "https://a.example",
    ):
        assert here.is_allowed(other)
    assert not here.is_allowed("http://127.0.0.1.example")


def test_plain_http_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = "http://hub.example"
    assert open_registry(LOCATION, endpoint=plain, insecure=True).location == LOCATION
    monkeypatch.setenv(INSECURE_VARIABLE, "1")
    assert HubStore(LOCATION, endpoint=plain).location == LOCATION
    monkeypatch.setenv(INSECURE_VARIABLE, "0")
    with pytest.raises(RegistryError, match="is not encrypted"):
        HubStore(LOCATION, endpoint=plain)


@pytest.mark.parametrize(
    ("name", "value", "what", "hint"),
    [
        ("ALL_PROXY", "foo://x", ("proxy in ALL_PROXY", "no address", "foo"), "correct or unset"),
        ("HTTPS_PROXY", "http://a:b", ("is no address", "Invalid port"), "correct or unset"),
        ("SSL_CERT_FILE", "/nowhere", "certificates cannot be read", "check SSL_CERT_FILE"),
    ],
)
def test_a_session_that_cannot_be_made(
    monkeypatch: pytest.MonkeyPatch,
    store: HubStore,
    name: str,
    value: str,
    what: object,
    hint: str,
) -> None:
    monkeypatch.setenv(name, value)
    close_session()
    with pytest.raises(RegistryError) as caught:
        store.names()
    assert_fields(caught.value, what=what, hint=hint)
    close_session()


def test_a_socks_proxy_without_its_package(
    monkeypatch: pytest.MonkeyPatch, store: HubStore
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "socksio", None)  # as where it is not installed
    close_session()
    with pytest.raises(RegistryError, match=r"SOCKS.*`pip install socksio`"):
        store.names()
    close_session()
