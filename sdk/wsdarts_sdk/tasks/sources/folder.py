"""Image folders: one folder for each class."""

import functools
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry.errors import TaskError
from wsdarts_registry.files import entries, is_directory, is_file, read_regular, resolved, status
from wsdarts_sdk.tasks.decoding import Undecodable
from wsdarts_sdk.tasks.identity import Content
from wsdarts_sdk.tasks.sources.base import ImageSource, Read
from wsdarts_sdk.tasks.stamps import file_stamps

# fmt: off
EXTENSIONS = frozenset({
    ".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm",
    ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
})
# fmt: on
_SPLIT_NAMES = frozenset(
    {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}
)


class FolderSource(ImageSource):
    """Images below class folders, classes in alphabetical order of the folders' names.

    Files in folders within a class folder belong to that class. Hidden files and folders,
    and files without an image's extension, are left out.
    """

    def __init__(self, root: Path) -> None:
        folders = sorted(
            (entry for entry in entries(root) if is_directory(entry) and not _hidden(entry.name)),
            key=lambda folder: folder.name,
        )
        files = [image_files(folder) for folder in folders]
        _check_layout(root, folders, files)
        self._files = [file for group in files for file in group]
        self.location = f"folder {resolved(root)}"
        super().__init__(
            name=resolved(root).name,
            class_names=[unicodedata.normalize("NFC", folder.name) for folder in folders],
            labels=np.repeat(np.arange(len(files)), [len(group) for group in files]),
            encoded=True,
        )

    def images(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, Read]]:
        """Yield the files; they are read where the result is called."""
        for row in rows.tolist():
            yield row, functools.partial(read_file, self._files[row])

    def stamps(self) -> NDArray[np.void]:
        """Return the stamp of each file."""
        return file_stamps(self._files)

    def describe(self, row: int) -> str:
        """Return the file's path."""
        return str(self._files[row])


def image_files(folder: Path) -> list[Path]:
    """List the image files at any depth, sorted; links are followed, each folder once."""
    return _files(folder, EXTENSIONS)


def parquet_files(folder: Path) -> list[Path]:
    """List the parquet files at any depth, sorted."""
    return _files(folder, frozenset([".parquet"]))


def read_file(file: Path) -> Content | Undecodable:
    """The bytes of a file, or why it cannot be read."""
    try:
        return read_regular(file)
    except OSError as error:
        return Undecodable(f"it cannot be read ({error.strerror})")


def _files(folder: Path, extensions: frozenset[str]) -> list[Path]:
    found = []
    seen: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        here = status(Path(parent))
        if here is None or (here.st_dev, here.st_ino) in seen:  # a link back to a folder above
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        folders[:] = [name for name in folders if not _hidden(name)]
        found += [
            Path(parent, name)
            for name in names
            if not _hidden(name) and Path(name).suffix.lower() in extensions
        ]
    return sorted(found)


def _check_layout(root: Path, folders: list[Path], files: list[list[Path]]) -> None:
    loose = [
        entry
        for entry in entries(root)
        if entry.suffix.lower() in EXTENSIONS and not _hidden(entry.name) and is_file(entry)
    ]
    if not any(files):
        if loose:
            raise TaskError(
                f"{root} has {len(loose)} images directly in it and so no classes; expected one "
                f"folder for each class, such as {root / 'CLASS' / loose[0].name}"
            )
        raise TaskError(
            f"{root} has no images; expected one folder for each class with files such as "
            f"{root / 'CLASS' / 'image.jpg'} (known: {', '.join(sorted(EXTENSIONS))})"
        )
    names = [folder.name for folder in folders]
    nested = all(any(file.parent != folder for file in group)
                 for folder, group in zip(folders, files, strict=True))  # fmt: skip
    if nested and all(name.lower() in _SPLIT_NAMES for name in names):
        raise TaskError(
            f"{root} has the folders {', '.join(names)}, which look like splits, not classes; "
            f"expected class folders. Name one of them, such as {folders[0]}, or put the class "
            "folders together: the task is split here anyway"
        )
    for folder, group in zip(folders, files, strict=True):
        if not group:
            raise TaskError(
                f"class folder {folder} has no images; expected at least 3. Remove the folder "
                "or add images"
            )


def _refuse(error: OSError) -> None:
    """Stop at a folder that cannot be listed: os.walk would leave it out without a word."""
    raise TaskError(
        f"{error.filename} cannot be listed ({error.strerror}); expected a readable folder. "
        "Check its permissions"
    ) from error


def _hidden(name: str) -> bool:
    return name.startswith(".")
