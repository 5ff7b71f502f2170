"""Opening registries by location, and the zoo that comes with the package."""

import os
from pathlib import Path

from wsdarts_registry._arguments import check_text
from wsdarts_registry._files import expanded
from wsdarts_registry.artifact.reference import Reference
from wsdarts_registry.errors import RegistryError, WsdartsError
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.huggingface.location import is_huggingface, split_reference
from wsdarts_registry.stores.records import Entry, shipped_zoo
from wsdarts_registry.stores.signature_policy import Required
from wsdarts_registry.stores.store import Store

REGISTRY_VARIABLE = "WSDARTS_HUB_REGISTRY"


class ShippedZoo(DirectoryStore):
    """The registry that comes with the package, read-only."""

    def __init__(self) -> None:
        super().__init__(shipped_zoo(), read_only=True)

    @property
    def state_key(self) -> None:
        """No key, since the content changes with the package's version, which its user chooses."""

    @property
    def option(self) -> str:
        """No option: the command line reads this registry where none is named."""
        return ""


def shipped_version(digest: str) -> Entry | None:
    """Return the version of the shipped zoo with a digest; None if it has none."""
    zoo = ShippedZoo()
    for name, versions in zoo.listing().items():
        for info in versions:
            if info.digest == digest:
                return zoo.entry(name, info.version)
    return None


def shipped_reference(reference: str) -> Reference | None:
    """Return the exact reference of what the shipped zoo has under a reference; None if nothing."""
    try:
        return ShippedZoo().resolve(reference).reference
    except WsdartsError:
        return None


def open_registry(
    location: str | Path | Store | None = None,
    *,
    create: bool = False,
    writable: bool = False,
    endpoint: str | None = None,
    require_signature: Required = None,
    insecure: bool = False,
) -> Store:
    """Open a registry.

    Args:
        location: A directory, a namespace on the Hugging Face Hub (``hf://lab``), or a registry
            that is open already, which is returned. None
            means the one that the environment variable ``WSDARTS_HUB_REGISTRY`` names; where
            that is not set or empty, the zoo that comes with the package, which is read-only.
        create: Make the directory a registry if it is missing or empty.
        writable: Refuse what could only be read, so ``create`` does, too.
        endpoint: Address of the Hub; by default HF_ENDPOINT, else the official one.
        require_signature: Files of public keys, or a ``SignaturePolicy``: artifacts are read from
            it only if they are signed so. By default the user's own policy decides.
        insecure: Allow a Hub beyond this machine that is spoken to by plain http, as the
            environment variable ``WSDARTS_HUB_INSECURE`` does where it is set.

    Raises:
        RegistryError: There is no registry at that place, there are none of that kind, or it is
            the shipped zoo and should be written.
    """
    if require_signature is not None:
        opened = open_registry(
            location, create=create, writable=writable, endpoint=endpoint, insecure=insecure
        )
        return opened.requiring(require_signature)
    if isinstance(location, Store):
        return location
    if location is None:
        location = os.environ.get(REGISTRY_VARIABLE) or None
    if location is None:
        if create or writable:
            raise RegistryError(
                "the zoo that comes with the package is read-only",
                hint=(
                    "name a directory with --registry DIR or in the environment variable "
                    f"{REGISTRY_VARIABLE}"
                ),
            )
        return ShippedZoo()
    text = str(location)
    if is_huggingface(text) and isinstance(location, str):
        # Imported here: a directory needs no client of the Hub.
        from wsdarts_registry.stores.huggingface.store import HubStore  # noqa: PLC0415

        return HubStore(text, endpoint=endpoint, insecure=insecure)
    if isinstance(location, str) and "://" in text:
        raise RegistryError(
            f"cannot open {text}: there are no such registries",
            hint="name a directory, or a namespace on the Hugging Face Hub (hf://lab)",
        )
    if not text:
        raise RegistryError("the location of the registry is empty", hint="name a directory")
    return DirectoryStore(expanded(location, "the registry"), create=create)


def open_for(
    reference: str,
    registry: str | Path | Store | None = None,
    *,
    writable: bool = False,
    require_signature: Required = None,
) -> tuple[Store, str]:
    """Open the registry that a reference is in.

    Args:
        reference: ``NAME``, ``NAME@3`` and so on, or with its registry ``hf://lab/NAME@3``.
        registry: Where a reference without a registry is looked up; see ``open_registry``.
        writable: As in ``open_registry``.
        require_signature: As in ``open_registry``.

    Returns:
        The registry, and the reference within it.

    Raises:
        RegistryError: The registry cannot be opened.
    """
    check_text(reference, "the reference")
    location, within = split_reference(reference)
    opened = open_registry(
        registry if location is None else location,
        writable=writable,
        require_signature=require_signature,
    )
    return opened, within
