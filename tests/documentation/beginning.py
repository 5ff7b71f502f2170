"""Files that readers are told to imagine, in the directory in which a page begins.

======================================  =================================================
``photos``, ``path/to/images``,         images in folders named after their classes
``path/to/photos``
``photo.jpg``                           one image
``run``                                 a finished warm start of those images
``tas``                                 a finished search on them
``net``                                 a model that was trained on what ``run`` found
``registry``                            a registry with the artifact ``digits@1``, from ``tas``
======================================  =================================================
"""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from tests.documentation.pages import Block
from tests.documentation.workplace import Programs, Shell

_NAMES = ("zero", "one", "two", "three")
_OF_EACH = 18
_COPIES = ("path/to/images", "path/to/photos")
_COMMANDS = """
wsdarts-hub warm-start photos --preset tiny --out run --quiet
wsdarts-hub search photos --preset tiny --out tas --quiet
wsdarts-hub train run photos --preset tiny --out net --quiet
wsdarts-hub push tas digits --registry registry --quiet
"""


def make_beginning(directory: Path, scratch: Path, programs: Programs) -> None:
    """Make all of it in a new directory."""
    write_digits(directory / "photos")
    for name in _COPIES:
        shutil.copytree(directory / "photos", directory / name)
    with Image.open(directory / "photos" / "one" / "00.png") as image:
        image.save(directory / "photo.jpg")
    commands = Block(language="bash", code=_COMMANDS, line=0, reason=None)
    Shell(directory, scratch, programs).run(commands)


def write_digits(folder: Path) -> None:
    """Write 72 of scikit-learn's digits as an image folder of four classes."""
    written: Counter[str] = Counter()
    digits = load_digits(n_class=len(_NAMES))
    for pixels, label in zip(digits.images, digits.target, strict=True):
        name = _NAMES[label]
        if written[name] < _OF_EACH:
            path = folder / name / f"{written[name]:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((pixels * (255 / 16)).astype(np.uint8)).save(path)
            written[name] += 1
