"""The baseline ``timm:SOURCE``: its budget, its weights, what it says, and its resumption."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch

from tests.registry.factories import make_genotype
from tests.sdk.pipelines.conftest import QUICK
from wsdarts_hub import TrainingRun, load_probe, report, train
from wsdarts_registry.errors import ProbeError, SettingsError
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.models.training_loop import TrainingLoop
from wsdarts_sdk.pipelines.baselines import FineTuning, find_baseline, fine_tuning_settings
from wsdarts_sdk.progress import silent
from wsdarts_sdk.reports.report_files import read_run
from wsdarts_sdk.runs.checkpoints import FileJournal, MemoryJournal
from wsdarts_sdk.task2vec.loading import SHIPPED

HEAD = 3 * 208 + 3
PRESET = QUICK.with_training(epochs=2, steps_per_epoch=2)
CPU = torch.device("cpu")


@pytest.fixture
def run(digits_task: ImageTask, tmp_path: Path) -> Callable[..., TrainingRun]:
    """Train in one directory, and go on there when it is called again."""

    def call(baseline: str | None = "timm:shipped", **changes: Any) -> TrainingRun:
        out = tmp_path / "net"
        return train(
            make_genotype(),
            digits_task,
            preset=PRESET.with_training(**changes),
            out=out,
            resume=out.exists(),
            baseline=baseline,
            device="cpu",
            progress=silent,
        )

    return call


def test_a_network_of_the_same_budget_stands_beside_the_result(
    run: Callable[..., TrainingRun], digits_task: ImageTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: dict[str, list[int]] = {}
    original = TrainingLoop._run_step

    def counted(self: TrainingLoop, step: Any, *rest: Any) -> None:
        taken.setdefault(self.what, []).append(len(step.batch.source))
        original(self, step, *rest)

    monkeypatch.setattr(TrainingLoop, "_run_step", counted)
    found = run()
    assert taken["baseline"] == taken["training"] == [8, 8, 8, 8]
    baseline = found.baseline
    assert baseline is not None
    assert baseline.kind == "timm"
    assert baseline.image_size == baseline.network_image_size == 8
    assert baseline.parameters == 1_000_856 + HEAD
    assert baseline.multiply_adds > baseline.network_multiply_adds > 0
    assert baseline.short_name == baseline.name
    assert found.to_json()["baseline"]["multiply_adds"] == baseline.multiply_adds
    assert json.loads((found.path / "result.json").read_text())["baseline"] == baseline.to_json()
    assert read_run(found.path).baseline == baseline
    assert baseline.name in found.report.read_text(encoding="utf-8")
    facts = found.model.facts
    assert facts is not None
    assert facts.baseline is not None
    assert (facts.multiply_adds, facts.baseline.multiply_adds) == (
        baseline.network_multiply_adds,
        baseline.multiply_adds,
    )
    card = found.model.save_timm(found.path / "timm") / "README.md"
    (line,) = (row for row in card.read_text().splitlines() if row.startswith("| multiply-adds"))
    assert f"{baseline.multiply_adds:,}" in line


def test_it_learns(digits_task: ImageTask) -> None:
    settings = replace(
        PRESET.training, epochs=8, steps_per_epoch=None, image_size=32, flip=False, cutout=0
    )
    chosen = find_baseline("timm:shipped", settings, CPU)
    assert chosen is not None
    assert chosen.settings is not None
    tuned = FineTuning(chosen.probe, digits_task, chosen.settings, device=CPU)
    before = {name: value.clone() for name, value in tuned.net.state_dict().items()}
    logits = tuned.run(MemoryJournal(), silent)
    truth = torch.from_numpy(digits_task.labels[digits_task.indices(digits_task.held_out)])
    assert (logits.argmax(1) == truth).float().mean() > 0.7
    moved = {n for n, v in tuned.net.state_dict().items() if not torch.equal(v, before[n])}
    assert "conv1.0.weight" in moved


def test_again_is_the_same_and_another_begins_anew(run: Callable[..., TrainingRun]) -> None:
    first = run()
    again = run()
    assert first.baseline is not None
    assert again.baseline is not None
    assert again.baseline.accuracy == first.baseline.accuracy
    larger = run("timm:shipped?size=16")
    assert larger.baseline is not None
    assert larger.baseline.image_size == 16
    assert larger.accuracy == first.accuracy
    assert run("linear").baseline != larger.baseline
    more = run("timm:shipped", epochs=3)
    assert more.baseline is not None
    assert len(more.result.rows) == 3
    rows = (more.path / "baseline.metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["epoch"] for row in rows] == [0, 1, 2]


def test_it_goes_on_after_an_interruption(
    run: Callable[..., TrainingRun], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(FileJournal, "due", lambda self: True)
    whole = run()
    (tmp_path / "net").rename(tmp_path / "whole")
    steps = 0
    original = TrainingLoop._run_step

    def stopped(self: TrainingLoop, *values: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise KeyboardInterrupt
        original(self, *values)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "_run_step", stopped)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert report(tmp_path / "net").to_json()["runs"]
    assert "baseline" in read_run(tmp_path / "net").unfinished
    found = run()
    assert found.baseline is not None
    assert whole.baseline is not None
    assert found.baseline.accuracy == whole.baseline.accuracy
    for name in ("baseline", "training"):
        files = [(tmp_path / d / f"{name}.checkpoint.safetensors") for d in ("whole", "net")]
        first, second = (FileJournal(file.parent, name).restore() for file in files)
        assert first is not None
        assert second is not None
        assert all(torch.equal(first.tensors[key], second.tensors[key]) for key in first.tensors)


def test_early_stopping_is_the_same(run: Callable[..., TrainingRun]) -> None:
    found = run(patience=1, epochs=3)
    assert found.baseline is not None
    assert found.to_json()["best"]["epoch"] >= 1
    rows = (found.path / "baseline.metrics.jsonl").read_text().splitlines()
    assert all("stopping_accuracy" in json.loads(row) for row in rows)


def test_lengths_in_pixels_are_scaled() -> None:
    training = QUICK.with_training(image_size=32, cutout=8, crop_padding=4, drop_path=0.3).training
    settings = fine_tuning_settings(training, 64)
    assert (settings.image_size, settings.cutout, settings.padding) == (64, 16, 8)
    assert (settings.drop_path, settings.auxiliary_weight) == (0, 0)
    assert fine_tuning_settings(replace(training, crop_padding=None), 64).padding == 8


def test_weights_from_a_file(tmp_path: Path) -> None:
    probe = load_probe()
    copied = tmp_path / "mine.safetensors"
    copied.write_bytes(SHIPPED.read_bytes())
    found = find_baseline(f"timm:{copied}?size=16", PRESET.training, CPU)
    assert found is not None
    assert found.settings is not None
    assert (found.probe.digest, found.settings.image_size) == (probe.digest, 16)


@pytest.mark.parametrize(
    ("baseline", "error"),
    [
        ("timm:resnet34.tv_in1k", ProbeError),
        ("timm:resnet3", ProbeError),
        ("timm:shipped?size=4", SettingsError),
        ("timm:shipped?size=big", SettingsError),
        ("timm:shipped?size=8&size=9", SettingsError),
        ("timm:absent.safetensors", ProbeError),
    ],
)
def test_what_cannot_be_had_is_refused_before_the_run(
    baseline: str,
    error: type[Exception],
    run: Callable[..., TrainingRun],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(error) as caught:
        run(baseline)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "net").exists()
