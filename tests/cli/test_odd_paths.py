"""Every command, with every path that it takes spoilt in every way: one line, no traceback."""

import inspect
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch

from tests.cli.conftest import Outcome, Run
from tests.plain_user import without_overrides
from tests.sdk.reports.compared import make_cold
from wsdarts_hub import Classifier
from wsdarts_hub.cli import app
from wsdarts_hub.cli.shared.documentation import registered
from wsdarts_hub.cli.shared.options import READING
from wsdarts_registry.architecture.genotype import Connection, Genotype
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_sdk.models.network import DerivedNetwork
from wsdarts_sdk.reports.report_files import save_report
from wsdarts_sdk.runs.directory import RunDirectory

COMMANDS = registered(app)
# What each kind of argument, by the word for it in the help, is given where another is spoilt;
# paths are below the test's directory.
PATHS = {
    "DATA": "images",
    "DATA|EMBEDDING": "images",
    "RUN": "run",
    "MODEL": "model",
    "IMAGES": "images",
    "RUN|REF|GENOTYPE": "flowers@1",
    "REF|DIR": "flowers@1",
    "DIR|hf://OWNER": "zoo",
    "REGISTRY": "other-zoo",
    "DIR": "new-directory",
    "[DIR]": "new-directory",
    "FILE": "new-file",
    "PATH": "images",
    "KEY": "key",
    "PROBE": "probe.safetensors",
    "hf://OWNER": "zoo",
}
REFERENCES = {"REF": "flowers@1", "NAME": "flowers"}
OTHERS = {
    "ALIAS": "stable",
    "VERSION": "1",
    "TEXT": "reason",
    "N": "1",
    "AGE": "1d",
    "KIND": None,
    "DATE": None,
    "KEY=VALUE": None,
    "TIME": None,
    "X": None,
    "ID": None,
    "OWNER/NAME": "lab/images",
    "TAG": None,
    "BRANCH": None,
    "URL": None,
    "MIN..MAX": None,
    "NAME": None,
    "cpu": None,
    "fisher|variational": None,
    "": None,
}
CIRCLE = "a link in a circle"
# What may be wrong with a path; each is made by `workplace`.
ODD = {
    "below a closed directory": "closed/below",
    "a closed directory": "closed",
    "in a read-only directory": "read-only/below",
    "too long": "x" * 300,
    "below one that is too long": "x" * 300 + "/below",
    "a name that is no text": "read-only/\udcff",
    "a file": "file",
    "below a file": "file/below",
    "a directory with other files": "directory",
    "a full device": "full",
    "a pipe": "pipe",
    CIRCLE: "circle",
}
MISSING = {"not there": "nothing/below", "a home of nobody": "~nobody-of-that-name/below"}
# A file or a link that is there is replaced by these, on purpose.
REPLACED = {("embed", "out"), ("export", "onnx")}
FEW = {
    # They come too late to be tried in every way: the export itself takes seconds.
    ("export", "images"): ("below a closed directory", "too long", "a pipe"),
    # In a directory with other files it is a file of its own.
    ("evaluate", "out"): tuple(what for what in ODD if what != "a directory with other files"),
}
SLOW = {("export", "images")}
# Parameters whose path is made where it is missing.
WRITTEN = {"out", "onnx", "timm", "to"}
MADE = {("push", "registry"), ("keygen", "file")}


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One argument or option of a command."""

    name: str
    flag: str | None
    kind: str
    required: bool


def parameters(command: Callable[..., None]) -> list[Parameter]:
    """Return the parameters of a command besides switches."""

    found = []
    hints = get_type_hints(command, include_extras=True)
    for name, parameter in inspect.signature(command).parameters.items():
        kind, info = get_args(hints[name])
        if kind is bool or info.metavar is None:
            continue
        declared = [d for d in (info.default, *(info.param_decls or ())) if isinstance(d, str)]
        option = type(info).__name__ != "ArgumentInfo"
        flags = [d for d in declared if d.startswith("--")] or [
            d for d in declared if d.startswith("-")
        ]
        found.append(
            Parameter(
                name=name,
                flag=(flags or [f"--{name.replace('_', '-')}"])[0] if option else None,
                kind=info.metavar,
                required=parameter.default is inspect.Parameter.empty,
            )
        )
    return found


SPOILT = [
    pytest.param(
        command,
        parameter,
        id=f"{command}-{parameter.flag or parameter.kind}",
        marks=[pytest.mark.slow] if (command, parameter.name) in SLOW else [],
    )
    for command, function in COMMANDS.items()
    for parameter in parameters(function)
    if (parameter.kind in PATHS or parameter.kind == "REF")
    # What several commands read in the same way is tried with one of them.
    and (command == "embed" or parameter.name not in {option.name for option in READING})
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a genotype, and a run with an artifact to come."""
    root = tmp_path_factory.mktemp("prepared")
    nodes = ((Connection(source=0, operation="sep_conv_3x3"),),)
    genotype = Genotype(space=SearchSpace(nodes=1), normal=nodes, reduction=nodes)
    genotype.save(root / "genotype.json")
    network = DerivedNetwork(genotype, classes=2, cells=2, channels=2)
    Classifier(
        network, mean=torch.zeros(3), std=torch.ones(3), image_size=8, class_names=("dark", "light")
    ).save(root / "model" / "model.safetensors")
    (root / "run").mkdir()
    (root / "run" / "config.json").write_text('{"format": 1}')
    save_report(RunDirectory(root / "run"), make_cold())
    return root


@pytest.fixture
def workplace(
    prepared: Path, zoo: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The current directory: what commands need, and the odd paths."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    shutil.copytree(tmp_path / "drafts" / "flowers", tmp_path / "run" / "artifact")
    for name in ("closed", "read-only", "directory"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "other").write_text("other")
    (tmp_path / "file").write_text("other")
    (tmp_path / "full").symlink_to("/dev/full")
    (tmp_path / "circle").symlink_to("circle")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "closed").chmod(0)
    (tmp_path / "read-only").chmod(0o555)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def arguments(command: str, spoilt: Parameter, odd: str) -> list[str]:
    """A command line whose other arguments are right."""
    positional, options = [], []
    for parameter in parameters(COMMANDS[command]):
        value = {**OTHERS, **PATHS, **REFERENCES}[parameter.kind]
        if parameter == spoilt:
            value = odd
        elif not parameter.required and parameter.kind != "DIR|hf://OWNER":
            continue
        assert value is not None, f"a required argument of a kind without a value: {parameter}"
        if parameter.flag is None:
            positional.append(value)
        else:
            options.append(f"{parameter.flag}={value}")
    return [*command.split(), *options, "--quiet", "--", *positional]


@pytest.mark.parametrize(("command", "spoilt"), SPOILT)
def test_a_path_that_is_no_good_is_told_in_one_line(
    command: str, spoilt: Parameter, workplace: Path, run: Run
) -> None:
    made = spoilt.name in WRITTEN or (command, spoilt.name) in MADE
    for what, odd in (ODD if made else {**ODD, **MISSING}).items():
        if what in ("a file", CIRCLE) and (command, spoilt.name) in REPLACED:
            continue
        if what not in FEW.get((command, spoilt.name), (what,)):
            continue
        line = arguments(command, spoilt, odd)
        if command == "export" and not made:
            line.insert(1, "--onnx=new-file" if spoilt.name == "images" else "--timm=new-directory")
        if (command, spoilt.flag) == ("gallery serve", None):
            line.remove("--registry=zoo")
        with without_overrides():
            try:
                outcome = run(*line)
            except Exception as error:
                raise AssertionError(f"{what}: {line}") from error
        assert told_in_one_line(command, outcome), f"{what}: {line}: {outcome}"


@pytest.mark.parametrize(
    ("line", "late"),
    [
        ("demo --out", "sklearn.datasets.load_digits"),
        ("embed images --out", "wsdarts_sdk.pipelines.embed.embed"),
        ("evaluate model images --out", "wsdarts_sdk.models.classifier.Classifier.load"),
        ("export model --onnx", "torch.onnx.export"),
        ("search images --out", "wsdarts_sdk.data.task.ImageTask.load"),
        ("train flowers@1 images --registry zoo --out", "wsdarts_sdk.data.task.ImageTask.load"),
        ("warm-start images --registry zoo --out", "wsdarts_sdk.data.task.ImageTask.load"),
    ],
)
def test_what_cannot_be_written_is_told_before_any_work(
    line: str, late: str, workplace: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError(late)

    monkeypatch.setattr(late, work)
    command, *_ = words = line.split()
    for odd in ("file/below", "x" * 300, "read-only/below", "closed/below", "pipe"):
        with without_overrides():
            outcome = run(*words, odd, "--quiet")
        assert told_in_one_line(command, outcome), f"{odd}: {outcome}"


def told_in_one_line(command: str, outcome: Outcome) -> bool:
    if command == "doctor":  # names what is broken, and what to do about it
        return outcome.code in (0, 1) and outcome.err == ""
    lines = outcome.err.splitlines()
    if command == "predict" and outcome.code == 1 and not lines[0].startswith("error: "):
        return len(lines) == 1  # one image of others
    return outcome.code == 1 and len(lines) == 1 and lines[0].startswith("error: ")


def test_every_kind_of_argument_has_a_value() -> None:
    kinds = {p.kind for function in COMMANDS.values() for p in parameters(function)}
    unknown = kinds - {*OTHERS, *PATHS, *REFERENCES}
    assert not unknown, f"say in this module whether these are paths: {unknown}"


@pytest.mark.parametrize("command", ["embed", "nearest", "gc", "doctor"])
def test_a_cache_that_is_no_good_is_told_in_one_line(
    command: str, workplace: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ["images"] if command in ("embed", "nearest") else []
    for what, odd in ODD.items():
        monkeypatch.setenv("WSDARTS_HUB_CACHE", odd)
        with without_overrides():
            outcome = run(command, *data, "--quiet")
        if command == "doctor":
            usable = "too long" in what or what in ("a directory with other files", CIRCLE)
            assert usable or "WSDARTS_HUB_CACHE" in outcome.out, f"{what}: {outcome}"
        elif outcome.code != 0:
            assert told_in_one_line(command, outcome), f"{what}: {outcome}"
