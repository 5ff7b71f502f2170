"""Names of files that tell what kind of dataset a folder is.

Apart from what reads those kinds, which loads Arrow: a folder of images is told from them without.
"""

from pathlib import Path

from wsdarts_registry.files import is_file

STATE = "state.json"
SPLITS = "dataset_dict.json"
METADATA = ("metadata.jsonl", "metadata.csv")


def is_saved(folder: Path) -> bool:
    """Return whether a folder is one that ``save_to_disk`` of `datasets` wrote."""
    return is_file(folder / STATE) or is_file(folder / SPLITS)


def may_have_metadata(folder: Path) -> bool:
    """Return whether a folder has a file that may say which images are what."""
    return any(is_file(folder / name) for name in METADATA)
