"""What the card of a published artifact tells its reader to type runs as it stands."""

import re
import runpy
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.few_steps import few_steps
from wsdarts_hub import SMALL, Genotype, open_registry
from wsdarts_hub.cli import main
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.publishing._card import PRESET_NAMES
from wsdarts_sdk.presets import PRESETS

_BLOCK = re.compile(r"```(bash|python)\n(.*?)```", re.DOTALL)


@pytest.fixture
def path_to_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the card calls ``path/to/images``, below the working directory: thirty small images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WSDARTS_HUB_REGISTRY", raising=False)
    random = np.random.default_rng(0)
    folder = tmp_path / "path" / "to" / "images"
    for name, low in (("dark", 0), ("light", 128)):
        (folder / name).mkdir(parents=True)
        for number in range(15):
            pixels = random.integers(low, low + 128, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def _type(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a shell would do with a line."""
    arguments = shlex.split(line)
    assert arguments[0] == "wsdarts-hub"
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code


def test_the_blocks_of_a_card_run_as_they_stand(
    path_to_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "small", few_steps(SMALL))
    published = open_registry().pull("dtd-10")
    blocks = _BLOCK.findall(str(published.card))
    assert [language for language, _ in blocks] == ["bash", "python"]
    (_, commands), (_, program) = blocks
    for line in commands.splitlines():
        _type(line, monkeypatch)
    assert read_artifact(tmp_path / "artifact").digest == published.digest
    (parent,) = read_artifact(tmp_path / "run" / "artifact").manifest.lineage.parents
    assert parent.digest == published.digest

    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    result = runpy.run_path("program.py")["result"]
    assert isinstance(result.genotype, Genotype)
    assert result.source == "dtd-10@2"
    # The weights fit, since the card names the preset that they were made by.
    assert result.mode == "trained"


def test_a_card_names_the_presets_that_there_are() -> None:
    assert set(PRESET_NAMES) == set(PRESETS)
