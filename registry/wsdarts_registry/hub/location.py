"""How registries on the Hub, and artifacts in them, are named: ``hf://lab``, ``hf://lab/name@3``."""

import re

from wsdarts_registry.errors import RegistryError

SCHEME = "hf://"
_NAMESPACE = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?")


def is_hub(text: str) -> bool:
    """Whether a location or reference is on the Hub."""
    return text.startswith(SCHEME)


def namespace_of(location: str) -> str:
    """The user or organisation of ``hf://lab``.

    Raises:
        RegistryError: The location is malformed.
    """
    namespace = location.removeprefix(SCHEME).removesuffix("/")
    if not _NAMESPACE.fullmatch(namespace):
        raise RegistryError(
            f"the registry {location[:120]!r} is malformed; expected hf:// and the name of a user "
            "or an organisation, such as hf://lab"
        )
    return namespace


def split_reference(text: str) -> tuple[str | None, str]:
    """Registry and reference of ``hf://lab/name@3``; no registry for a plain ``name@3``.

    Raises:
        RegistryError: It begins with ``hf://`` and names no artifact.
    """
    if not is_hub(text):
        return None, text
    namespace, _, reference = text.removeprefix(SCHEME).partition("/")
    if not reference:
        raise RegistryError(
            f"reference {text[:120]!r} names no artifact; expected hf://OWNER/NAME, "
            "hf://OWNER/NAME@3 or another one of its versions"
        )
    location = f"{SCHEME}{namespace}"
    namespace_of(location)
    return location, reference
