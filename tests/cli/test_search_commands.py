import io
import json
import re
import shlex
import signal
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import wsdarts_hub
from tests.cli.conftest import Run, call_all_near
from tests.documentation.workplace import Programs
from wsdarts_hub import VariationalSettings
from wsdarts_registry.errors import EmbeddingError
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.records import shipped_zoo
from wsdarts_sdk.models.classifier import Classifier
from wsdarts_sdk.pipelines.starting_point_rules import MODES

pytestmark = pytest.mark.processes

STAGE = {"cells": 3, "operations": 3, "epochs": 1, "weights_only_epochs": 0}
QUICK = (
    *("--preset", "tiny"),
    *("--set", f"search.stages={json.dumps([{**STAGE, 'operations': 8}, STAGE])}"),
    *("--set", "search.channels=2", "--set", "search.image_size=8"),
    *("--set", "search.steps_per_epoch=1", "--set", "search.batch_size=4"),
)
QUICK_TRAINING = (
    *("--preset", "tiny", "--set", "training.epochs=1", "--set", "training.cells=3"),
    *("--set", "training.channels=2", "--set", "training.image_size=8"),
    *("--set", "training.batch_size=8", "--set", "training.steps_per_epoch=1"),
)


@pytest.fixture
def other_images(tmp_path: Path) -> Path:
    """Another folder of two classes: stripes across and along."""
    random = np.random.default_rng(1)
    for name, axis in (("across", 0), ("along", 1)):
        folder = tmp_path / "stripes" / name
        folder.mkdir(parents=True)
        for number in range(12):
            stripes = np.zeros((16, 16, 3), dtype=np.uint8)
            np.moveaxis(stripes, axis, 0)[::4] = random.integers(128, 255)
            stripes[:, :, 0] += np.uint8(number)
            Image.fromarray(stripes).save(folder / f"{number:02}.png")
    return tmp_path / "stripes"


def test_the_whole_way(images: Path, other_images: Path, run: Run, tmp_path: Path) -> None:
    cold, zoo, warm = tmp_path / "cold", tmp_path / "zoo", tmp_path / "warm"
    searched = run("search", images, "--out", cold, *QUICK, "--seed", "1")
    assert searched.code == 0, searched.err
    assert f"drawing: {cold / 'cells.svg'}" in searched.lines
    assert (cold / "cells.svg").is_file()
    assert f"wsdarts-hub push {cold} NAME --registry DIR" in searched.lines
    assert re.search(r"^stage 1/2, epoch 1/1: \d+ %", searched.err, re.MULTILINE)
    assert run("verify", cold, "--weights").code == 0

    assert run("push", cold, "noise", "--registry", zoo, "-q").out == "noise@1\n"
    near = json.loads(run("nearest", other_images, "--registry", zoo, "--json").out)
    assert [each["reference"] for each in near["neighbours"]] == ["noise@1"]

    call_all_near(zoo)
    there = ("--registry", zoo, "--out", warm, *QUICK)
    started = run("warm-start", other_images, *there)
    assert started.code == 0, started.err
    assert "from  noise@1" in started.lines
    assert "mode  trained" in started.lines
    assert any(line.startswith("because noise@1 is") for line in started.lines)
    assert any(line.startswith("embedding") for line in started.lines)
    assert any(line.startswith("total") for line in started.lines)

    again = run("warm-start", other_images, *there)
    assert again.code == 1
    assert f"{warm} already holds" in again.err
    assert "--resume" in again.err
    resumed = run("warm-start", other_images, *there, "--resume", "-q")
    assert (resumed.code, resumed.out, resumed.err) == (0, f"{warm}\n", "")

    compared = json.loads(run("report", cold, warm, "--json").out)
    assert [each["what"] for each in compared["runs"]] == ["cold search", "warm start"]
    assert compared["runs"][1]["sources"] == ["noise@1"]
    assert compared["costs"] == []  # other images

    trained = run("train", warm, other_images, "--out", warm / "training", *QUICK_TRAINING)
    assert trained.code == 0, trained.err
    assert re.match(r"accuracy  \d+\.\d % of 8 ", trained.lines[0])
    model = Classifier.load(warm / "training" / "model.safetensors")
    assert model.class_names == ("across", "along")
    (again,) = json.loads(run("report", warm, "--json").out)["runs"]
    assert f"{100 * again['figures']['accuracy']:.1f} %" in trained.lines[0]


CHOICE = (
    *("--candidates", "3", "--set", "choice.steps=3", "--set", "choice.checked=3"),
    *("--set", "selection.batch_size=4", "--set", "training.image_size=8"),
    *("--set", "training.cells=3", "--set", "training.channels=2"),
)


def test_a_choice_and_its_limits(images: Path, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "chosen"
    found = run("search", images, "--out", out, *QUICK, *CHOICE)
    assert found.code == 0, found.err
    assert "choice of the genotype" in found.lines
    assert re.search(r"^choosing, round 1/1, candidate 1/3", found.err, re.MULTILINE)
    assert any(line.startswith("choice ") for line in found.lines)  # its cost
    again = run("search", images, "--out", out, *QUICK, *CHOICE, "--resume", "--json")
    choice = json.loads(again.out)["choice"]
    assert len(choice["candidates"]) == 3
    assert choice["verdict"] is not None
    assert choice["chosen"] in range(3)

    limit = min(each["parameters"] for each in choice["candidates"])
    limits = ("--max-parameters", limit, "--max-multiply-adds", 10**9, "--resume", "--json")
    within = json.loads(run("search", images, "--out", out, *QUICK, *CHOICE, *limits).out)
    assert all(each["parameters"] <= limit for each in within["choice"]["candidates"])
    refused = run(
        "search", images, "--out", tmp_path / "no", *QUICK, *CHOICE, "--max-parameters", "3"
    )
    assert refused.code == 1
    assert refused.err.splitlines()[-1].startswith("error: max_parameters is 3")
    twice = run(
        "search", images, "--out", tmp_path / "no", *QUICK, *CHOICE, "--set", "choice.candidates=4"
    )
    assert twice.code == 1
    assert "--candidates" in twice.err


def test_several_datasets_are_searched_jointly(
    images: Path, other_images: Path, run: Run, tmp_path: Path
) -> None:
    searched = run("search", images, other_images, "--out", tmp_path / "meta", *QUICK, "-q")
    assert searched.out == f"{tmp_path / 'meta'}\n"
    run("push", tmp_path / "meta", "both", "--registry", tmp_path / "zoo")
    assert "kind       meta-transfer" in run("show", "both", "--registry", tmp_path / "zoo").lines


def test_embed_and_skip_corrupt(
    images: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (images / "dark" / "broken.png").write_bytes(b"no image")
    refused = run("embed", images)
    assert refused.code == 1
    assert "broken.png" in refused.err.splitlines()[-1]
    assert "skip_corrupt" in refused.err or "--skip-corrupt" in refused.err
    shown = run("embed", images, "--skip-corrupt")
    assert shown.code == 0, shown.err
    assert "1 corrupt image:" in shown.err
    assert re.search(r"^  .*broken\.png: ", shown.err, re.MULTILINE)
    assert shown.lines[0] == "images.embedding.safetensors"
    assert "task            images, 24 images, 2 classes" in shown.lines
    assert re.search(r"^probe +wsdarts-\S+ \(sha256:[0-9a-f]{64}\)$", shown.out, re.MULTILINE)
    assert re.search(r"^estimator +fisher version 1 \(.*images 500", shown.out, re.MULTILINE)
    quiet = run("embed", images, "--skip-corrupt", "-q", "--out", "e.safetensors")
    assert (quiet.out, quiet.err) == ("e.safetensors\n", "")


def test_a_given_split_all_the_way(
    images: Path, other_images: Path, run: Run, tmp_path: Path
) -> None:
    held_out = tmp_path / "held-out"
    for folder in (other_images / "across", other_images / "along"):
        (held_out / folder.name).mkdir(parents=True)
        for file in sorted(folder.iterdir())[:3]:
            file.rename(held_out / folder.name / file.name)
    given = ("--validation", held_out)
    searched = run("search", other_images, *given, "--out", tmp_path / "run", *QUICK)
    assert searched.code == 0, searched.err
    assert "split as given: train 18, validation 6" in searched.err
    training = (tmp_path / "run", other_images, "--out", tmp_path / "net", *QUICK_TRAINING)
    trained = run("train", *training, *given)
    assert trained.code == 0, trained.err
    assert re.match(r"accuracy  \d+\.\d % of 6 ", trained.lines[0])
    # Without it, the same command would train on another task.
    resumed = run("train", *training, "--resume")
    assert resumed.code == 1
    assert run("train", *training, *given, "--resume").code == 0
    # A run may not lie where its validation images do.
    assert run("search", other_images, *given, "--out", held_out / "run", *QUICK).code == 1
    assert not (held_out / "run").exists()
    joint = run("search", images, other_images, *given, "--out", tmp_path / "joint", *QUICK)
    assert joint.code == 1
    assert "validation" in joint.err


def test_groups_come_from_metadata(images: Path, run: Run, tmp_path: Path) -> None:
    files = sorted(images.glob("*/*.png"))
    rows = [f"{file.relative_to(images)},{number // 2}" for number, file in enumerate(files)]
    (images / "metadata.csv").write_text("\n".join(["file_name,patient", *rows, ""]))
    embedded = run("embed", images, "--groups", "patient", "--out", tmp_path / "a.safetensors")
    assert embedded.code == 0, embedded.err
    assert f"{len(files) // 2} groups kept together" in embedded.err
    plain = run("embed", images, "--out", tmp_path / "b.safetensors")
    digests = [next(x for x in each.lines if "sha256:" in x) for each in (embedded, plain)]
    assert digests[0] != digests[1]


def test_the_hint_keeps_what_the_next_command_needs(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random, table = np.random.default_rng(0), tmp_path / "my table.parquet"
    pictures = []
    for low in (0, 128) * 12:
        encoded = io.BytesIO()
        pixels = random.integers(low, low + 128, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(encoded, "PNG")
        pictures.append(encoded.getvalue())
    columns = {"picture": pictures, "the kind": [0, 1] * 12, "other": [1, 0] * 12}
    pq.write_table(pa.table(columns), table)
    DirectoryStore(tmp_path / "zoo", create=True)
    given = ("--image-column", "picture", "--label-column", "the kind", "--device", "cpu")
    there = ("--registry", tmp_path / "zoo", "--mode", "cold", "--out", tmp_path / "a run")
    shown = run("warm-start", table, *there, *QUICK, *given, "--skip-corrupt")
    assert shown.code == 0, shown.err
    hint = shlex.split(shown.lines[-1])
    assert hint == [
        *("wsdarts-hub", "train", str(tmp_path / "a run"), str(table), "--preset", "tiny"),
        *("--image-column", "picture", "--label-column", "the kind", "--skip-corrupt"),
        *("--device", "cpu", "--out", str(tmp_path / "a run" / "training")),
    ]
    trained = run(*hint[1:], *QUICK_TRAINING)
    assert trained.code == 0, trained.err


def test_the_estimator_is_a_choice(images: Path, run: Run, zoo: Path, tmp_path: Path) -> None:
    quick = VariationalSettings(images=8, steps=2, size=32)
    assert nearest_space(images, zoo, quick).startswith("probe ")
    out = tmp_path / "e.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(vars(wsdarts_hub), "VariationalSettings", lambda: quick)
        there = ("--out", out, "--estimator", "variational")
        shown = run("embed", images, *there)
        assert shown.code == 0, shown.err
        assert re.search(r"^estimator +variational version 1 \(", shown.out, re.MULTILINE)
        refused = run("nearest", images, "--registry", zoo, "--estimator", "variational", "-q")
    assert refused.code == 1
    assert "estimator variational" in refused.err
    assert "estimator fisher" in refused.err
    assert wsdarts_hub.TaskEmbedding.load(out).space.estimator == "variational"


def nearest_space(images: Path, zoo: Path, settings: VariationalSettings) -> str:
    """The space that the error names when the registry has none of it."""
    with pytest.raises(EmbeddingError) as caught:
        wsdarts_hub.nearest(images, registry=zoo, settings=settings)
    return str(caught.value).partition(" would be embedded by ")[2]


def test_embed_where_nothing_can_be_written(images: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    shown = run("embed", images, "--out", tmp_path / "file" / "e.safetensors", "-q")
    assert shown.code == 1
    assert shown.err.startswith(f"error: cannot write {tmp_path / 'file' / 'e.safetensors'}: ")


@pytest.mark.parametrize("command", ["search", "warm-start"])
def test_resume_needs_to_know_what(command: str, images: Path, run: Run) -> None:
    shown = run(command, images, "--resume")
    assert shown.code == 2
    assert "--out" in shown.err


def test_a_wrong_setting_is_an_error_before_anything_is_read(run: Run) -> None:
    shown = run("search", "no/such/folder", "--set", "search.chanels=8")
    assert shown.code == 1
    assert "no setting search.chanels; " in shown.err
    assert "search.channels" in shown.err


def test_a_mode_that_does_not_exist(images: Path, run: Run) -> None:
    shown = run("warm-start", images, "--mode", "hot")
    assert shown.code == 2
    assert {f"'{mode}'" for mode in MODES} <= set(re.findall(r"'\w+'", shown.err))


def test_a_refused_command_can_be_put_right_in_the_same_place(
    images: Path, zoo: Path, run: Run, tmp_path: Path
) -> None:
    there = ("--registry", zoo, "--out", tmp_path / "warm", *QUICK)
    refused = run("warm-start", images, "--from", "flowers", *there)
    assert refused.code == 1
    assert "2 nodes, operations none, " in refused.err
    assert "flowers@1" in refused.err
    put_right = run("warm-start", images, "--mode", "cold", *there, "-q")
    assert (put_right.code, put_right.err) == (0, "")


@pytest.mark.slow
def test_a_reference_is_trained(images: Path, run: Run, tmp_path: Path) -> None:
    steps = ("training.epochs=1", "training.steps_per_epoch=1", "training.image_size=8")
    settings = [word for step in steps for word in ("--set", step)]
    shown = run(
        *("train", "dtd-10@2", images, "--registry", shipped_zoo(), "--preset", "tiny"),
        *(*settings, "--out", tmp_path / "t", "-q"),
    )
    assert (shown.code, shown.err) == (0, "")
    assert Classifier.load(tmp_path / "t" / "model.safetensors").class_names == ("dark", "light")


def test_a_genotype_that_does_not_exist(images: Path, run: Run, tmp_path: Path) -> None:
    shown = run("train", tmp_path / "absent.json", images, "--out", tmp_path / "t", "-q")
    assert shown.code == 1
    assert "absent.json" in shown.err
    assert len(shown.err.splitlines()) == 1


@pytest.mark.slow
def test_an_interrupted_search_says_how_to_go_on(
    images: Path, run: Run, tmp_path: Path, programs: Programs, environment: dict[str, str]
) -> None:
    endless = ("--preset", "tiny", "--set", "search.stages.1.epochs=100000")
    process = subprocess.Popen(
        [programs.path("wsdarts-hub"), "search", images, *endless],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("stage 1/3"):
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1].startswith("interrupted; ")
    assert "--out runs/search-images-1 --resume" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert (tmp_path / "runs" / "search-images-1" / "config.json").is_file()
    (shown,) = json.loads(run("report", tmp_path / "runs" / "search-images-1", "--json").out)[
        "runs"
    ]
    assert (shown["title"].split()[-1], shown["finished"]) == ("images", False)
    assert "--resume" in shown["unfinished"]
