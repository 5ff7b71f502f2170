import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.test_terminal import on_terminal
from tests.registry.factories import make_artifact
from wsdarts_hub.cli.listing import list_artifacts
from wsdarts_hub.cli.shared.documentation import json_keys
from wsdarts_registry.stores.directory import DirectoryStore


@pytest.mark.parametrize(
    ("options", "references"),
    [
        (("--kind", "meta-transfer"), ["flowers-textures@1"]),
        (("--task", "TEXT"), ["flowers-textures@1", "textures@1"]),
        (("--classes", "11.."), ["flowers-textures@1"]),
        (("--classes", "..10"), ["flowers@1", "textures@1"]),
        (("--classes", "20"), ["flowers-textures@1"]),
        (("--images", "120..239"), ["flowers@1", "textures@1"]),
        (("--sort", "images", "--reverse", "--limit", "1"), ["flowers-textures@1"]),
        (("--operation", "sep_conv_3x3", "--limit", "2"), ["flowers@1", "flowers-textures@1"]),
        (("--since", "2026-01-03"), []),
        (("--probe", "nosuch"), []),
    ],
)
def test_filters_and_orders(
    zoo: Path, run: Run, options: tuple[str, ...], references: list[str]
) -> None:
    shown = run("list", "--registry", zoo, "-q", *options)
    assert (shown.code, shown.lines) == (0, references)
    data = json.loads(run("list", "--registry", zoo, "--json", *options).out)
    assert [entry["reference"] for entry in data] == references


def test_nothing_that_fits_is_one_line_and_no_error(zoo: Path, run: Run, tmp_path: Path) -> None:
    shown = run("list", "--registry", zoo, "--task", "nosuch")
    assert shown.code == 0
    assert f"`wsdarts-hub list --registry {zoo}`" in shown.out
    assert len(shown.lines) == 1
    assert run("list", "--registry", zoo, "--task", "nosuch", "--json").out == "[]\n"
    DirectoryStore(tmp_path / "empty", create=True)
    assert run("list", "--registry", tmp_path / "empty", "--json").out == "[]\n"
    assert "no artifacts yet" in run("list", "--registry", tmp_path / "empty").out


def test_an_operation_that_nothing_has_is_refused(zoo: Path, run: Run) -> None:
    shown = run("list", "--registry", zoo, "--operation", "sepconv")
    assert shown.code == 1
    assert "'sepconv'" in shown.err
    assert "sep_conv_3x3, sep_conv_5x5" in shown.err


def test_json_has_the_keys_that_the_help_names(zoo: Path, run: Run) -> None:
    store = DirectoryStore(zoo)
    store.set_alias("flowers", "stable", 1)
    first, both, _ = json.loads(run("list", "--registry", zoo, "--json").out)
    assert list(first) == [key for key in json_keys(list_artifacts) if "." not in key]
    assert first["status"]["aliases"] == ["stable"]
    assert [task["name"] for task in both["tasks"]] == ["flowers", "textures"]
    assert (both["images"], both["classes"], both["weights"]) == (240, 20, True)
    assert first["digest"] == store.resolve("flowers").digest
    files = store.path("flowers", 1).rglob("*")
    own = ("artifact.json", "artifact.sha256")
    assert first["bytes"] == sum(
        f.stat().st_size for f in files if f.is_file() and f.name not in own
    )


def test_columns_are_there_where_something_is_to_say(zoo: Path, run: Run) -> None:
    there = ("list", "--registry", zoo)
    assert run(*there).lines[0].split()[-1] == "size"
    DirectoryStore(zoo).write_signature("textures", 1, b"{}")
    assert [line.split()[-1] for line in run(*there).lines[::3]] == ["signed", "yes"]
    assert run(*there, "--signed", "-q").lines == ["textures@1"]
    assert "accuracy" not in run(*there, "--sort", "accuracy").lines[0]  # none states it
    assert run(*there, "--sort", "cost").lines[0].split()[-2] == "search"


def test_accuracy_stands_beside_its_baseline(run: Run, tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "trained", create=True)
    for name, metrics in (
        ("below", {"classifier_accuracy": 0.5, "classifier_baseline_accuracy": 0.75}),
        ("alone", {"classifier_accuracy": 0.25}),
        ("none", {}),
    ):
        make_artifact(tmp_path / name, name, metrics=metrics)
        store.publish(tmp_path / name, name)
    header, alone, below, none = run("list", "--registry", tmp_path / "trained").lines
    assert header.split()[-3:] == ["accuracy", "baseline", "gain"]
    assert alone.split()[-2:] == ["25.0", "%"]
    assert below.split()[-6:] == ["50.0", "%", "75.0", "%", "−25.0", "points"]
    assert "%" not in none
    fitting = ("list", "--registry", tmp_path / "trained", "-q", "--accuracy")
    assert run(*fitting, "30..").lines == ["below@1"]
    assert run(*fitting, "..25").lines == ["alone@1"]
    shown = run("show", "below", "--registry", tmp_path / "trained").out
    assert "25.0 points below the linear baseline" in shown


def test_parameters_are_named_by_the_network_that_has_them(run: Run, tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "trained", create=True)
    sizes = {"classifier_parameters": 98_786, "final_parameters": 840_000}
    make_artifact(tmp_path / "sized", "sized", metrics={"classifier_accuracy": 0.5, **sizes})
    store.publish(tmp_path / "sized", "sized")
    there = ("list", "--registry", tmp_path / "trained")
    ordered = run(*there, "--sort", "parameters")
    trained, full = "parameters as trained", "parameters at full size"
    assert ordered.lines[0].endswith(f"{trained}  {full}")
    assert ordered.lines[1].split()[-3:] == ["98,786", "0.84", "M"]
    assert full in ordered.err
    for options in (("--sort", "accuracy"), ("--accuracy", "30..")):
        shown = run(*there, *options)
        assert shown.lines[0].endswith(trained)
        assert shown.lines[1].endswith("98,786")
    assert "parameters" not in run(*there).lines[0]


@pytest.mark.parametrize(
    "options",
    [
        ("--classes", "many"),
        ("--classes", ".."),
        ("--classes", "20..10"),
        ("--images", "-5..10"),
        ("--sort", "beauty"),
        ("--kind", "other"),
        ("--limit", "0"),
    ],
)
def test_wrong_usage(zoo: Path, run: Run, options: tuple[str, ...]) -> None:
    shown = run("list", "--registry", zoo, *options)
    assert (shown.code, shown.out) == (2, "")


def test_a_wrong_choice_is_answered_with_the_nearest_right_ones(run: Run) -> None:
    wrong = (("--sort", "acuracy", "accuracy"), ("--kind", "meta", "meta-transfer"))
    for option, given, right in wrong:
        outcome = run("list", option, given)
        assert outcome.code == 2
        said = outcome.err.splitlines()[-1]
        assert said.startswith("error: Invalid value for")
        assert "Value error" not in said
        assert right in said.rpartition(".")[2]


def test_a_wrong_date_is_an_error_of_one_line(zoo: Path, run: Run) -> None:
    shown = run("list", "--registry", zoo, "--since", "yesterday")
    assert shown.code == 1
    assert "such as 2026-01-31" in shown.err
    assert len(shown.err.splitlines()) == 1


def test_it_is_coloured_and_fitted_on_a_terminal_only(zoo: Path, run: Run) -> None:
    arguments = ("list", "--registry", str(zoo), "--sort", "size")
    shown = on_terminal(*arguments, width=80, NO_COLOR="1").splitlines()
    assert [line for line in shown if len(line) > 80] == []
    assert "\x1b[1m" in on_terminal(*arguments, width=80)
    assert "\x1b" not in run(*arguments).out


def test_a_narrow_terminal_leaves_columns_out_and_references_whole(zoo: Path) -> None:
    # Without the probe 18 for flowers-textures@1, 13 for meta-transfer, 8 for "flowers,", 6 and 7
    # for images and classes, 10 for a day, 6 for a size, and 2 between each: 80 in all.
    arguments = ("list", "--registry", str(zoo))
    shown = on_terminal(*arguments, width=80, NO_COLOR="1").splitlines()
    assert shown[0].split() == [
        "reference",
        "kind",
        "tasks",
        "images",
        "classes",
        "created",
        "size",
    ]
    references = [word for line in shown for word in line.split() if "@" in word]
    assert references == ["flowers@1", "flowers-textures@1", "textures@1"]
    assert any("meta-transfer  flowers,  " in line for line in shown)
    assert shown[-1] == "(no room for probe)"
    narrow = on_terminal(*arguments, "--sort", "created", width=70, NO_COLOR="1").splitlines()
    assert narrow[0].split() == ["reference", "tasks", "images", "classes", "created"]
    assert narrow[-1].endswith("probe, size, kind)")
    wide = on_terminal(*arguments, width=200, NO_COLOR="1").splitlines()
    assert "probe" in wide[0]
    assert len(wide) == 4
