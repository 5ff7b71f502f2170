"""Names of files that tell what kind of dataset a folder is.

Apart from what reads those kinds, which loads Arrow: a folder of images is told from them without.
"""

from collections.abc import Callable
from pathlib import Path

from wsdarts_registry.errors import FileAccessError
from wsdarts_registry.files import exists, is_file

STATE = "state.json"
SPLITS = "dataset_dict.json"
METADATA = ("metadata.jsonl", "metadata.csv")


def is_saved(folder: Path) -> bool:
    """Return whether a folder is one that ``save_to_disk`` of `datasets` wrote."""
    return any(_has(folder, name, is_file) for name in (STATE, SPLITS))


def may_have_metadata(folder: Path) -> bool:
    """Return whether a folder has something that should say which images are what."""
    return any(_has(folder, name, exists) for name in METADATA)


def _has(folder: Path, name: str, look: Callable[[Path], bool]) -> bool:
    try:
        return look(folder / name)
    except FileAccessError as error:  # it would name a file that perhaps does not exist
        raise FileAccessError.of(
            f"cannot enter {folder}: {error.strerror}; check its permissions, and those of the "
            "directories above it",
            error,
            str(folder),
        ) from error
