"""The examples of the help: each is run as it is written, or it is said why not."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.few_steps import few_steps
from tests.registry.factories import make_artifact
from tests.sdk.reports.compared import make_cold, make_warm
from wsdarts_hub.cli import app
from wsdarts_hub.cli.shared.documentation import example, registered
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_sdk.presets import PRESETS, TINY
from wsdarts_sdk.reports.report_files import save_report
from wsdarts_sdk.runs.directory import RunDirectory

EXAMPLES = {name: example(command) for name, command in registered(app).items()}
NOT_RUN = {
    "demo": "takes minutes; tests/cli/test_demo.py runs it",
    "index rebuild": "needs a namespace on the Hub; tests/cli/test_huggingface_registry.py runs it",
    "push-model": "needs a Hub; tests/cli/test_models_on_hub.py runs it",
    "gallery serve": "goes on until it is stopped; tests/cli/test_gallery_commands.py runs it",
}
# One after the other, each where the one before has left off; the first two name the same run.
IN_ORDER = ("search", "train", "predict", "evaluate", "export", "push", "warm-start")
ALONE = [name for name in EXAMPLES if name not in NOT_RUN and name not in IN_ORDER]


@pytest.fixture
def place(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new directory as the examples imagine it: images, two runs, and a registry of one's own."""
    place = tmp_path / "place"
    for name in ("images", "photos"):
        shutil.copytree(images, place / "path" / "to" / name)
    shutil.copy(images / "dark" / "00.png", place / "path" / "to" / "photo.jpg")
    for name, found in (("cold", make_cold()), ("warm", make_warm())):
        (place / "runs" / name).mkdir(parents=True)
        (place / "runs" / name / "config.json").write_text('{"format": 1}')
        save_report(RunDirectory(place / "runs" / name), found)
    store = DirectoryStore(place / "my-zoo", create=True)
    for number in range(1, 4):
        make_artifact(tmp_path / f"made{number}", "flowers", description=f"{number}")
        store.publish(tmp_path / f"made{number}", "images")
    monkeypatch.chdir(place)
    return place


@pytest.mark.parametrize("name", ALONE)
def test_an_example_runs_in_a_new_directory(name: str, place: Path, run: Run) -> None:
    if name in ("unyank", "alias remove"):  # takes back what another example does
        run(*shlex.split(EXAMPLES["yank" if name == "unyank" else "alias set"])[1:])
    if name == "sign":
        run(*shlex.split(EXAMPLES["keygen"])[1:])
    shown = run(*shlex.split(EXAMPLES[name])[1:])
    assert shown.code == 0, shown.err


@pytest.mark.slow
def test_the_examples_of_the_main_job_run_in_order(
    place: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "tiny", few_steps(TINY))
    for name in IN_ORDER:
        if name == "warm-start":
            shutil.rmtree(place / "runs" / "images")
        shown = run(*shlex.split(EXAMPLES[name])[1:])
        assert shown.code == 0, f"{name}: {shown.err}"


def test_what_examples_name_without_a_registry_is_in_the_shipped_zoo(run: Run) -> None:
    names = set(run("list", "-q").out.split())
    for command in EXAMPLES.values():
        if "--registry" not in command:
            named = re.findall(r"\b[a-z0-9-]+@\d+\b", command)
            assert set(named) <= names, command
