"""Names of registries on Hugging Face, ``hf://lab/name@3``, and the endpoint that serves them."""

import ipaddress
import os
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from wsdarts_registry.errors import RegistryError

SCHEME = "hf://"
INSECURE_VARIABLE = "WSDARTS_HUB_INSECURE"
_PORTS = {"http": 80, "https": 443}
_PRINTABLE = re.compile(r"[!-~]{1,8192}")
_NAMESPACE = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?")


def is_huggingface(text: str) -> bool:
    """Return whether a location or reference begins with ``hf://``."""
    return text.startswith(SCHEME)


def namespace_of(location: str) -> str:
    """Return the user or organisation of ``hf://lab``.

    Raises:
        RegistryError: The location is malformed.
    """
    namespace = location.removeprefix(SCHEME).removesuffix("/")
    if not _NAMESPACE.fullmatch(namespace):
        raise RegistryError(
            f"the registry {location[:120]!r} is malformed",
            expected="hf:// and the name of a user or an organisation, such as hf://lab",
        )
    return namespace


def split_reference(text: str) -> tuple[str | None, str]:
    """Return registry and reference of ``hf://lab/name@3``; no registry for a plain ``name@3``.

    Raises:
        RegistryError: It begins with ``hf://`` and names no artifact.
    """
    if not is_huggingface(text):
        return None, text
    namespace, _, reference = text.removeprefix(SCHEME).partition("/")
    if not reference:
        raise RegistryError(
            f"reference {text[:120]!r} names no artifact",
            expected="hf://OWNER/NAME, hf://OWNER/NAME@3 or another one of its versions",
        )
    location = f"{SCHEME}{namespace}"
    namespace_of(location)
    return location, reference


def is_insecure_allowed() -> bool:
    """Return whether the environment allows a Hub without encryption."""
    return os.environ.get(INSECURE_VARIABLE, "") not in ("", "0")


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """The address of a Hub; decides which other addresses requests may go to.

    Args:
        url: ``https://HOST``, perhaps with a path.
        insecure: Whether plain http is allowed beyond this machine.

    Raises:
        RegistryError: It is malformed, or not encrypted and ``insecure`` is not set.
    """

    url: str
    insecure: bool = False

    def __post_init__(self) -> None:
        address = f"the address of the Hub {_without_password(self.url)!r}"
        parts = _split(self.url)
        if parts is None or parts.query or parts.fragment:
            raise RegistryError(
                f"{address} is malformed",
                expected="https://HOST, scheme included, in HF_ENDPOINT or --endpoint",
            )
        if parts.username is not None or parts.password is not None:
            raise RegistryError(
                f"{address} holds a user or a password, which would be shown and stored",
                hint="remove it, and log in with `hf auth login`",
            )
        if not self.is_allowed(self.url):
            raise RegistryError(
                f"{address} is not encrypted, so others on the way could read a token and change "
                "what is fetched",
                expected="https://",
                hint=f"allow plain http with --insecure or {INSECURE_VARIABLE}=1",
            )

    def is_own(self, url: str) -> bool:
        """Return whether an address has the scheme, host and port of this Hub."""
        own, other = _split(self.url), _split(url)
        return own is not None and other is not None and _origin(own) == _origin(other)

    def is_allowed(self, url: str) -> bool:
        """Return whether an address is encrypted, or on this machine as the Hub is."""
        own, other = _split(self.url), _split(url)
        if own is None or other is None or (url != self.url and other.username is not None):
            return False
        on_this_machine = _is_loopback(other.hostname) and _is_loopback(own.hostname)
        return other.scheme == "https" or self.insecure or on_this_machine


def _split(url: str) -> SplitResult | None:
    """Return the parts of an http address; None for another text."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no number
    except ValueError:
        return None
    is_web = parts.scheme in _PORTS and bool(parts.hostname)
    return parts if is_web and _PRINTABLE.fullmatch(url) and "\\" not in url else None


def _origin(parts: SplitResult) -> tuple[str, str | None, int]:
    return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _without_password(url: str) -> str:
    """Return an address without its password, cut to a length."""
    return re.sub(r"//[^/@]*@", "//…@", url)[:200]
