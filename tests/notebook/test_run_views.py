"""What searches, warm starts and trainings show of themselves in a notebook."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.notebook.reading import read_view
from tests.sdk.models.evaluated import make_baseline, make_evaluation
from tests.sdk.reports.compared import make_training, make_warm
from tests.sdk.reports.test_report_hostile import HOSTILE
from wsdarts_registry._format import duration
from wsdarts_registry.architecture.genotype import Connection, Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_registry.embedding.ranking import Neighbour, Ranking
from wsdarts_sdk.models.training import TrainingResult
from wsdarts_sdk.pipelines._sweep import Trial
from wsdarts_sdk.pipelines.search import SearchRun
from wsdarts_sdk.pipelines.train import TrainingRun
from wsdarts_sdk.pipelines.warm_start import WarmStart
from wsdarts_sdk.presets import TINY
from wsdarts_sdk.reports.report_files import save_report
from wsdarts_sdk.runs.directory import RunDirectory
from wsdarts_sdk.search.loop import SearchResult

SPACE = SearchSpace(nodes=1)
CELLS = Genotype(
    space=SPACE,
    normal=(
        (
            Connection(source=0, operation="sep_conv_3x3"),
            Connection(source=1, operation="skip_connect"),
        ),
    ),
    reduction=(
        (
            Connection(source=0, operation="max_pool_3x3"),
            Connection(source=1, operation="dil_conv_5x5"),
        ),
    ),
)


def epoch(stage: int, number: int, loss: float | None = 1.0) -> dict[str, Any]:
    return {
        "stage": stage,
        "epoch": number,
        "weights_loss": loss,
        "weights_accuracy": 0.5,
        "alpha_loss": None,
        "alpha_accuracy": None,
        "learning_rate": 0.02,
        "skip_dropout": 0.1,
        "seconds": 2.0 * (number + 1),
        "peak_memory": None,
        "needed_memory": None,
        "skip_connects": 1,
    }


def searched(rows: tuple[dict[str, Any], ...], source: str = "flowers@2") -> SearchResult:
    return SearchResult(
        stage_masks=(OperationMasks.full(SPACE),),
        weights={"large": torch.zeros(10_000)},
        alpha={},
        genotype=CELLS,
        seconds=(8.0,),
        rows=rows,
        source=source,
    )


def warm(
    path: Path, *, text: str = "flowers@2", mode: str = "trained", **changes: Any
) -> WarmStart:
    other = Neighbour(
        reference="birds@1", distance=0.4, kind="transfer", task_name=text, images=9, classes=2
    )
    ranking = Ranking(
        neighbours=(replace(other, reference=text, distance=0.1), other),
        threshold=0.2,
        near=True,
        why=text,
    )
    task: Any = SimpleNamespace(name=text)
    rows = tuple(epoch(stage, number) for stage in (0, 1) for number in (0, 1))
    made = WarmStart(
        source=text,
        mode=mode,
        why=text,
        genotype=CELLS,
        neighbours=ranking.neighbours,
        task=task,
        result=searched(rows, text),
        trials=(),
        path=path,
        artifact=path / "artifact",
        report=path / "report.html",
        seconds={"embedding": 6.0, "search": 8.0},
        found=SimpleNamespace(ranking=ranking),  # type: ignore[arg-type]
    )
    return replace(made, **changes)


def test_a_warm_start_says_where_from_and_why(tmp_path: Path) -> None:
    (tmp_path / "report.html").touch()
    why = "it is near; its weights fit"
    found = warm(tmp_path, why=why)
    page = read_view(found)
    assert f"from flowers@2, mode trained: {why}." in page.words
    assert "reduction cell1 and 0" in "".join(page.text)
    assert "wall time14 s" in "".join(page.text)  # 6 + 8
    # The search's bar is the longest; the embedding's has 6 / 8 of its length.
    widths = [str(a["style"]) for tag, a in page.tags if tag == "span" and a.get("style")]
    assert widths[-2:] == ["width:75.0%", "width:100.0%"]
    for title in ("Loss", "Accuracy", "Skip-connects before refinement"):
        assert title in page.words
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == 3
    chosen = [a for tag, a in page.tags if tag == "tr" and a.get("class") == "chosen"]
    assert len(chosen) == 1
    assert f"report{tmp_path}/report.html" in "".join(page.text)
    assert f"{tmp_path}/artifact (not there" in page.words
    assert repr(found).startswith("<WarmStart on flowers@2 from")
    assert repr(found).endswith(f"(mode trained), 14 s, in {tmp_path}>")
    assert repr(found.result).endswith("from flowers@2: 1 stage, 4 epochs>")


def test_a_run_that_is_gone_and_had_little(tmp_path: Path) -> None:
    nothing: Any = SimpleNamespace(ranking=None)
    gone = tmp_path / "gone"
    why = "a cold search was asked for"
    found = warm(gone, mode="cold", why=why, found=nothing, seconds={})
    page = read_view(replace(found, result=searched(())))
    assert f"on flowers@2, from cold: {why}." in page.words
    assert page.words.count("(not there any more)") == 3
    broken = searched((epoch(0, 0, float("nan")), epoch(0, 1, None)))
    assert "Loss" not in read_view(replace(found, result=broken)).words
    locked = tmp_path / "locked"
    locked.mkdir()
    unreadable = replace(found, path=locked / ("x" * 300) / "y", report=Path("\0"))
    assert "(not there any more)" in read_view(unreadable).words


def test_a_warm_start_lists_the_trainings_in_its_directory(tmp_path: Path) -> None:
    begun = make_warm()
    for place, report in (("run", begun), ("run/training", make_training())):
        run = tmp_path / place
        run.mkdir()
        (run / "config.json").write_text('{"format": 1, "split_rule": 2}')
        save_report(RunDirectory(run), replace(report, baseline=make_baseline()))
    page = read_view(warm(tmp_path / "run"))
    assert f"training71.3 %100.0 %{make_baseline().name}" in "".join(page.text)


def test_a_sweep_lists_its_trials(tmp_path: Path) -> None:
    trials = (Trial(rate=0.3, genotype=CELLS, accuracy=0.625, seconds=61.0),)
    page = read_view(warm(tmp_path, trials=trials))
    assert "0.362.5 %11 min 01 s" in "".join(page.text)


def test_a_search(tmp_path: Path) -> None:
    tasks: Any = (SimpleNamespace(name="a"), SimpleNamespace(name="b"))
    found = SearchRun(
        path=tmp_path,
        tasks=tasks,
        settings=TINY.search,
        masks=OperationMasks.full(SPACE),
        genotype=CELLS,
        result=searched((epoch(0, 0),)),
        artifact=tmp_path,
        report=tmp_path,
        seconds={"search": 3.0},
    )
    page = read_view(found)
    assert "on a, b, in 3 stages, for λ_meta" in page.words
    assert found.masks.in_words in page.words
    assert repr(found) == f"<SearchRun on a, b, {duration(3)}, in {tmp_path}>"


def test_a_training(tmp_path: Path) -> None:
    model: Any = SimpleNamespace(class_names=("a", "b"))
    row = {"epoch": 0, "loss": 1.0, "accuracy": 0.25, "learning_rate": 0.1, "seconds": 2.0}
    result = TrainingResult(
        genotype=CELLS,
        model=model,
        accuracy=0.75,
        loss=0.5,
        images=40,
        held_out="validation",
        parameters=1234,
        seconds=2.5,
        rows=(row, {**row, "epoch": 1}),
        logits=torch.zeros(1, 2),
    )
    found = TrainingRun(
        model=model,
        accuracy=0.75,
        result=result,
        path=tmp_path,
        model_file=tmp_path / "model.safetensors",
        report=tmp_path,
        evaluation=make_evaluation(),
        baseline=make_baseline(),
    )
    page = read_view(found)
    assert "for 2 epochs: it" in page.words
    assert "75.0 % of 40 images" in page.words
    assert "held out is 75 %" in page.words
    baseline = make_baseline()
    assert f"{baseline.name}100.0 %1,0002,00064×64" in "".join(page.text)
    assert baseline.verdict in page.words
    assert "baseline" not in read_view(replace(found, baseline=None)).words
    assert repr(found).startswith("<TrainingRun: 75.0 % of 40")
    assert str(tmp_path) in repr(found)
    said = "<TrainingResult: 75.0 % of 40 images, 1,234 parameters, 2 epochs>"
    assert repr(found.result) == said


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_inert(text: str, tmp_path: Path) -> None:
    path = tmp_path / text.replace("/", "").replace("\0", "").replace("\ud800", "")[:200]
    plain = read_view(warm(tmp_path, text="plain"))
    found = read_view(warm(path, text=text, seconds={text: 1.0, "search": 2.0}))
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in plain.tags]
