import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.test_terminal import on_terminal
from tests.registry.factories import SPACE, make_artifact, make_masks, make_ranked
from wsdarts_registry._format import metric_difference
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.stores.directory import DirectoryStore


def changed(zoo: Path, directory: Path) -> None:
    """Publish a second version of flowers with other masks, settings and figures."""
    usual = make_masks()
    rows = ((True, False, True), *usual.normal[1:])
    masks = OperationMasks(space=SPACE, normal=rows, reduction=usual.reduction)
    make_artifact(
        directory,
        stage_masks=[OperationMasks.full(SPACE), masks],
        ranked=make_ranked(masks),
        config={"preset": "small", "stages": [[3, 3], [3, 2]], "weights": {"momentum": 0.9}},
        metrics={"weights_accuracy": 0.525, "alpha_loss": 1.5},
    )
    DirectoryStore(zoo).publish(directory, "flowers")


def test_what_differs_is_shown(zoo: Path, run: Run, tmp_path: Path) -> None:
    changed(zoo, tmp_path / "second")
    shown = run("diff", "flowers@1", "flowers@2", "--registry", zoo)
    assert shown.code == 0
    rows = [line.split() for line in shown.lines]
    for row in (
        ["normal", "c_{k-2}", "→", "0", "skip_connect", "none"],
        ["preset", "tiny", "small"],
        ["weights.momentum", "(not", "there)", "0.9"],
        ["supernet", "accuracy,", "weights", "half", "50.0", "%", "52.5", "%", "+2.5", "points"],
        ["supernet", "loss,", "α", "half", "1.5"],
        ["distance", "0.0000", "by"],
    ):
        assert any(line[: len(row)] == row for line in rows), row
    assert shown.lines[-1] == "genotype, tasks, other facts"


def test_as_json_and_quiet(zoo: Path, run: Run, tmp_path: Path) -> None:
    changed(zoo, tmp_path / "second")
    there = ("--registry", zoo)
    data = json.loads(run("diff", "flowers@1", "flowers@2", "--json", *there).out)
    assert data["masks"] == [
        {"cell": "normal", "edge": [0, 2], "lost": ["skip_connect"], "gained": ["none"]}
    ]
    assert data["config"][0] == {"key": "preset", "before": "tiny", "after": "small"}
    assert data["metrics"][0]["difference"] == 0.525 - 0.5
    quiet = run("diff", "flowers@1", "flowers@2", "-q", *there).lines
    assert quiet[0].startswith("operations")
    assert quiet[1:] == ["settings", "figures", "files"]
    assert run("diff", "flowers", "flowers", "-q", *there).out == ""


def test_a_run_is_compared_with_what_is_published(zoo: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    shutil.copytree(tmp_path / "drafts" / "textures", tmp_path / "run" / "artifact")
    shown = run("diff", "textures", tmp_path / "run", "-q", "--registry", zoo)
    assert (shown.code, shown.out) == (0, "")
    assert run("diff", "textures", tmp_path / "nowhere", "--registry", zoo).code == 1


def test_what_the_shipped_zoo_has_is_hinted_at(
    zoo: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = f"copy dtd-10@2 --to {zoo}`"
    shown = run("diff", "flowers", "dtd-10", "--registry", zoo)
    assert shown.code == 1
    assert f"`wsdarts-hub {copy}" in shown.err
    assert "the shipped zoo" not in run("diff", "flowers", "nowhere", "--registry", zoo).err
    assert "the shipped zoo" not in run("diff", "flowers102", "dtd-10@99").err
    monkeypatch.setenv("WSDARTS_HUB_REGISTRY", str(zoo))
    assert f"`WSDARTS_HUB_REGISTRY= wsdarts-hub {copy}" in run("diff", "flowers", "dtd-10").err


def test_it_fits_a_terminal_of_80_columns(zoo: Path, tmp_path: Path) -> None:
    changed(zoo, tmp_path / "second")
    for pair in (("flowers@1", "flowers@2"), ("flowers", "flowers-textures")):
        arguments = ("diff", *pair, "--registry", str(zoo))
        shown = on_terminal(*arguments, width=80, NO_COLOR="1")
        assert "figures" in shown
        assert [line for line in shown.splitlines() if len(line) > 80] == []


def test_differences_have_their_sign() -> None:
    assert metric_difference("alpha_accuracy", -0.0234) == "−2.3 points"
    assert metric_difference("alpha_loss", -0.5) == "−0.5"
    assert metric_difference("steps", 19200) == "+19,200"
    assert metric_difference("tiny", 1e-07) == "+1e-07"
