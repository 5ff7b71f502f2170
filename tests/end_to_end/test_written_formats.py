"""Committed files of each format stay readable: a registry, an artifact and two run directories.

``tests/golden/formats`` holds what ``search``, ``push``, ``warm-start`` and ``train`` left with
three classes of 30 coloured squares. These files are never written anew: whatever changes in the
code has to read them as they are.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from wsdarts_hub import (
    Artifact,
    Classifier,
    DirectoryStore,
    TaskEmbedding,
    load_network,
    nearest,
    open_registry,
    pull,
    push,
    report,
    silent,
)
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.errors import RunError
from wsdarts_registry.stores.query import find
from wsdarts_sdk.artifacts.building import run_check
from wsdarts_sdk.reports.report_files import read_run, seconds_spent, trainings_within
from wsdarts_sdk.runs.checkpoints import FileJournal
from wsdarts_sdk.runs.directory import check_run, read_config
from wsdarts_sdk.runs.records import read_costs

FORMATS = Path(__file__).parents[1] / "golden" / "formats"
REGISTRY, RUN = FORMATS / "registry", FORMATS / "warm"
TRAINING = RUN / "training-tiny-1"
PUBLISHED = "sha256:51da68e40f74a4831ea991ad7d849159cf33ba2bfde5cfc71f8fd3e164deb496"
BUILT = "sha256:9e278a1dc0577867305ab6be589e09204049516d4ece40d7aa1c97a0608d9e2d"


def test_a_registry_is_listed_verified_and_pulled(tmp_path: Path) -> None:
    store = open_registry(REGISTRY)
    (found,) = find(registry=store)
    assert (str(found.reference), found.digest) == ("colours@1", PUBLISHED)
    pulled = pull("colours@1", registry=store, out=tmp_path / "pulled", check=True)
    assert isinstance(pulled, Artifact)
    assert pulled.digest == PUBLISHED
    assert read_artifact(tmp_path / "pulled").digest == PUBLISHED


def test_a_registry_is_ranked_by_an_embedding_of_a_run() -> None:
    ranking = nearest(RUN / "embedding.safetensors", registry=REGISTRY, progress=silent)
    assert [(n.reference, round(n.distance, 6)) for n in ranking.neighbours] == [("colours@1", 0)]


def test_an_artifact_of_a_run_is_verified_and_published(tmp_path: Path) -> None:
    artifact = read_artifact(RUN / "artifact")
    assert artifact.digest == BUILT
    assert artifact.manifest.lineage.mode == "trained"
    assert [parent.digest for parent in artifact.manifest.lineage.parents] == [PUBLISHED]
    assert run_check(artifact) == pytest.approx(0, abs=1e-5)
    store = DirectoryStore(tmp_path / "store", create=True)
    push(RUN, "squares", registry=store)
    metrics = store.pull("squares@1").manifest.metrics
    assert metrics["classifier_accuracy"] == pytest.approx(1 / 3)  # of the training in the run


def test_a_run_is_read() -> None:
    found = read_run(RUN)
    assert found.unfinished == ""
    assert found.decision is not None
    assert (found.decision.mode, found.decision.sources) == ("trained", ("colours@1",))
    assert [n.reference for n in found.decision.neighbours] == ["colours@1"]
    assert [epoch.epoch for epoch in found.epochs] == [1]
    costs = read_costs(RUN)
    assert list(costs.phases) == ["embedding", "nearest", "loading", "search"]
    assert seconds_spent(RUN) == pytest.approx(3.2815, abs=1e-4)
    assert costs.finished
    ((name, training),) = trainings_within(RUN, found)
    assert name == TRAINING.name
    assert training.training is not None
    assert training.training.accuracy == pytest.approx(1 / 3)
    assert len(TaskEmbedding.load(RUN / "embedding.safetensors").values) > 0


def test_a_page_of_both_runs_is_written(tmp_path: Path) -> None:
    both = report(RUN, TRAINING)
    assert both.save(tmp_path / "comparison.html").stat().st_size > 10_000
    assert json.loads(json.dumps(both.to_json()))["runs"]
    assert report(RUN).save(tmp_path / "report.html").stat().st_size > 10_000


def test_a_stopped_run_is_read_from_its_journal(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(RUN, run)
    written = json.loads((run / "report.json").read_text())
    written |= {"unfinished": "It has only begun.", "decision": None, "epochs": []}
    written["alpha"] |= {"normal": [], "reduction": []}
    (run / "report.json").write_text(json.dumps(written))
    found = read_run(run)
    assert len(found.epochs) == len(FileJournal(run, "search").rows()) == 1
    assert found.decision is not None
    assert [n.reference for n in found.decision.neighbours] == ["colours@1"]


def test_a_run_can_be_continued() -> None:
    config = {key: value for key, value in read_config(RUN).items() if key != "format"}
    check_run(RUN, config, resume=True)
    with pytest.raises(RunError):
        check_run(RUN, config | {"k": 6}, resume=True)


def test_a_model_predicts_and_a_genotype_makes_a_network() -> None:
    images = [np.full((12, 12, 3), grey, dtype=np.uint8) for grey in (0, 128, 255)]
    model = load_network(TRAINING)
    assert isinstance(model, Classifier)
    for found in model.predict(images):
        assert {label for label, _ in found.classes} == {"class0", "class1", "class2"}
    for source in (RUN, RUN / "artifact", RUN / "genotype.json"):
        network = load_network(source, cells=3, channels=2, classes=3)
        assert not isinstance(network, Classifier)
