"""Opening registries by location, and the zoo that comes with the package."""

from pathlib import Path

from wsdarts_registry.directory_store import DirectoryStore
from wsdarts_registry.errors import RegistryError
from wsdarts_registry.store import Store


def shipped_zoo() -> Path:
    """Directory of the registry that comes with the package."""
    return Path(__file__).parent / "zoo_data"


def open_registry(location: str | Path | None = None, *, create: bool = False) -> Store:
    """Open a registry.

    Args:
        location: A directory, or None for the zoo that comes with the package (read-only).
        create: Make the directory a registry if it is missing or empty.

    Raises:
        RegistryError: There is no registry at that place, or it is of a kind that this
            version does not support.
    """
    if location is None:
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
