"""Modules that a command imports, which decide how soon it answers."""

import subprocess
import sys
from pathlib import Path

TORCH = {"torch", "torchvision", "timm", "datasets", "optuna"}
SLOW = TORCH | {"numpy", "safetensors", "pydantic", "huggingface_hub", "jinja2", "PIL", "pyarrow"}


def loaded_by(*arguments: str) -> set[str]:
    """Return the slow modules that a command line imports, in a process of its own."""
    code = (
        "import sys\n"
        "from wsdarts_hub.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    pass\n"
        "print('\\nloaded', *sorted(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return (SLOW | {"rich"}) & set(done.stdout.splitlines()[-1].split()[1:])


def test_help_loads_nothing_slow() -> None:
    assert loaded_by("--help") == set()
    assert loaded_by() == set()
    # Some versions of Typer themselves load pydantic to parse options.
    assert loaded_by("--version") <= {"pydantic"}
    assert loaded_by("warm-start", "--help") <= {"pydantic"}


def test_listing_reads_manifests_alone(zoo: Path) -> None:
    assert loaded_by("list", "--registry", str(zoo)) == {"pydantic", "rich"}
    assert loaded_by("list", "--registry", str(zoo), "--quiet") == {"pydantic"}


def test_aliases_read_and_write_records_alone(zoo: Path) -> None:
    there = ("--registry", str(zoo))
    assert loaded_by("alias", "--help") <= {"pydantic"}
    assert loaded_by("alias", "set", "flowers", "stable", "1", *there) == {"pydantic"}
    assert loaded_by("alias", "list", "flowers", *there) == {"pydantic", "rich"}
    assert loaded_by("alias", "remove", "flowers", "stable", *there) == {"pydantic"}


def test_a_family_tree_reads_manifests_alone(zoo: Path) -> None:
    assert loaded_by("lineage", "flowers", "--registry", str(zoo)) == {"pydantic"}


def test_showing_an_artifact_reads_its_tensors_and_no_more(zoo: Path) -> None:
    shown = loaded_by("show", "flowers", "--registry", str(zoo))
    assert shown <= {"numpy", "safetensors", "pydantic", "rich"}


def test_comparing_artifacts_reads_their_tensors_and_no_more(zoo: Path) -> None:
    shown = loaded_by("diff", "flowers", "textures", "--registry", str(zoo))
    assert shown <= {"numpy", "safetensors", "pydantic", "rich"}


def test_what_reads_and_writes_a_registry_loads_no_torch(zoo: Path, tmp_path: Path) -> None:
    there = ("--registry", str(zoo))
    draft = str(tmp_path / "drafts" / "flowers")
    for arguments in (
        ("list", *there),
        ("show", "flowers", *there),
        ("pull", "flowers", "--out", str(tmp_path / "pulled"), *there),
        ("verify", "flowers", *there),
        ("push", draft, "other", *there),
        ("copy", "flowers", "--to", str(tmp_path / "other"), *there),
        ("gc", *there),
        ("yank", "flowers@1", "--reason", "a test", *there),
        ("unyank", "flowers@1", "--reason", "a test", *there),
        ("nearest", str(tmp_path / "x.safetensors"), *there),
    ):
        assert not loaded_by(*arguments) & TORCH, arguments
