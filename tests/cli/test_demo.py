import builtins
import re
import sys
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run, call_all_near
from wsdarts_hub import open_registry, push, search
from wsdarts_hub.cli.demo import Demo, digits
from wsdarts_hub.cli.shared.options import preset_with
from wsdarts_sdk.data.split import Part

QUICK = preset_with(
    "tiny",
    [
        "name=quick",
        *(f"search.stages.{stage}.epochs=1" for stage in (1, 2, 3)),
        *(f"search.stages.{stage}.weights_only_epochs=0" for stage in (1, 2, 3)),
        "search.steps_per_epoch=1",
        "training.epochs=1",
        "training.steps_per_epoch=1",
    ],
)


def test_the_digits() -> None:
    task = digits()
    assert (task.name, len(task), task.classes) == ("digits", 1797, 10)
    pixels = task.pixels(8)
    # Greys of 0 to 16 become the full range; as they are the images would be almost black.
    assert (int(pixels.min()), int(pixels.max())) == (0, 255)


def test_without_scikit_learn_the_demo_says_what_to_install(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def refuse(name: str, *arguments: Any) -> Any:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", refuse)
    shown = run("demo", "--out", tmp_path / "demo", "-q")
    assert shown.code == 1
    assert "scikit-learn" in shown.err
    assert "`pip install '.[demo]'`" in shown.err
    assert shown.err.count("\n") == 1


def test_a_directory_of_other_things_is_left_alone(run: Run, zoo: Path) -> None:
    before = set(zoo.iterdir())
    shown = run("demo", "--out", zoo, "-q")
    assert shown.code == 1
    assert shown.err.startswith(f"error: {zoo} holds other files (artifacts)")
    assert set(zoo.iterdir()) == before


@pytest.mark.slow
def test_the_demo(images: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push(search(images, out=tmp_path / "search", preset=QUICK).path, "a", registry=tmp_path / "zoo")
    call_all_near(tmp_path / "zoo")
    # All of it, but for 300 digits, with short searches and a short training, and a zoo of one.
    some = digits().subset(range(300))
    monkeypatch.setattr(sys.modules[Demo.__module__], "digits", lambda **_: some)
    changed = partialmethod(Demo.__init__, preset=QUICK, registry=open_registry(tmp_path / "zoo"))
    monkeypatch.setattr(Demo, "__init__", changed)
    out = tmp_path / "demo"
    first = run("demo", "--out", out)
    assert first.code == 0, first.err
    assert first.lines[0] == f"working in {out}, preset quick"
    text = first.out
    assert re.search(r"^a@1 +0\.\d{4} +transfer +images +16 +2$", text, re.MULTILINE)
    assert "from  a@1" in first.lines
    assert "mode  trained" in first.lines
    assert "weights and α of" in text
    assert re.search(r"^The warm start took \d+\.\d %", text, re.MULTILINE)
    assert f"drawing: {out / 'warm-start' / 'cells.svg'}" in first.lines
    assert (out / "warm-start" / "cells.svg").is_file()
    measured = "Both were measured by this demo, on this machine"
    assert measured in text
    assert measured in (out / "warm-start" / "report.html").read_text(encoding="utf-8")
    assert re.search(
        rf"^accuracy +\d+\.\d % of {len(some.indices(Part.VALIDATION))}", text, re.MULTILINE
    )
    assert [line.split()[:2] for line in first.lines[-3:]] == [
        ["wsdarts-hub", "warm-start"],
        ["wsdarts-hub", "train"],
        ["wsdarts-hub", "push"],
    ]
    # What is finished is read again: the same results, and the times of when it ran; only the
    # network is evaluated anew.
    again = run("demo", "--out", out)
    assert again.lines[0] == f"going on in {out}, preset quick"
    assert without_cost(again.lines[1:]) == without_cost(first.lines[1:])


def without_cost(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith("cost ")]
