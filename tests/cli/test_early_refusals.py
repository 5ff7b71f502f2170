"""Refusals by arguments and registry alone, before an image is read."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome, Run
from tests.registry.factories import make_artifact
from wsdarts_registry.stores.directory import DirectoryStore

Try = Callable[..., Outcome]
TINY = ("--preset", "tiny")
WIDER = ("--set", "search.channels=7")


@pytest.fixture
def garbage(tmp_path: Path) -> Path:
    """A dataset whose images do not decode; whoever reads them says so."""
    for name in ("one", "two"):
        (tmp_path / "garbage" / name).mkdir(parents=True)
        for number in range(6):
            file = tmp_path / "garbage" / name / f"{number}.png"
            file.write_bytes(b"no image at all: " + name.encode() + bytes([number]))
    return tmp_path / "garbage"


@pytest.fixture
def attempt(garbage: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Try:
    """Run a command on the garbage (`DATA`) in an empty directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*words: str | Path) -> Outcome:
        shown = run(*(garbage if word == "DATA" else word for word in words))
        assert shown.code != 0
        return shown

    return call


def test_the_garbage_is_refused_by_who_reads_it(attempt: Try) -> None:
    for command in ("search", "warm-start", "embed", "nearest"):
        assert "0.png" in attempt(command, "DATA").err
    assert "0.png" in attempt("train", "dtd-10@2", "DATA").err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("warm-start", "DATA", "--from", "nosuch@1"), "nosuch"),
        (("warm-start", "DATA", "--from", "dtd-10@99"), "dtd-10@99"),
        (("warm-start", "DATA", "--from", "dtd-10", "--mode", "union"), "'union'"),
        (("warm-start", "DATA", "--from", "dtd-10", "--mode", "meta"), "'meta'"),
        (
            *(("warm-start", "DATA", "--from", "dtd-10", "--mode", "trained", *WIDER),),
            "dtd-10@2 has weights for",
        ),
        (("train", "nosuch@1", "DATA"), "nosuch"),
        (("warm-start", "DATA", "--registry", "nowhere"), "nowhere"),
        (("nearest", "DATA", "--registry", "nowhere"), "nowhere"),
        (("train", "dtd-10@2", "DATA", "--registry", "nowhere"), "nowhere"),
        (("nearest", "DATA", "--estimator", "variational"), "estimator variational"),
        (("nearest", "DATA", "--budget", "soon"), "soon"),
        (("embed", "DATA", "--budget", "soon"), "soon"),
        (("embed", "DATA", "--target-error", "3"), "target_error is 3"),
        (("embed", "DATA", "--estimator", "variational", "--budget", "3s"), "budget"),
        (("nearest", "DATA", "-k", "0"), "-k"),
        (("embed", "DATA", "--out", "a-file/e.safetensors"), "a-file"),
        (("embed", "DATA", "--out", "a-folder"), "a-folder"),
        (("search", "DATA", "--probe", "shipped", "--probe", "shipped"), "named twice"),
    ],
)
def test_before_any_image(words: tuple[str, ...], said: str, attempt: Try) -> None:
    Path("a-file").write_bytes(b"")
    Path("a-folder").mkdir()
    shown = attempt(*words)
    assert said in shown.err
    assert "0.png" not in shown.err


@pytest.mark.parametrize("command", ["search", "warm-start", "train", "embed", "nearest"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--probe", "nosuchnet"), "nosuchnet"),
        (("--device", "cuda:99"), "cuda:99"),
        (("--device", "tpu"), "tpu"),
        (("--device", "meta"), "meta"),
        (("--preset", "huge"), "huge"),
        (("--set", "search.chanels=8"), "search.chanels"),
        (("--out", "a-file"), "a-file"),
        (("--out", "a-file/run"), "a-file"),
        (("--out", "full"), "full is not empty"),
    ],
)
def test_before_any_image_in_every_command(
    command: str, words: tuple[str, str], said: str, attempt: Try
) -> None:
    lacking = {
        "embed": ("--preset", "--set", "--out"),
        "nearest": ("--preset", "--set", "--out"),
        "train": ("--probe",),
    }
    if words[0] in lacking.get(command, ()):
        pytest.skip(f"{command} has no {words[0]}")
    Path("a-file").write_bytes(b"")
    Path("full").mkdir()
    Path("full", "other.txt").write_bytes(b"")
    start = (command, "dtd-10@2", "DATA") if command == "train" else (command, "DATA")
    shown = attempt(*start, *words)
    assert said in shown.err
    assert "0.png" not in shown.err


@pytest.mark.parametrize(
    ("kernels", "said"), [("fast", "'fast'"), ("compiled", "no C++ compiler"), ("triton", "triton")]
)
@pytest.mark.parametrize("command", ["search", "warm-start", "train"])
def test_kernels_that_cannot_be_had(
    command: str, kernels: str, said: str, attempt: Try, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSDARTS_HUB_KERNELS", kernels)
    monkeypatch.setenv("CXX", "no-such-compiler")
    # The tests run Triton's kernels in Python, which users do not.
    kernel = "wsdarts_sdk.supernet.kernels.triton_kernels.interpreted"
    if find_spec("triton"):
        monkeypatch.setattr(kernel, lambda: False)
    words = (command, "dtd-10@2", "DATA") if command == "train" else (command, "DATA")
    shown = attempt(*words, "--device", "cpu")
    assert "WSDARTS_HUB_KERNELS" in shown.err
    assert said in shown.err


def test_a_run_that_is_there_with_other_settings(attempt: Try, images: Path, run: Run) -> None:
    quick = ("--set", "training.epochs=1", "--set", "training.steps_per_epoch=1", *TINY)
    assert run("train", "dtd-10@2", images, "--out", "run", *quick, "-q").code == 0
    there = ("train", "dtd-10@2", "DATA", "--out", "run")
    assert "already holds a run" in attempt(*there, *quick).err
    assert "other settings" in attempt(*there, *TINY, "--resume").err
    assert "other settings" in attempt("search", "DATA", "--out", "run", *TINY, "--resume").err


def test_a_run_that_was_split_by_the_rule_before(attempt: Try, images: Path, run: Run) -> None:
    quick = ("--set", "training.epochs=1", "--set", "training.steps_per_epoch=1", *TINY)
    assert run("train", "dtd-10@2", images, "--out", "run", *quick, "-q").code == 0
    config = json.loads(Path("run", "config.json").read_bytes())
    assert config.pop("split_rule") == 2
    Path("run", "config.json").write_text(json.dumps(config))
    shown = attempt("train", "dtd-10@2", "DATA", "--out", "run", *quick, "--resume")
    assert "split rule" in shown.err
    assert "0.png" not in shown.err


def test_a_registry_with_nothing_that_the_mode_could_take(attempt: Try, tmp_path: Path) -> None:
    zoo = DirectoryStore(tmp_path / "zoo", create=True)
    for mode in ("trained", "topology", "union", "meta"):
        shown = attempt("warm-start", "DATA", "--registry", tmp_path / "zoo", "--mode", mode)
        assert f"mode '{mode}' needs" in shown.err
    make_artifact(tmp_path / "made", "flowers")
    zoo.publish(tmp_path / "made", "flowers")
    # It has embeddings by another probe alone.
    shown = attempt("warm-start", "DATA", "--registry", tmp_path / "zoo", "--mode", "union")
    assert "probe tiny" in shown.err


def test_a_damaged_artifact_that_was_asked_for(attempt: Try, tmp_path: Path) -> None:
    zoo = DirectoryStore(tmp_path / "zoo", create=True)
    make_artifact(tmp_path / "made", "flowers")
    zoo.publish(tmp_path / "made", "flowers")
    (zoo.path("flowers", 1) / "artifact.json").write_bytes(b"{}")
    shown = attempt("warm-start", "DATA", "--from", "flowers", "--registry", tmp_path / "zoo")
    assert "artifact.json" in shown.err
    assert "0.png" not in shown.err


@pytest.mark.parametrize("out", ["run", "one/run", "../garbage/run", "link"])
@pytest.mark.parametrize(
    "words",
    [("search",), ("warm-start",), ("train", "dtd-10@2"), ("embed",)],
    ids=lambda words: words[0],
)
def test_outputs_within_the_dataset(
    words: tuple[str, ...], out: str, attempt: Try, garbage: Path
) -> None:
    where = garbage / out
    if out == "link":
        Path("link").symlink_to(garbage)
        where = Path("link", "run")
    before = sorted(garbage.rglob("*"))
    shown = attempt(*words, "DATA", "--out", where)
    assert (shown.code, shown.err.count("\n")) == (1, 1)
    assert str(garbage) in shown.err
    assert str(where) in shown.err
    assert "0.png" not in shown.err
    assert sorted(garbage.rglob("*")) == before


def test_the_default_run_within_the_dataset(
    attempt: Try, garbage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(garbage)
    assert "runs/search-data-1" in attempt("search", ".").err
    assert not (garbage / "runs").exists()
