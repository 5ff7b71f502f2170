"""Opening registries by location, and the zoo that comes with the package."""

import os
from pathlib import Path

from wsdarts_registry.directory_store import DirectoryStore
from wsdarts_registry.errors import RegistryError
from wsdarts_registry.store import Store

REGISTRY_VARIABLE = "WSDARTS_HUB_REGISTRY"


def shipped_zoo() -> Path:
    """Directory of the registry that comes with the package."""
    return Path(__file__).parent / "zoo_data"


def open_registry(
    location: str | Path | Store | None = None, *, create: bool = False, writable: bool = False
) -> Store:
    """Open a registry.

    Args:
        location: A directory, or a registry that is open already, which is returned. None
            means the one that the environment variable ``WSDARTS_HUB_REGISTRY`` names; where
            that is not set or empty, the zoo that comes with the package, which is read-only.
        create: Make the directory a registry if it is missing or empty.
        writable: Refuse what could only be read, so ``create`` does, too.

    Raises:
        RegistryError: There is no registry at that place, it is of a kind that this version
            does not support, or it is the shipped zoo and should be written.
    """
    if isinstance(location, Store):
        return location
    if location is None:
        location = os.environ.get(REGISTRY_VARIABLE) or None
    if location is None:
        if create or writable:
            raise RegistryError(
                "the zoo that comes with the package is read-only; name a directory with "
                f"--registry DIR or in the environment variable {REGISTRY_VARIABLE}"
            )
        return DirectoryStore(shipped_zoo(), read_only=True)
    text = str(location)
    if isinstance(location, str) and "://" in text:
        kind = "Hub registries (hf://…)" if text.startswith("hf://") else "Such registries"
        raise RegistryError(
            f"cannot open {text}: {kind} are not supported by this version; name a directory"
        )
    if not text:
        raise RegistryError("the location of the registry is empty; name a directory")
    return DirectoryStore(Path(location).expanduser(), create=create)
