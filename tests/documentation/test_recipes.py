"""Blocks that need packages of others: run as they are written, where those are installed."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.documentation.pages import ROOT, Block, blocks
from tests.documentation.workplace import Shell

pytestmark = [pytest.mark.processes, pytest.mark.slow]
CHECKOUT = "WSDARTS_HUB_TIMM_CHECKOUT"
# A word that the block has, and the packages that it needs.
RECIPES = {
    ("monitoring", "import wandb"): ("wandb",),
    ("monitoring", "import mlflow"): ("mlflow",),
    ("other-trainers", "import lightning"): ("lightning",),
    ("other-trainers", "from transformers"): ("transformers", "accelerate"),
    ("other-trainers", "runpy"): (),
}


def found(page: str, word: str) -> Block:
    text = (ROOT / "docs" / "guides" / f"{page}.md").read_text(encoding="utf-8")
    (block,) = (block for block in blocks(text) if word in block.code)
    return block


@pytest.mark.parametrize(("page", "word"), RECIPES)
def test_a_recipe_runs(
    page: str,
    word: str,
    beginning: Path,
    tmp_path: Path,
    shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for package in RECIPES[page, word]:
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed, which only this recipe needs")
    place = tmp_path / "page"
    shutil.copytree(beginning, place, dirs_exist_ok=True)
    if word == "runpy":
        if CHECKOUT not in os.environ:
            pytest.skip(f"{CHECKOUT} names no checkout of pytorch-image-models")
        (place / "pytorch-image-models").symlink_to(Path(os.environ[CHECKOUT]).absolute())
    shell.run(found(page, word))


def test_every_recipe_is_in_its_page() -> None:
    assert all(found(page, word).reason for page, word in RECIPES)
