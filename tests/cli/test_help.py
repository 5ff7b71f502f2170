import ast
import inspect
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

import wsdarts_hub
from tests.cli.conftest import Run
from wsdarts_hub.cli import app
from wsdarts_hub.cli.shared.documentation import (
    example,
    help_text,
    python_twin,
    reference_page,
    registered,
)

COMMANDS = registered(app)
ROOT = Path(__file__).resolve().parents[2]
COMMAND_NAMES = (
    *("embed", "nearest", "search", "warm-start", "train", "push", "pull", "list", "show"),
    *("verify", "yank", "unyank", "lineage", "diff", "copy", "accept", "gc", "doctor", "demo"),
    *("alias set", "alias remove", "alias list", "keygen", "sign", "predict", "evaluate"),
    *("export", "push-model", "index rebuild", "gallery build", "gallery serve", "report"),
)


def command(name: str) -> Callable[..., None]:
    return COMMANDS[name]


def test_every_command_is_there() -> None:
    assert sorted(COMMANDS) == sorted(COMMAND_NAMES)


@pytest.mark.parametrize("name", COMMAND_NAMES)
def test_every_command_is_quiet_on_demand(name: str) -> None:
    assert "quiet" in inspect.signature(command(name)).parameters


@pytest.mark.parametrize("name", COMMAND_NAMES)
def test_the_help_shows_example_and_python_twin(name: str, run: Run) -> None:
    shown = run(*name.split(), "--help")
    assert shown.code == 0
    indented = [line.strip() for line in shown.out.splitlines()]
    for text in (example(command(name)), python_twin(command(name))):
        for line in text.splitlines():
            assert line.strip() in indented


@pytest.mark.parametrize("name", COMMAND_NAMES)
def test_the_python_twin_names_public_names_only(name: str) -> None:
    tree = ast.parse(python_twin(command(name)))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom | ast.Import)]
    assert imports
    imported = set()
    for node in imports:
        assert isinstance(node, ast.ImportFrom)
        assert node.module == "wsdarts_hub"
        imported |= {alias.name for alias in node.names}
    assert imported <= set(wsdarts_hub.__all__)
    # Every other name is bound by the twin itself, or a builtin.
    bound = {
        n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    assert used - bound - imported <= {"print", "str"}


@pytest.mark.parametrize("name", COMMAND_NAMES)
def test_the_arguments_of_the_python_twin_exist(name: str) -> None:
    for node in ast.walk(ast.parse(python_twin(command(name)))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.keywords:
            target = getattr(wsdarts_hub, node.func.id)
            known = inspect.signature(target).parameters
            assert {keyword.arg for keyword in node.keywords} <= set(known)


@pytest.mark.parametrize("name", COMMAND_NAMES)
def test_the_example_is_a_command_line_with_options_that_exist(name: str, run: Run) -> None:
    program, *words = shlex.split(example(command(name)))
    assert [program, *words][: 1 + len(name.split())] == ["wsdarts-hub", *name.split()]
    shown = run(*name.split(), "--help").out
    for word in words:
        if word.startswith("-"):
            assert word in shown


@pytest.mark.parametrize("name", COMMAND_NAMES)
def test_the_summary_is_not_cut_off(name: str, run: Run) -> None:
    summary = (command(name).__doc__ or "").splitlines()[0]
    assert summary in run(*name.split()[:-1], "--help").out


def test_paragraphs_are_refilled_and_code_is_not() -> None:
    def example_command() -> None:
        """Do it.

        Two lines
        of prose.

        Example:
            wsdarts-hub do
        """

    assert help_text(example_command).split("\n\n") == [
        "Do it.",
        "Two lines\nof prose.",
        "\b\nExample:\n    wsdarts-hub do",
    ]


def test_a_missing_section_is_named() -> None:
    def undocumented() -> None:
        """Do it."""

    with pytest.raises(LookupError, match=r"undocumented .*'Python:'"):
        python_twin(undocumented)


def test_the_reference_page_is_up_to_date(golden: Callable[[Path, str], None]) -> None:
    golden(ROOT / "docs" / "cli.md", reference_page(app))


def test_version(run: Run) -> None:
    shown = run("--version")
    assert shown.code == 0
    assert shown.out.startswith("wsdarts-hub 0.")


def test_no_command_shows_the_help(run: Run) -> None:
    shown = run()
    assert "Search and training:" in shown.out + shown.err
