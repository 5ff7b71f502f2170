"""The page "Start here", walked from its first block to its last, ends in a trained model."""

import io
import json
import shutil
from pathlib import Path

import pyarrow.parquet
import pytest
from PIL import Image

from tests.documentation.pages import ROOT, Block, blocks
from tests.documentation.workplace import Shell
from wsdarts_hub import Classifier

_PAGE = ROOT / "docs" / "start.md"
_REAL = ROOT.parent / "shared" / "data" / "cifar10_1000.parquet"
_WHOLE = Block(language="bash", code="export DOCUMENTATION_STEPS=all\n", line=0, reason=None)
_CLASSES = 10
_OF_EACH = 60


def _write_photographs(folder: Path) -> None:
    """Write 600 photographs of CIFAR-10 in place of the digits, under the same names."""
    table = pyarrow.parquet.read_table(_REAL)
    written = [0] * _CLASSES
    for image, label in zip(table["image"].to_pylist(), table["label"].to_pylist(), strict=True):
        number = int(label)
        if written[number] < _OF_EACH:
            name = f"{_CLASSES * written[number] + number:04}.png"
            path = folder / str(number) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(io.BytesIO(image["bytes"])) as photograph:
                photograph.save(path)
            written[number] += 1


@pytest.mark.slow
def test_the_walk_ends_in_a_model_that_predicts(shell: Shell, tmp_path: Path) -> None:
    page = tmp_path / "page"
    photos, replaced = page / "photos", not _REAL.exists()
    printed = shell.run(_WHOLE)
    for block in blocks(_PAGE.read_text(encoding="utf-8")):
        if block.runs:
            printed += shell.run(block)
        if photos.exists() and not replaced:
            replaced = True
            shutil.rmtree(photos)
            _write_photographs(photos)
    names = {folder.name for folder in photos.iterdir()}
    assert len(names) == _CLASSES
    assert len(list(photos.glob("*/*.png"))) == _CLASSES * _OF_EACH
    result = json.loads((page / "net" / "result.json").read_text(encoding="utf-8"))
    assert result["accuracy"] > 1.2 / _CLASSES  # a little better than guessing
    assert (page / "run" / "report.html").stat().st_size > 10_000
    for folder in photos.iterdir():
        (found,) = Classifier.load(page / "net").predict(next(folder.iterdir()), top_k=_CLASSES)
        assert {name for name, _ in found.classes} == names
    for said in ("reference", "genotype", "accuracy", "photos/7/0017.png", "digits@1"):
        assert said in printed
