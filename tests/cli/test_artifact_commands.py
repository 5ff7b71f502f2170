import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Run
from tests.registry.factories import (
    SPACE,
    make_artifact,
    make_check,
    make_draft,
    make_masks,
    make_ranked,
    make_weights,
)
from wsdarts_registry.architecture.genotype import Connection, Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.artifact.manifest import SplitRecord
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.records import shipped_zoo
from wsdarts_sdk.artifacts.building import make_check as real_check
from wsdarts_sdk.search.state import transferable
from wsdarts_sdk.supernet.network import Supernet


def test_list_is_a_table(zoo: Path, run: Run) -> None:
    shown = run("list", "--registry", zoo)
    assert shown.code == 0
    assert [line.split()[0] for line in shown.lines] == [
        "reference",
        "flowers@1",
        "flowers-textures@1",
        "textures@1",
    ]
    assert shown.lines[2].startswith("flowers-textures@1  meta-transfer  flowers, textures ")
    assert " 240       20  tiny   2026-01-02  " in shown.lines[2]


def test_quiet_list_is_one_reference_a_line(zoo: Path, run: Run) -> None:
    shown = run("list", "--registry", zoo, "-q")
    assert shown.lines == ["flowers@1", "flowers-textures@1", "textures@1"]


def test_a_table_is_not_cut_where_there_is_no_terminal(zoo: Path, run: Run, tmp_path: Path) -> None:
    name = "a-name-that-is-rather-long-but-still-allowed-in-a-registry-00001"
    DirectoryStore(zoo).publish(tmp_path / "drafts" / "flowers", name)
    shown = run("list", "--registry", zoo)
    assert any(line.startswith(f"{name}@1  transfer ") for line in shown.lines)
    assert "\x1b" not in shown.out


def test_the_environment_names_the_registry(
    zoo: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSDARTS_HUB_REGISTRY", str(zoo))
    assert "textures@1" in run("list").out
    monkeypatch.setenv("WSDARTS_HUB_REGISTRY", str(zoo / "nowhere"))
    assert "textures@1" in run("list", "--registry", zoo).out
    assert run("list").code == 1


def test_an_empty_registry_says_what_to_do(run: Run, tmp_path: Path) -> None:
    DirectoryStore(tmp_path / "empty", create=True)
    shown = run("list", "--registry", tmp_path / "empty")
    assert shown.code == 0
    assert "`wsdarts-hub push`" in shown.out


def test_show_says_whether_a_cell_has_collapsed(run: Run, tmp_path: Path) -> None:
    assert "warning" not in run("show", "dtd-10@2", "--registry", shipped_zoo()).out
    store = DirectoryStore(tmp_path / "zoo", create=True)
    # Of the four operations of a cell three are skip-connects.
    node = tuple(Connection(source=s, operation="skip_connect") for s in (0, 1))
    other = (replace(node[0], operation="sep_conv_3x3"), node[1])
    genotype = Genotype(space=SPACE, normal=(node, other), reduction=(node, other))
    full = OperationMasks.full(SPACE)
    make_artifact(
        tmp_path / "draft",
        genotype=genotype,
        stage_masks=[full, full],
        ranked=make_ranked(full),
        weights=False,
    )
    store.publish(tmp_path / "draft", "lazy")
    shown = run("show", "lazy", "--registry", tmp_path / "zoo")
    warnings = [line for line in shown.lines if line.startswith("warning: ")]
    assert [line.split()[2] for line in warnings] == ["normal", "reduction"]
    data = json.loads(run("show", "lazy", "--registry", tmp_path / "zoo", "--json").out)
    assert [each["cell"] for each in data["collapses"]] == ["normal", "reduction"]


def test_show_says_everything(zoo: Path, run: Run) -> None:
    shown = run("show", "flowers", "--registry", zoo)
    assert shown.code == 0
    words = " ".join(shown.out.split())
    for text in (
        "reference flowers@1",
        "kind transfer",
        "normal cell",
        "c_{k-1} ── sep_conv_3x3 ──┘",
        "after stage 2: at most 2",
        "weights half 50.0 %",
        "weights.safetensors",
        "licence cc-by-nc-4.0",
        "probe tiny (sha256:",
        "seed 7",
    ):
        assert text in words, text


def test_show_names_the_dataset_as_it_is_typed(zoo: Path, run: Run, tmp_path: Path) -> None:
    assert "hf:" not in run("show", "flowers", "--registry", zoo).out
    task = make_draft("flowers").tasks[0].model_copy(update={"dataset": "acme/flowers"})
    make_artifact(tmp_path / "from-hub", "flowers", tasks=[task])
    DirectoryStore(zoo).publish(tmp_path / "from-hub", "from-hub")
    shown = run("show", "from-hub", "--registry", zoo)
    assert any(
        line.startswith("flowers ") and line.endswith("  hf:acme/flowers") for line in shown.lines
    )


def test_show_tells_of_a_given_split(zoo: Path, run: Run, tmp_path: Path) -> None:
    assert "given split" not in run("show", "flowers", "--registry", zoo).out
    task = make_draft("flowers").tasks[0]
    split = SplitRecord(train=task.images - 20, validation=20)
    changed = task.model_copy(update={"split": split, "groups": 23})
    make_artifact(tmp_path / "a", "flowers", tasks=[changed])
    DirectoryStore(zoo).publish(tmp_path / "a", "given")
    shown = run("show", "given", "--registry", zoo)
    assert any(line.endswith("  given split               groups") for line in shown.lines)
    assert any(
        line.endswith(f"  train {task.images - 20}, validation 20      23") for line in shown.lines
    )


def test_show_as_json(zoo: Path, run: Run) -> None:
    shown = run("show", "flowers-textures@1", "--registry", zoo, "--json")
    data = json.loads(shown.out)
    assert data["reference"] == "flowers-textures@1"
    assert data["manifest"]["kind"] == "meta-transfer"
    assert [task["name"] for task in data["manifest"]["tasks"]] == ["flowers", "textures"]
    assert len(data["masks"]) == 2
    assert data["yanked"] is None


def test_pull_of_a_yanked_version_gives_the_reason(zoo: Path, run: Run) -> None:
    assert run("pull", "flowers@1", "--registry", zoo).err == ""
    DirectoryStore(zoo).yank("flowers@1", "wrong labels")
    shown = run("pull", "flowers@1", "--registry", zoo)
    assert (shown.code, shown.err) == (0, "yanked: wrong labels\n")
    assert run("pull", "flowers@1", "--registry", zoo, "-q").err == ""


def test_show_of_a_yanked_version_gives_the_reason(zoo: Path, run: Run) -> None:
    DirectoryStore(zoo).yank("flowers@1", "wrong labels")
    assert ": wrong labels" in run("show", "flowers@1", "--registry", zoo).out
    hidden = run("show", "flowers", "--registry", zoo)
    assert hidden.code == 1
    assert "(flowers@1: wrong labels)" in hidden.err


def test_an_unknown_name_is_an_error_of_one_line(zoo: Path, run: Run) -> None:
    shown = run("show", "flower", "--registry", zoo)
    assert shown.code == 1
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert "did you mean flowers" in shown.err
    assert len(shown.err.splitlines()) == 1


def test_pull_copies_and_verifies(zoo: Path, run: Run, tmp_path: Path) -> None:
    shown = run("pull", "flowers", "--registry", zoo, "--out", tmp_path / "pulled")
    assert shown.lines[0] == str(tmp_path / "pulled")
    assert (tmp_path / "pulled" / "weights.safetensors").is_file()
    again = run("pull", "flowers", "--registry", zoo, "--out", tmp_path / "pulled")
    assert again.code == 1
    assert f"{tmp_path / 'pulled'} is not empty" in again.err


def test_verify_takes_references_artifacts_and_runs(zoo: Path, run: Run, tmp_path: Path) -> None:
    for subject in ("flowers", "flowers@1", str(tmp_path / "drafts" / "flowers")):
        shown = run("verify", subject, "--registry", zoo)
        assert (shown.code, shown.lines[0]) == (0, f"verified: {subject}")
    (tmp_path / "run").mkdir()
    shutil.copytree(tmp_path / "drafts" / "flowers", tmp_path / "run" / "artifact")
    assert run("verify", tmp_path / "run").code == 0
    assert run("verify", "flowers", "--registry", zoo, "-q").lines == ["verified: flowers"]


def test_verify_prefers_a_reference_to_a_directory_of_other_things(
    zoo: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "flowers").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert run("verify", "flowers", "--registry", zoo).code == 0
    other = run("verify", "./flowers", "--registry", zoo)
    assert other.code == 1
    assert "./flowers holds no artifact.json" in other.err
    assert "is no directory; expected" in run("verify", "./nosuch", "--registry", zoo).err


def test_verify_of_nothing_says_where_it_looked(
    zoo: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    missing = f"{zoo} has no artifact named nosuch; "
    shown = run("verify", "nosuch", "--registry", zoo)
    assert shown.code == 1
    assert "no directory nosuch" in shown.err
    assert missing in shown.err
    (tmp_path / "nosuch").mkdir()
    shown = run("verify", "nosuch", "--registry", zoo)
    assert "artifact.json" in shown.err
    assert missing in shown.err


def test_verify_finds_a_flipped_bit(zoo: Path, run: Run) -> None:
    path = zoo / "artifacts" / "flowers" / "v1" / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    shown = run("verify", "flowers", "--registry", zoo)
    assert shown.code == 1
    assert "weights.safetensors" in shown.err


def test_verify_weights_of_a_bare_lambda(run: Run, tmp_path: Path) -> None:
    make_artifact(tmp_path / "bare", weights=False)
    shown = run("verify", tmp_path / "bare", "--weights")
    assert shown.code == 0
    assert "none to check" in shown.out


def test_verify_weights_that_no_network_has(run: Run, tmp_path: Path) -> None:
    make_artifact(tmp_path / "wrong", weights=make_weights(), check=make_check())
    shown = run("verify", tmp_path / "wrong", "--weights")
    assert shown.code == 1
    assert "do not fit" in shown.err


def test_verify_weights_that_compute_what_they_must(run: Run, tmp_path: Path) -> None:
    net = Supernet(make_masks(), cells=3, channels=4, classes=[2], seed=0)
    weights = transferable(net)
    alpha = {kind: np.zeros(SPACE.shape) for kind in ("normal", "reduction")}
    check = real_check(
        make_masks(), cells=3, channels=4, image_size=32, weights=weights, alpha=alpha
    )
    arrays = {name: value.numpy() for name, value in weights.items()}
    arrays |= {f"alpha.{kind}": value.astype(np.float32) for kind, value in alpha.items()}
    make_artifact(tmp_path / "right", weights=arrays, check=check)
    shown = run("verify", tmp_path / "right", "--weights")
    assert shown.code == 0, shown.err
    assert re.search(r"relative difference \d\.\de", shown.out)
