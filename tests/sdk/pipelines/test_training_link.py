"""A training that lies elsewhere than its run is known to the run."""

import json
from pathlib import Path

from tests.sdk.pipelines.conftest import QUICK
from wsdarts_hub import push, report, search, train
from wsdarts_registry.publishing.training_record import run_of
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.progress import silent


def test_what_train_measured_elsewhere_is_published(digits_task: ImageTask, tmp_path: Path) -> None:
    found = search(digits_task, preset=QUICK, out=tmp_path / "run", device="cpu", progress=silent)
    trained = train(
        found.path, digits_task, preset=QUICK, out=tmp_path / "net", device="cpu", progress=silent
    )
    assert run_of(trained.path) == found.path
    metrics = push(found.path, "digits", registry=tmp_path / "zoo").manifest.metrics
    assert metrics["classifier_accuracy"] == trained.accuracy
    (shown,) = report(found.path).to_json()["runs"]
    assert [each["name"] for each in shown["trainings"]] == ["net"]
    assert shown["figures"]["accuracy"] == trained.accuracy
    # A second training of the same cells, of which the run is known by the first.
    again = train(
        tmp_path / "net", digits_task, preset=QUICK, out=tmp_path / "net-2", device="cpu",
        progress=silent, seed=7,
    )  # fmt: skip
    assert run_of(again.path) == found.path
    # One that is finished and resumed keeps the moment at which it finished.
    before = json.loads((tmp_path / "net" / "result.json").read_text())["finished"]
    file = tmp_path / "net" / "result.json"
    file.write_text(file.read_text().replace(before, "2026-01-01T00:00:00Z"))
    train(
        found.path, digits_task, preset=QUICK, out=tmp_path / "net", device="cpu", progress=silent,
        resume=True,
    )  # fmt: skip
    assert json.loads(file.read_text())["finished"] == "2026-01-01T00:00:00Z"
