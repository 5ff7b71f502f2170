"""The jobs for a GPU, on the CPU and tiny: each is interrupted, goes on, and ends."""

import argparse
import importlib
import json
import math
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from tests.few_steps import few_steps
from wsdarts_registry.artifact.manifest import same_but_for_card
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.records import shipped_zoo
from wsdarts_sdk import presets
from wsdarts_sdk.artifacts.building import run_check

_ROOT = Path(__file__).resolve().parents[2]
_TINY = ["--device", "cpu", "--size", "8", "--batch", "4"]
Call = Callable[..., str]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call a script's ``main``; what it prints."""
    monkeypatch.setattr(sys, "path", [str(_ROOT / "benchmarks" / "gpu"), *sys.path])
    before = set(sys.modules)

    def run(script: str, *arguments: Any) -> str:
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *map(str, arguments)])
        module(script).main()
        return capsys.readouterr().out

    yield run  # type: ignore[misc]
    for name in set(sys.modules) - before:  # `measure` is the name of two scripts
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(_ROOT / "benchmarks")):
            del sys.modules[name]


def module(script: str) -> Any:
    """A script of the folder, loaded once, under a name of its own."""
    name = f"gpu_{script}"
    if name not in sys.modules:
        path = _ROOT / "benchmarks" / "gpu" / f"{script}.py"
        found = importlib.util.spec_from_file_location(name, path)
        assert found is not None
        assert found.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(found)
        found.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture
def small_stages(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three cells in every stage."""
    for name in ("step_engines", "steps"):
        module("job")  # makes the benchmarks importable
        found = importlib.import_module(name)
        monkeypatch.setattr(found, "STAGES", {1: (3, 2), 2: (3, 2), 3: (3, 2)})


@pytest.mark.slow
@pytest.mark.usefixtures("small_stages")
def test_steps_are_measured_each_once(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = module("measure")
    monkeypatch.setattr(job, "TASK2VEC", tmp_path / "task2vec.py")  # not there
    real, measured = job.measured, list[int]()

    def once(make: Any, setting: Any, device: torch.device, *, rounds: int) -> Any:
        if len(measured) == 2:
            measured.append(0)  # the power is cut while the third is measured
            raise KeyboardInterrupt
        measured.append(setting.stage)
        return real(make, setting, device, rounds=rounds)

    monkeypatch.setattr(job, "measured", once)
    asked = (*_TINY, "--stages", "3", "--rounds", "1", "--results", tmp_path)
    with pytest.raises(KeyboardInterrupt):
        call("measure", *asked)
    kept = json.loads((tmp_path / "steps.json").read_bytes())["done"]["3"]["engines"]
    assert list(kept) == [job.FLOAT_GRAPHS, job.PUBLIC]
    assert call("measure", *asked).splitlines()[-1] == "done"
    assert measured == [3, 3, 0, 3, 3, 3, 3]  # nothing twice
    data = json.loads((tmp_path / "steps.json").read_bytes())
    row = data["done"]["3"]
    assert {k: row["engines"][k] for k in kept} == kept
    others = {job.PUBLIC, job.LEAN, job.FLOAT_GRAPHS, job.MIXED, job.FLOAT}
    assert set(row["times_faster"]) == others
    mine = row["engines"][job.GRAPHS]["milliseconds"]
    ratio = kept[job.PUBLIC]["milliseconds"] / mine
    assert row["times_faster"][job.PUBLIC] == round(ratio, 2)
    assert "plain engine" in data["baseline"]
    assert data["machine"]["device"] == "cpu"
    assert "no task2vec.py" in data["done"]["task2vec"]["missing"]
    with pytest.raises(SystemExit, match="asked is for"):
        call("measure", *asked, "--batch", "6")
    shown = call("profile_step", *_TINY, "--results", tmp_path)
    assert "kernels.convolution_backward" in shown
    assert shown.splitlines()[-1] == "done"
    seen = json.loads((tmp_path / "profile.json").read_bytes())["done"]["3"]
    assert seen["by_time"][0]["milliseconds"] >= seen["by_time"][1]["milliseconds"] > 0
    assert "by bytes" not in call("profile_step", *_TINY, "--results", tmp_path)


@pytest.mark.slow
def test_the_first_job_says_what_works_and_why_not(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = module("check")
    preset = job._preset

    def smaller(dtype: str) -> presets.Preset:
        few = few_steps(preset(dtype))
        return few.with_search(image_size=8, channels=4).with_training(image_size=8)

    monkeypatch.setattr(job, "_preset", smaller)
    monkeypatch.setattr(job, "_SIZE", 12)
    where = ("--device", "cpu", "--results", tmp_path)
    # The time is over after each part, so each call does one.
    for number in range(1, len(job.PARTS)):
        lines = call("check", *where, "--seconds", "0").splitlines()
        assert lines[-1].startswith(f"not done: {len(job.PARTS) - number} parts left")
    assert call("check", *where, "--seconds", "0").splitlines()[-1] == "done"
    done = json.loads((tmp_path / "check.json").read_bytes())["done"]
    assert list(done) == list(job.PARTS)
    assert {name: found.get("error") for name, found in done.items()} == dict.fromkeys(done)
    assert done["gradient"]["float32"]["signs_that_agree"] == 1
    assert done["search"]["bfloat16"]["compute_dtype"] == "bfloat16"
    assert done["search"]["float32"]["alpha_loss"] == pytest.approx(
        done["search"]["cpu"]["alpha_loss"], rel=0.05
    )
    assert done["warm start"]["bfloat16"]["genotype"]
    assert done["embedding"]["distance_from_cpu"] == 0
    assert "need a GPU" in done["tests"]["left_out"]
    steps = module("measure")
    first = list(
        steps.engines(1, argparse.Namespace(size=8, batch=4, reference=None, device="cpu"))
    )
    assert first[:2] == [steps.FLOAT_GRAPHS, steps.PUBLIC]  # the most valuable first


def test_the_first_job_runs_each_file_with_tests_for_a_gpu(call: Call) -> None:
    del call  # it lets scripts be imported
    marked = {
        path.relative_to(_ROOT).as_posix()
        for path in (_ROOT / "tests").rglob("test_*.py")
        if "@pytest.mark.skipif(not torch.cuda.is_available()" in path.read_text(encoding="utf-8")
    }
    marked.discard(Path(__file__).relative_to(_ROOT).as_posix())
    assert {name.partition("::")[0] for name in module("check").TESTS} == marked


def test_a_part_that_fails_is_kept_with_its_error(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = module("check")

    def broken(_device: torch.device) -> dict[str, Any]:
        raise RuntimeError("CUDA error: no kernel image")

    monkeypatch.setattr(job, "PARTS", {"kernels": broken, "tests": job.tested})
    where = ("--device", "cpu", "--results", tmp_path)
    lines = call("check", *where).splitlines()
    assert lines[-2].endswith(": kernels")
    assert lines[-1] == "done"
    done = json.loads((tmp_path / "check.json").read_bytes())["done"]
    assert done["kernels"]["error"] == "RuntimeError: CUDA error: no kernel image"
    assert done["tests"]["worked"]
    monkeypatch.setattr(job, "PARTS", {"kernels": job.kernels, "tests": job.tested})
    assert "tests:" not in call("check", *where)  # what worked is not done again
    done = json.loads((tmp_path / "check.json").read_bytes())["done"]
    assert done["kernels"]["worked"]


def test_ratios_by_hand(call: Call) -> None:
    job = module("measure")
    names = (job.GRAPHS, job.PUBLIC, job.LEAN, job.MIXED, job.FLOAT)
    row = {
        name: {"milliseconds": ms, "peak_memory": memory, "batch_in_parts": 1}
        for name, ms, memory in zip(names, (40, 320, 150, 60, 90), (9, 80, 50, 30, 48), strict=True)
    }
    found = job.ratios(row, job.floor({"device": "NVIDIA H200"}, 2))
    assert found["times_faster"] == {job.PUBLIC: 8, job.LEAN: 3.75, job.MIXED: 1.5, job.FLOAT: 2.25}
    assert (found["floor_milliseconds"], found["times_the_floor"]) == (24, 1.67)
    assert found["share_of_memory"] == {job.FLOAT: 0.6, job.MIXED: 0.375}
    assert job.floor({"device": "NVIDIA H100 80GB HBM3"}, 3) == 36
    row[job.PUBLIC] |= {"batch_in_parts": 2}  # half a batch has another peak
    assert "share_of_memory" not in job.ratios(row, None)


def test_what_does_not_fit_is_measured_in_parts(call: Call) -> None:
    module("job")
    steps = importlib.import_module("steps")
    setting = importlib.import_module("step_engines").Setting(stage=1, size=8, batch=16)
    made: list[int] = []

    class Engine(steps.Engine):  # type: ignore[name-defined, misc]
        def __init__(self, batch: int) -> None:
            made.append(batch)
            self.steps = 0

        def step(self) -> None:
            self.steps += 1
            if made[-1] > 4:
                raise torch.OutOfMemoryError

        def facts(self) -> dict[str, Any]:
            return {"steps": self.steps}

    found = steps.measured(Engine, setting, torch.device("cpu"), rounds=3)
    assert made == [16, 8, 4]
    assert (found["batch_in_parts"], found["steps"]) == (4, 2 + 3 * 4)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A set of digits under the name of a real one."""
    digits = load_digits(n_class=3)
    for number in range(75):
        path = tmp_path / "data" / "flowers102" / f"{digits.target[number]}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = (digits.images[number] * 15).astype(np.uint8).repeat(3, 0).repeat(3, 1)
        Image.fromarray(pixels).save(path)
    return tmp_path / "data"


@pytest.mark.slow
def test_searches_end_at_a_checkpoint_and_go_on(
    call: Call, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A slow machine needs no more calls: they end at checkpoints alone.
    monkeypatch.setattr(module("paper_runs"), "_GRACE", math.inf)
    few = few_steps(presets.TINY)
    stages = (few.search.stages[0], few.search.stages[-1])
    quick = replace(few, name="quick").with_search(stages=stages, image_size=16, batch_size=8)
    monkeypatch.setitem(presets.PRESETS, "quick", quick)
    runs, calls, last = tmp_path / "runs", 0, ""
    where = ("--device", "cpu", "--preset", "quick", "--data", data, "--runs", runs)
    while last != "done":
        lines = call("paper_runs", *where, "--results", tmp_path, "--seconds", "0").splitlines()
        last, calls = lines[-1], calls + 1
        assert calls < 30
    assert calls > 4  # each of four epochs of a search ends with a checkpoint
    done = json.loads((tmp_path / "paper_runs.json").read_bytes())["done"]
    assert list(done) == ["flowers102", "flowers102-warm"]
    assert done["flowers102"]["source"] == "cold"
    assert not done["flowers102-warm"]["source"].startswith("flowers102")
    assert call("paper_runs", *where, "--results", tmp_path).splitlines() == ["done"]

    zoo = tmp_path / "zoo"
    shutil.copytree(shipped_zoo(), zoo)
    before = {n: DirectoryStore(zoo).pull(n).manifest for n in DirectoryStore(zoo).names()}
    shown = call("place_in_zoo", "--runs", runs, "--zoo", zoo)
    assert "flowers102: weights in float16" in shown
    placed = DirectoryStore(zoo).pull("flowers102@1")
    found = DirectoryStore(runs / "registry").pull("flowers102")
    assert placed.genotype == found.genotype
    assert placed.stage_masks == found.stage_masks
    weights, exact = placed.weights(), found.weights()
    assert weights is not None
    assert exact is not None
    assert {str(v.dtype) for n, v in weights.items() if not n.startswith("alpha")} == {"float16"}
    assert np.array_equal(weights["alpha.normal"], exact["alpha.normal"])
    assert run_check(placed) is not None
    assert [e.space for e in placed.embeddings] == [e.space for e in found.embeddings]
    # The cards of the others name it as their neighbour; nothing else of them changes.
    after = {n: DirectoryStore(zoo).pull(n).manifest for n in DirectoryStore(zoo).names()}
    assert {n for n in before if not same_but_for_card(after[n], before[n])} == {"flowers102"}
    assert not [p for p in zoo.iterdir() if p.name.startswith(".new-")]

    shown = call("place_in_zoo", "--runs", runs, "--zoo", zoo, "--limit", "1000")
    assert "no weights" in shown
    bare = DirectoryStore(zoo).pull("flowers102")
    assert bare.weights() is None
    assert bare.ranked == found.ranked


@pytest.mark.slow
@pytest.mark.usefixtures("small_stages")
def test_steps_of_several_gpus_are_measured(call: Call, tmp_path: Path) -> None:
    arguments = (*_TINY, "--rounds", "1", "--results", tmp_path)
    assert call("several_gpus", *arguments).splitlines()[-1] == "done"
    done = json.loads((tmp_path / "several_gpus_1.json").read_bytes())["done"]
    assert list(done) == ["stage 3", "stage 1"]
    assert all(found["largest_difference"] < 1e-9 for found in done.values())
    assert all(found["exchange"]["milliseconds"] >= 0 for found in done.values())


@pytest.mark.slow
def test_training_steps_are_measured(call: Call, tmp_path: Path) -> None:
    small = ("--sizes", "32", "--batch", "4", "--cells", "3", "--rounds", "1")
    asked = ("--device", "cpu", *small, "--results", tmp_path, "--seconds", "0")
    job = module("training")
    engines = [name for name in job.ENGINES if name != job.COMPILED]  # that takes a minute
    asked = (*asked, "--engines", *engines)
    for left in (3, 2, 1):
        assert call("training", *asked).splitlines()[-1].startswith(f"not done: {left} rows left")
    assert call("training", *asked).splitlines()[-1] == "done"
    done = json.loads((tmp_path / "training.json").read_bytes())["done"]
    assert list(done) == [f"32 pixels, {name}" for name in engines]
    assert all(found["milliseconds"] > 0 for found in done.values())


def test_an_unpacked_set_is_the_same_task(call: Call, data: Path, tmp_path: Path) -> None:
    rows: dict[str, list[Any]] = {"image": [], "label": []}
    for path in sorted((data / "flowers102").rglob("*.png")):
        rows["image"].append({"bytes": path.read_bytes(), "path": None})
        rows["label"].append(int(path.parent.name))
    (tmp_path / "sets").mkdir()
    pq.write_table(pa.table(rows), tmp_path / "sets" / "flowers102.parquet")
    shown = call("carry_data", "--data", tmp_path / "sets", "--out", tmp_path / "carry")
    assert "sha256:" in shown  # it compares digests itself, and ends with an error otherwise
    assert len(list((tmp_path / "carry" / "flowers102").rglob("*.png"))) == 75
