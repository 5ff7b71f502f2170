"""Run directories: one process, one configuration, no foreign files."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from wsdarts_registry import _file_lock
from wsdarts_registry._files import atomic_file, staged
from wsdarts_registry.errors import RunError, RunWarning, SettingsError
from wsdarts_sdk.presets import PAPER
from wsdarts_sdk.runs.checkpoints import Checkpoint, FileJournal
from wsdarts_sdk.runs.directory import RunDirectory, open_run, read_config, read_json
from wsdarts_sdk.search.settings import settings_json

pytestmark = pytest.mark.processes

CONFIG = {"command": "search", "settings": {"seed": 0, "stages": [{"cells": 5}, {"cells": 11}]}}

HOLD = """
import sys, time
from wsdarts_sdk.runs.directory import open_run
with open_run(sys.argv[1], {"command": "search"}, resume=True):
    print("open", flush=True)
    time.sleep(600)
"""


def test_a_run_is_made_and_resumed(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run"
    with open_run(path, CONFIG, resume=False) as run:
        run.write_json("found.json", {"α": 1})
        run.write_text("cells.svg", "<svg/>")
    assert read_config(path) == {"format": 1, **CONFIG}
    with open_run(path, CONFIG, resume=True) as run:
        assert run.read_json("found.json") == {"α": 1}
        assert run.read_json("missing.json") is None
    with open_run(tmp_path / "new", CONFIG, resume=True) as run:  # nothing there yet: begin
        assert run.path == tmp_path / "new"


def test_a_run_that_is_refused_before_it_has_anything_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with pytest.raises(SettingsError), open_run(path, CONFIG, resume=False) as run:
        _refused(run)
    assert [p.name for p in path.iterdir() if not p.name.startswith(".")] == []
    with open_run(path, {"command": "another"}, resume=False) as run:
        FileJournal(run.path, "search").checkpoint(Checkpoint(tensors={}, facts={}))
    # What was there before, and what has a checkpoint, stays.
    for begun in (path, tmp_path / "new"):
        config = {"command": "another"}
        with pytest.raises(SettingsError), open_run(begun, config, resume=True) as run:
            _refused(run, checkpoint=True)
        assert (begun / "config.json").exists()


def _refused(run: RunDirectory, *, checkpoint: bool = False) -> None:
    run.write_json("environment.json", {})
    if checkpoint:
        FileJournal(run.path, "search").checkpoint(Checkpoint(tensors={}, facts={}))
    raise SettingsError("the weights do not fit")


def test_a_run_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    with open_run(tmp_path / "run", CONFIG, resume=False):
        pass
    with (
        pytest.raises(RunError, match="already holds a run") as caught,
        open_run(tmp_path / "run", CONFIG, resume=False),
    ):
        pass
    assert "--resume" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "name", "was", "now"),
    [
        ({"command": "train"}, "command", "'search'", "'train'"),
        ({"settings": CONFIG["settings"] | {"seed": 1}}, "settings.seed", "0", "1"),
        (
            {"settings": {"seed": 0, "stages": [{"cells": 5}, {"cells": 17}]}},
            "settings.stages[1].cells",
            "11",
            "17",
        ),
        (
            {"settings": {"seed": 0, "stages": [{"cells": 5}]}},
            "settings.stages",
            "[{'cells': 5}, {'cells': 11}]",
            "[{'cells': 5}]",
        ),
        ({"data": "sha256:00"}, "data", "None", "'sha256:00'"),
        ({"command": "train", "data": 1}, "command, data", "'search', None", "'train', 1"),
    ],
)
def test_other_settings_are_refused_by_name(
    change: dict[str, object], name: str, was: str, now: str, tmp_path: Path
) -> None:
    with open_run(tmp_path / "run", CONFIG, resume=False):
        pass
    with (
        pytest.raises(RunError) as caught,
        open_run(tmp_path / "run", CONFIG | change, resume=True),
    ):
        pass
    assert caught.value.what == f"{name} of the run in {tmp_path / 'run'}"
    assert (caught.value.expected, caught.value.found) == (was, now)
    assert "--out" in caught.value.hint
    with open_run(tmp_path / "run", CONFIG, resume=True):  # the refusal changed nothing
        pass


def test_settings_survive_json(tmp_path: Path) -> None:
    config = {"search": settings_json(PAPER.search), "training": settings_json(PAPER.training)}
    for resume in (False, True):
        with open_run(tmp_path / "run", config, resume=resume):
            there = read_config(tmp_path / "run")
        assert there["search"]["stages"][0]["cells"] == 5


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    for name in ("thesis.tex", ".thesis.tmp"):
        (tmp_path / name).write_text("…", encoding="utf-8")
    with (
        pytest.raises(RunError, match=r"it holds thesis\.tex"),
        open_run(tmp_path, CONFIG, resume=True),
    ):
        pass
    assert not (tmp_path / "config.json").exists()
    assert (tmp_path / ".thesis.tmp").exists()


def test_leftovers_of_a_kill_while_the_run_was_made(tmp_path: Path) -> None:
    (tmp_path / ".config.json.abc.tmp").write_text('{"for', encoding="utf-8")
    with open_run(tmp_path, CONFIG, resume=True):
        pass
    assert read_config(tmp_path)["command"] == "search"
    # Every kill can leave one, as large as a checkpoint: they must not pile up.
    (tmp_path / ".search.checkpoint.safetensors.def.tmp").write_bytes(b"half")
    (unfinished := tmp_path / f".artifact.{'0' * 32}").mkdir()
    (unfinished / "weights.safetensors").write_bytes(b"half")
    with open_run(tmp_path, CONFIG, resume=True):
        assert not list(tmp_path.glob(".*.tmp"))
        assert not unfinished.exists()


def test_what_is_being_written_to_a_run_is_no_leftover(tmp_path: Path) -> None:
    with open_run(tmp_path, CONFIG, resume=True):
        pass
    with atomic_file(tmp_path / "comparison.html") as file:  # by a command that takes no lock
        file.write(b"a page")
        with staged(tmp_path / "copy") as folder, open_run(tmp_path, CONFIG, resume=True):
            (folder / "page.html").write_bytes(b"another")
    assert (tmp_path / "copy" / "page.html").exists()
    assert (tmp_path / "comparison.html").read_bytes() == b"a page"


def test_without_locks_there_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(descriptor: int) -> bool:
        raise _file_lock.NoLocksError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(_file_lock, "lock_open_file", no_locks)
    with (
        pytest.warns(RunWarning, match=f"files in {tmp_path} cannot be locked"),
        open_run(tmp_path, CONFIG, resume=True) as run,
    ):
        run.write_text("note.txt", "written all the same")


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("", encoding="utf-8")
    with (
        pytest.raises(RunError, match=str(tmp_path / "run")) as caught,
        open_run(tmp_path / "run", CONFIG, resume=False),
    ):
        pass
    assert "--out" in caught.value.hint


def test_the_same_process_twice(tmp_path: Path) -> None:
    with (
        open_run(tmp_path, CONFIG, resume=False),
        pytest.raises(RunError, match=rf"\(pid {os.getpid()}\)"),
        open_run(tmp_path, CONFIG, resume=True),
    ):
        pass
    with open_run(tmp_path, CONFIG, resume=True):  # free again
        pass


def test_two_processes(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "run"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with (
            pytest.raises(RunError, match=rf"\(pid {holder.pid}\)"),
            open_run(tmp_path / "run", {"command": "search"}, resume=True),
        ):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    # The lock is the kernel's: a killed process leaves none behind.
    with open_run(tmp_path / "run", {"command": "search"}, resume=True):
        pass


def test_a_full_disk_is_told_and_other_errors_are_not_disguised(tmp_path: Path) -> None:
    with (
        pytest.raises(RunError, match=os.strerror(errno.ENOSPC)) as caught,
        open_run(tmp_path, CONFIG, resume=False),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "--resume" in caught.value.hint
    with (
        pytest.raises(RunError, match=os.strerror(errno.ENOENT)),
        open_run(tmp_path, CONFIG, resume=True),
    ):
        (tmp_path / "gone").read_bytes()
    with pytest.raises(FileNotFoundError), open_run(tmp_path, CONFIG, resume=True):
        Path("/nowhere").read_bytes()
    with pytest.raises(ConnectionError), open_run(tmp_path, CONFIG, resume=True):
        raise ConnectionResetError(errno.ECONNRESET, "reset by peer")


def _replace_while_open(path: Path, away: Path) -> None:
    with open_run(path, CONFIG, resume=False) as run:
        journal = FileJournal(path, "search")
        journal.append({"epoch": 0})
        path.rename(away)
        path.mkdir()
        writers: tuple[Callable[[], object], ...] = (
            lambda: run.write_json("found.json", {}),
            lambda: journal.append({"epoch": 1}),
            lambda: journal.truncate(0),
            lambda: journal.checkpoint(Checkpoint(tensors={}, facts={})),
        )
        for write in writers:
            with pytest.raises(FileNotFoundError):
                write()
        run.write_text("cells.svg", "<svg/>")


def test_a_directory_that_takes_its_place_is_not_written(tmp_path: Path) -> None:
    # As when a disk is unmounted: its path is then another, empty directory.
    path, away = tmp_path / "run", tmp_path / "away"
    with pytest.raises(RunError) as caught:
        _replace_while_open(path, away)
    assert "--resume" in caught.value.hint
    assert list(path.iterdir()) == []
    path.rmdir()
    away.rename(path)
    with open_run(path, CONFIG, resume=True):
        assert FileJournal(path, "search").rows() == [{"epoch": 0}]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_place(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with (
        pytest.raises(RunError, match=str(tmp_path / "run")),
        open_run(tmp_path / "run", CONFIG, resume=False),
    ):
        pass


def test_reading_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"it has no config\.json") as caught:
        read_config(tmp_path)
    assert "--out" in caught.value.expected
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"format": 2}), encoding="utf-8")
    with pytest.raises(RunError, match=r"config\.json") as caught:
        read_config(tmp_path)
    assert (caught.value.found, caught.value.expected) == ("2", "1")
    assert "pip install" in caught.value.hint
    config.write_text('{"format', encoding="utf-8")
    with pytest.raises(RunError, match="not valid JSON"):
        read_config(tmp_path)
    with pytest.raises(RunError, match="cannot read"):
        read_json(tmp_path / "missing.json")


def test_journals_of_a_run(tmp_path: Path) -> None:
    with open_run(tmp_path, CONFIG, resume=False) as run:
        FileJournal(run.path, "search").append({"epoch": 0})
    assert (tmp_path / "search.metrics.jsonl").read_text(encoding="utf-8") == '{"epoch": 0}\n'
