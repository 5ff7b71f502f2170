"""Classification datasets that torchvision downloads."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsdarts_registry._arguments import did_you_mean, nearest_names
from wsdarts_registry._libraries import naming_hidden_libraries
from wsdarts_registry.errors import TaskError
from wsdarts_sdk.data.decoding import Content, CorruptImage, Read, pillow_pixels
from wsdarts_sdk.data.sources.base import (
    ImageSource,
    checked_labels,
    chosen_splits,
    joined_splits_note,
    kept_parts,
    named_labels,
)
from wsdarts_sdk.data.split import given_codes

_Arguments = Mapping[str, Any]
_TRAIN_TEST: Mapping[str, _Arguments] = {"train": {"train": True}, "test": {"train": False}}


def _splits(*names: str) -> Mapping[str, _Arguments]:
    return {name: {"split": name} for name in names}


# Arguments for each split; a split that repeats images of another is left out.
_DATASETS: Mapping[str, Mapping[str, _Arguments]] = MappingProxyType(
    {
        "Caltech101": {"all": {}},
        "Caltech256": {"all": {}},
        "CIFAR10": _TRAIN_TEST,
        "CIFAR100": _TRAIN_TEST,
        "Country211": _splits("train", "valid", "test"),
        "DTD": _splits("train", "val", "test"),
        "EuroSAT": {"all": {}},
        "FGVCAircraft": _splits("trainval", "test"),
        "FashionMNIST": _TRAIN_TEST,
        "Flowers102": _splits("train", "val", "test"),
        "Food101": _splits("train", "test"),
        "GTSRB": _splits("train", "test"),
        "Imagenette": _splits("train", "val"),
        "KMNIST": _TRAIN_TEST,
        "MNIST": _TRAIN_TEST,
        "OxfordIIITPet": _splits("trainval", "test"),
        "PCAM": _splits("train", "val", "test"),
        "RenderedSST2": _splits("train", "val", "test"),
        "SEMEION": {"all": {}},
        "STL10": _splits("train", "test"),
        "SUN397": {"all": {}},
        "SVHN": _splits("train", "test"),
        "USPS": _TRAIN_TEST,
    }
)


class TorchvisionSource(ImageSource):
    """A dataset of torchvision, its splits joined.

    torchvision decodes the images itself, so they are identified by their pixels, and every
    load has to decode them.
    """

    def __init__(self, name: str, *, root: Path, split: str | Sequence[str] | None) -> None:
        name = _known(name)
        splits = _DATASETS[name]
        wanted = chosen_splits(tuple(splits), split, f"torchvision's {name}")
        self._name = name
        self._splits = wanted
        self._parts = [_open(name, root, splits[key]) for key in wanted]
        self._starts = np.cumsum([0, *(len(part) for part in self._parts)])
        class_names, labels = _labels(name, self._parts)
        super().__init__(name=name, class_names=class_names, labels=labels, encoded=False)
        if split is None:
            self.notes = joined_splits_note(wanted)
        plain = ["train" if key == "trainval" else key for key in wanted]
        parts = kept_parts(plain, {"split": split}, f"torchvision's {name}")
        if parts is not None:
            self.given = given_codes(parts, [len(part) for part in self._parts])

    def images(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, Read]]:
        """Yield the images, fetched one after another: not every dataset can be shared."""
        for row in rows.tolist():
            part, index = self._locate(row)
            yield row, _returning(_content(self._parts[part], index))

    def describe(self, row: int) -> str:
        """Return the image's number in its split."""
        part, index = self._locate(row)
        return f"image {index} of {self._splits[part]!r} of torchvision's {self._name}"

    def _locate(self, row: int) -> tuple[int, int]:
        part = int(np.searchsorted(self._starts, row, side="right")) - 1
        return part, row - int(self._starts[part])


def _known(name: str) -> str:
    by_lower = {known.lower(): known for known in _DATASETS}
    if name.lower() in by_lower:
        return by_lower[name.lower()]
    close = did_you_mean(nearest_names(name, _DATASETS, least=0.5))
    raise TaskError(
        f"torchvision has no classification dataset {name!r} that is known here",
        expected=f"one of {', '.join(_DATASETS)}",
        hint=close.strip(),
    )


def _open(name: str, root: Path, arguments: _Arguments) -> Any:
    with naming_hidden_libraries():
        import torchvision  # noqa: PLC0415  (imports torch, which takes seconds)

        kind = getattr(torchvision.datasets, name)
    root.mkdir(parents=True, exist_ok=True)
    try:
        # Some classes download although the files exist, so try without first.
        with contextlib.suppress(RuntimeError, FileNotFoundError):
            return kind(root, **arguments, download=False)
        return kind(root, **arguments, download=True)
    except (OSError, RuntimeError, ImportError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TaskError(
            f"torchvision's {name} cannot be loaded: {reason}",
            expected=f"its files in {root}, or a connection to download them",
        ) from error


def _labels(name: str, parts: Sequence[Any]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    where = f"the labels of torchvision's {name}"
    values = [int(label) for part in parts for label in _targets(part)]
    class_names = getattr(parts[0], "classes", None) or getattr(parts[0], "categories", None)
    if class_names is None:
        return named_labels(values, where)
    names = tuple(n if isinstance(n, str) else ", ".join(n) for n in class_names)
    return names, checked_labels(values, names, where)


def _targets(part: Any) -> Sequence[Any]:
    """Return the labels, from the attribute that holds them if there is one."""
    for attribute in ("targets", "labels", "_labels", "y"):
        found = getattr(part, attribute, None)
        if found is not None and len(found) == len(part):
            return found if isinstance(found, list) else np.asarray(found).tolist()
    samples = getattr(part, "samples", None) or getattr(part, "_samples", None)
    if samples:
        return [label for _, label in samples]
    return [part[index][1] for index in range(len(part))]


def _returning(content: Content | CorruptImage) -> Read:
    return lambda: content


def _content(part: Any, index: int) -> Content | CorruptImage:
    try:
        image = part[index][0]
        if not isinstance(image, Image.Image):
            return CorruptImage(f"torchvision gave a {type(image).__name__}, not an image")
        return pillow_pixels(image)
    except (OSError, SyntaxError, ValueError) as error:
        return CorruptImage(" ".join(str(error).split()))
