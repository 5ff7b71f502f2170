"""Image folders: one folder for each class, perhaps below one folder for each part of a split."""

import functools
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry._files import (
    open_regular,
    resolved,
)
from wsdarts_registry._format import pluralize
from wsdarts_registry.errors import TaskError
from wsdarts_sdk.data.decoding import Content, CorruptImage, Read
from wsdarts_sdk.data.sources.base import ImageSource, file_stats
from wsdarts_sdk.data.sources.listing import (
    EXTENSIONS,
    Listing,
    by_suffix,
    is_unread_image,
    list_files,
    list_images,
    named_folders,
)
from wsdarts_sdk.data.split import GivenPart, given_codes, part_named, with_validation

_SHOWN = 6  # names in an error; a dataset may have thousands
_SPLIT_FOLDERS = "the folders train and val (or test, or both) with the same class folders in each"
_READ = f"read are {', '.join(sorted(EXTENSIONS))}"


class FileSource(ImageSource):
    """Images that are files of their own; a subclass sets ``_files``, one path for each image."""

    _files: list[Path]

    @property
    def files(self) -> tuple[Path, ...]:
        """Return the file of each image."""
        return tuple(self._files)

    def images(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, Read]]:
        """Yield the files; they are read where the result is called."""
        yield from ((row, functools.partial(read_file, self._files[row])) for row in rows.tolist())

    def file_stats(self) -> NDArray[np.void]:
        """Return the stat of each file."""
        return file_stats(self._files)

    def describe(self, row: int) -> str:
        """Return the file's path."""
        return str(self._files[row])


class FolderSource(FileSource):
    """Images below class folders, classes in alphabetical order of the folders' names.

    Files in folders within a class folder belong to that class. Hidden files and folders are left
    out; images that are not read are counted. Where the folders are named as the parts of a split
    and hold the same class folders, that is the split.
    """

    def __init__(self, root: Path) -> None:
        layout = _layout(root)
        names = sorted({name for name, _, _ in layout.groups})
        label_of = {name: label for label, name in enumerate(names)}
        self._files = [file for _, _, files in layout.groups for file in files]
        sizes = [len(files) for _, _, files in layout.groups]
        labels = [label_of[name] for name, _, _ in layout.groups]
        self.location = f"folder {resolved(root)}"
        super().__init__(
            name=resolved(root).name,
            class_names=names,
            labels=np.repeat(np.array(labels, dtype=np.int64), sizes),
            encoded=True,
        )
        parts = [part for _, part, _ in layout.groups]
        if None not in parts:
            self.given = given_codes([part for part in parts if part is not None], sizes)
        self.passed_over = dict(layout.passed_over)
        self.notes = layout.notes


def image_files(folder: Path) -> list[Path]:
    """List the image files at any depth, sorted; links are followed, each folder once."""
    return list_images(folder).files


def parquet_files(folder: Path) -> list[Path]:
    """List the parquet files at any depth, sorted."""
    return list_files(folder, ".parquet")


def read_file(file: Path) -> Content | CorruptImage:
    """Return the bytes of a regular file, or the reason why it cannot be read."""
    try:
        with open_regular(file) as opened:
            return opened.read()
    except OSError as error:
        return CorruptImage(f"it cannot be read ({error.strerror})")


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """The images of each class and part.

    Attributes:
        groups: Class, part (None without a given split) and images; a class may have several.
        passed_over: Number of images that are not read, by suffix.
        notes: Sentences about images that are not read.
    """

    groups: Sequence[tuple[str, GivenPart | None, Sequence[Path]]]
    passed_over: Counter[str]
    notes: tuple[str, ...]


def _layout(root: Path) -> _Layout:
    """Find the class folders.

    Raises:
        TaskError: There are none, one has no images, or it is not clear which they are.
    """
    folders, loose = named_folders(root)
    listings = [list_images(root / name) for name in folders]
    full = [listing for listing in listings if any(listing.groups.values())]
    named = [file for file in loose if Path(file).suffix.lower() in EXTENSIONS]
    others = [file for file in loose if file not in named and is_unread_image(root / file)]
    beside = Counter(Path(file).suffix.lower() for file in (*named, *others))
    if not full:
        raise _no_images(root, named, sum((each.passed_over for each in listings), beside))
    if len(full) > 1:
        _check_no_parts_below(root, full)
    taken, groups = full, _one_split(full)
    if _looks_split(full):
        taken = _split_folders(root, full)
        groups = _given_split(taken)
        beside += Counter(file.suffix.lower() for each in taken for file in each.direct)
    elif len(full) == 1 and (deeper := _class_folders_below(full[0])):
        inner = _layout(deeper)
        return _with_passed_over(inner.groups, inner.passed_over, beside, notes=inner.notes)
    elif len(full) < len(listings):
        empty = next(each for each in listings if each not in full)
        raise _empty_class(empty.folder, empty.passed_over)
    junk = [each for each in full if each not in taken]
    beside += Counter(file.suffix.lower() for each in junk for file in each.files)
    inside = sum((each.passed_over for each in taken), Counter[str]())
    return _with_passed_over(groups, inside, beside)


def _with_passed_over(
    groups: Sequence[tuple[str, GivenPart | None, Sequence[Path]]],
    inside: Counter[str],
    beside: Counter[str],
    *,
    notes: tuple[str, ...] = (),
) -> _Layout:
    """Return a layout with the images that are not read, within class folders and beside them."""
    found = list(notes)
    if inside and not notes:
        found.append(
            f"passed over {pluralize(inside.total(), 'image')} in class folders, by a suffix "
            f"that is not read: {by_suffix(inside)} ({_READ})"
        )
    if beside:
        found.append(
            f"passed over {pluralize(beside.total(), 'image')} outside the class folders: "
            f"{by_suffix(beside)}"
        )
    return _Layout(groups=groups, passed_over=inside + beside, notes=tuple(found))


def _class_name(folder: str) -> str:
    """Return a folder's name in Unicode's composed form, which systems differ in."""
    return unicodedata.normalize("NFC", folder)


def _one_split(full: Sequence[Listing]) -> list[tuple[str, GivenPart | None, Sequence[Path]]]:
    return [(_class_name(each.folder.name), None, each.files) for each in full]


def _given_split(taken: Sequence[Listing]) -> list[tuple[str, GivenPart | None, Sequence[Path]]]:
    """Return the class folders of each part; a held-out part alone is for validation."""
    named = [part_named(each.folder.name) for each in taken]
    parts = with_validation([part for part in named if part is not None])
    return [
        (_class_name(name), part, files)
        for listing, part in zip(taken, parts, strict=True)
        for name, files in listing.inner.items()
    ]


def _looks_split(full: Sequence[Listing]) -> bool:
    """Return whether folders seem to be splits, by their names or as they repeat classes."""
    named = [each for each in full if part_named(each.folder.name)]
    if len(full) == 1:
        return False
    if len(named) > 1 or any(not each.direct and len(each.inner) > 1 for each in named):
        return True
    owners: dict[str, list[int]] = {}
    for number, each in enumerate(full):
        common = Counter(other for name in each.holders for other in owners.get(name, ()))
        if any(times > 1 for times in common.values()):
            return True
        for name in each.holders:
            owners.setdefault(name, []).append(number)
    return False


def _check_no_parts_below(root: Path, full: Sequence[Listing]) -> None:
    """Raise a TaskError if a class folder holds parts of a split, which would be mixed."""
    for listing in full:
        found: dict[GivenPart, Path] = {}
        for folder in dict.fromkeys(file.parent for file in listing.files):
            for name in folder.relative_to(listing.folder).parts:
                part = part_named(name)
                if part is not None:
                    found.setdefault(part, _nearest_named(folder, name))
        if len(found) > 1 and part_named(listing.folder.name) is None:
            held = " and ".join(str(path.relative_to(root)) for path in found.values())
            parent = next(iter(found.values())).parent
            raise TaskError(
                f"{root} has {_described(full)}, where {held} look like parts of a split below a "
                "class folder",
                expected=f"parts above the classes, such as {root / 'train' / 'CLASS'}",
                hint=(
                    f"move them there, or name the folder of a split, such as {parent}, if it "
                    "holds classes in each part"
                ),
            )


def _nearest_named(folder: Path, name: str) -> Path:
    """Return the nearest folder of that name among a folder and its parents."""
    return next(path for path in (folder, *folder.parents) if path.name == name)


def _split_folders(root: Path, full: Sequence[Listing]) -> list[Listing]:
    """Return the folders of train, validation and test, if all hold the same classes.

    Raises:
        TaskError: They do not, or a part is missing or there twice.
    """
    named = [each for each in full if part_named(each.folder.name)]
    parts = Counter(part_named(each.folder.name) for each in named)
    classes = {frozenset(map(_class_name, each.inner)) for each in named}
    whole = (
        parts[GivenPart.TRAIN] == 1
        and len(parts) > 1
        and max(parts.values()) == 1
        and len(classes) == 1
        and all(classes)
    )
    if not whole:
        if not named:
            raise _repeated_names(root, full)
        raise TaskError(
            f"{root} has {_described(full)}, which look like splits, not classes"
            f"{_missing_classes(named)}",
            expected=f"class folders, or {_SPLIT_FOLDERS}",
            hint=_suggested_folder(full),
        )
    for each in named:
        for name, files in each.groups.items():
            if name and not files:
                raise _empty_class(each.folder / name, each.passed_over)
    return named


def _repeated_names(root: Path, full: Sequence[Listing]) -> TaskError:
    """Return the error for unnamed folders that hold folders of equal names."""
    return TaskError(
        f"{root} has {_described(full)}, which look like splits, not classes, as they repeat the "
        "names of folders",
        expected=f"class folders with their images directly in them, or {_SPLIT_FOLDERS}",
        hint=(
            f"if they are splits: {_suggested_folder(full)}; if they are classes: move the images "
            "up, so that each class is one folder without folders in it"
        ),
    )


def _suggested_folder(full: Sequence[Listing]) -> str:
    """Return the hint to name the train part, or else a folder that holds class folders."""
    found = [(each, below) for each in full if (below := _class_folders_below(each))]
    if not found:
        return "put the images of each class into a folder of its own"
    trained = [below for each, below in found if part_named(each.folder.name) is GivenPart.TRAIN]
    meant = trained[0] if trained else found[0][1]
    return f"name the folder whose class folders are meant, such as {meant}: it is split here"


def _missing_classes(named: Sequence[Listing]) -> str:
    """Return text that names the classes that not every part has, if all have classes."""
    classes = [frozenset(map(_class_name, each.inner)) for each in named]
    if not all(classes) or len(set(classes)) < 2:
        return ""
    missing = sorted(frozenset.union(*classes) - frozenset.intersection(*classes))
    return f" ({_listed(missing)} not in all of them)"


def _described(full: Sequence[Listing]) -> str:
    """Return the content of folders, such as ``train (folders a, b); test (4 images)``."""
    return _listed([f"{each.folder.name} ({_content(each)})" for each in full], "; ")


def _content(listing: Listing) -> str:
    held = [f"folders {_listed(sorted(listing.inner))}"] if listing.inner else []
    if listing.direct:
        held.append(pluralize(len(listing.direct), "image"))
    return " and ".join(held)


def _listed(names: Sequence[str], between: str = ", ") -> str:
    more = f"{between}… {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return between.join(names[:_SHOWN]) + more


def _class_folders_below(listing: Listing) -> Path | None:
    """Return the first folder down a chain of single ones that holds several with images.

    None where images lie in the chain itself.
    """
    parents = {file.parent for file in listing.files}
    common = Path(os.path.commonpath(parents))
    return None if common in parents else common


def _no_images(root: Path, loose: Sequence[str], passed_over: Mapping[str, int]) -> TaskError:
    if loose:
        return TaskError(
            f"{root} has {pluralize(len(loose), 'image')} directly in it and so no classes",
            expected=f"one folder for each class, such as {root / 'CLASS' / loose[0]}",
        )
    archives = list_files(root, ".tar")
    if archives:
        return TaskError(
            f"{root} has no images, but {pluralize(len(archives), 'tar file')} below it",
            hint=f"name the folder that holds them: {archives[0].parent}",
        )
    return TaskError(
        f"{root} has no images{_unread_images(passed_over)}",
        expected=(
            f"one folder for each class with files such as {root / 'CLASS' / 'image.jpg'} "
            f"(known: {', '.join(sorted(EXTENSIONS))})"
        ),
    )


def _empty_class(folder: Path, passed_over: Mapping[str, int]) -> TaskError:
    return TaskError(
        f"class folder {folder} has no images{_unread_images(passed_over)}",
        expected="at least 3",
        hint="remove the folder or add images",
    )


def _unread_images(passed_over: Mapping[str, int]) -> str:
    if not passed_over:
        return ""
    return (
        f" that are read, but {by_suffix(passed_over)}, which are images by their content or name "
        "(convert them, or give them the suffix of their format)"
    )
