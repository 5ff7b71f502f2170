"""Listings of folders: the images and files below one, and the files that tell its kind.

An image is listed where its name has the suffix of a decoded format. Files that hold an image, or
are named as one, without such a suffix are counted, so that users are told of them.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wsdarts_registry._files import exists, is_file, open_regular
from wsdarts_registry._format import count
from wsdarts_registry.errors import FileAccessError, TaskError

# Names of the files that tell the kind of a dataset's folder.
STATE_FILE = "state.json"
SPLITS_FILE = "dataset_dict.json"
METADATA_FILES = ("metadata.jsonl", "metadata.csv")


def is_saved(folder: Path) -> bool:
    """Return whether a folder is one that ``save_to_disk`` of `datasets` wrote."""
    return any(_has(folder, name, is_file) for name in (STATE_FILE, SPLITS_FILE))


def may_have_metadata(folder: Path) -> bool:
    """Return whether a folder has a file of metadata."""
    return any(_has(folder, name, exists) for name in METADATA_FILES)


def _has(folder: Path, name: str, look: Callable[[Path], bool]) -> bool:
    try:
        return look(folder / name)
    except FileAccessError as error:  # names the file, which may not exist: name the folder
        raise FileAccessError.of(
            f"cannot enter {folder}: {error.strerror}",
            error,
            str(folder),
            hint="check its permissions, and those of the directories above it",
        ) from error


# fmt: off
EXTENSIONS = frozenset({
    ".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm",
    ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
})
# Formats of images that are not decoded; some have no signature in the file.
_OTHER_IMAGES = frozenset({
    ".arw", ".cr2", ".cr3", ".dcm", ".dicom", ".dng", ".exr", ".fits", ".hdr", ".heic", ".heif",
    ".hif", ".ico", ".j2k", ".jxl", ".mrc", ".nef", ".nii", ".npy", ".orf", ".pcx", ".psd", ".raf",
    ".raw", ".rw2", ".svg", ".tga", ".xcf",
})
# Files that often lie beside images, in great number, and need not be opened.
_NO_IMAGES = frozenset({
    ".csv", ".htm", ".html", ".ini", ".json", ".jsonl", ".log", ".md", ".parquet", ".pdf", ".py",
    ".rst", ".tar", ".toml", ".tsv", ".txt", ".xml", ".yaml", ".yml", ".zip",
})
_KNOWN_SUFFIXES = EXTENSIONS | _OTHER_IMAGES | _NO_IMAGES
_FILE_SIGNATURES = (
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0",
    b"MM\0+", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51", b"\0\0\0\x0cJXL ", b"8BPS", b"v/1\x01",
)
# fmt: on
_IMAGE_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1", b"avif", b"avis")
_HEAD = 132


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The images and folders below a folder.

    Attributes:
        folder: The folder.
        groups: The images below each folder directly in it, by its name, sorted by path; images
            directly in the folder under ``""``. A folder without images has an empty group.
        holders: Names of the folders, at any depth, that hold images directly.
        passed_over: Number of images that are not read, by suffix in lower case.
    """

    folder: Path
    groups: Mapping[str, tuple[Path, ...]]
    holders: frozenset[str]
    passed_over: Counter[str]

    @property
    def files(self) -> list[Path]:
        """Return all images, sorted."""
        return sorted(file for group in self.groups.values() for file in group)

    @property
    def direct(self) -> tuple[Path, ...]:
        """Return the images directly in the folder."""
        return self.groups.get("", ())

    @property
    def inner(self) -> dict[str, tuple[Path, ...]]:
        """Return the images below each folder directly in it that has any."""
        return {name: files for name, files in self.groups.items() if name and files}


def list_images(folder: Path) -> Listing:
    """List the images below a folder; links are followed, each folder once.

    Raises:
        TaskError: A folder cannot be listed, or a link that may be one leads nowhere.
    """
    groups: dict[str, list[Path]] = {}
    holders: set[str] = set()
    passed_over: Counter[str] = Counter()
    for parent, top, folders, files in _walk(folder):
        if parent == folder:
            groups.update({name: [] for name in folders})
        for name in files:
            suffix = Path(name).suffix.lower()
            if suffix in EXTENSIONS:
                groups.setdefault(top, []).append(parent / name)
                holders.add(parent.name)
            elif is_unread_image(parent / name):
                passed_over[suffix] += 1
    return Listing(
        folder=folder,
        groups={name: tuple(sorted(files)) for name, files in groups.items()},
        holders=frozenset(holders),
        passed_over=passed_over,
    )


def list_files(folder: Path, suffix: str) -> list[Path]:
    """List the files of a suffix at any depth, sorted; links are followed, each folder once."""
    return sorted(
        parent / name
        for parent, _, _, files in _walk(folder)
        for name in files
        if Path(name).suffix.lower() == suffix
    )


def named_folders(root: Path) -> tuple[list[str], list[str]]:
    """Return the names of the folders and of the other files directly in a folder, sorted."""
    _, _, folders, files = next(_walk(root))
    return sorted(folders), sorted(files)


def is_unread_image(file: Path) -> bool:
    """Return whether a file without the suffix of a decoded format is an image."""
    suffix = file.suffix.lower()
    if suffix in _OTHER_IMAGES or suffix in _NO_IMAGES:
        return suffix in _OTHER_IMAGES
    try:
        with open_regular(file) as opened:
            head = opened.read(_HEAD)
    except OSError:  # a pipe, a device, or unreadable
        return False
    return (
        head.startswith(_FILE_SIGNATURES)
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[4:8] == b"ftyp" and head[8:12] in _IMAGE_BRANDS)
        or (head[:2] == b"BM" and head[6:10] == bytes(4))
        or head[128:132] == b"DICM"
    )


def by_suffix(passed_over: Mapping[str, int]) -> str:
    """Return numbers by suffix as text, such as ``20 .heic, 4 without a suffix``."""
    ordered = sorted(passed_over.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count(n)} {suffix or 'without a suffix'}" for suffix, n in ordered)


def _walk(root: Path) -> Iterator[tuple[Path, str, list[str], list[str]]]:
    """Yield each folder below ``root``, and ``root`` first.

    Yields:
        The folder; the name of the folder directly in ``root`` that it belongs to, ``""`` for
        ``root``; names of the folders and of the other files in it, hidden ones left out.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [(root, "")]
    while waiting:
        parent, top = waiting.pop()
        folders: list[str] = []
        files: list[str] = []
        try:
            status = parent.stat()
            if (status.st_dev, status.st_ino) in seen:  # a link back to a folder above
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(parent) as entries:
                for entry in entries:
                    if not entry.name.startswith("."):
                        (folders if _is_folder(entry) else files).append(entry.name)
        except OSError as error:  # skipping it would drop images silently
            raise TaskError(
                f"{error.filename or parent} cannot be listed ({error.strerror})",
                expected="a readable folder",
                hint="check its permissions",
            ) from error
        yield parent, top, folders, files
        waiting += [(parent / name, top or name) for name in sorted(folders, reverse=True)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder, or a link to one.

    Raises:
        TaskError: It is a broken link not named as an image, so it may have been a folder.
    """
    if entry.is_dir():
        return True
    suffix = Path(entry.name).suffix.lower()
    if suffix in _KNOWN_SUFFIXES or not entry.is_symlink():
        return False
    if exists(Path(entry.path)):
        return False
    raise TaskError(
        entry.path,
        found="a broken link",
        expected="a folder or a file",
        hint="mount or restore its target, or remove the link",
    )
