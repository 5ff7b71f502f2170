"""A run directory: one process at a time, resumable, self-describing.

```
config.json        what was asked for        metrics and checkpoints   NAME.metrics.jsonl, …
environment.json   where it ran              genotype.json, cells.svg  what was found
report.html        one self-contained page   artifact/                 what `push` publishes
report.json        what that page says
```
"""

import errno
import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from wsdarts_registry import _json
from wsdarts_registry._file_lock import HeldLock, NoLocksError, try_lock
from wsdarts_registry._files import (
    Identity,
    check_identity,
    check_place,
    entries,
    exists,
    identity,
    is_directory,
    is_file,
    is_temporary,
    make_directories,
    matching,
    open_regular,
    read_at_most,
    read_regular,
    remove_abandoned,
    write_atomically,
)
from wsdarts_registry._libraries import UPDATE
from wsdarts_registry.artifact import manifest
from wsdarts_registry.errors import RunError, RunWarning, WsdartsError
from wsdarts_registry.publishing import training_record

# The registry reads some of the files, and defines their names, since it cannot import this.
CONFIG_FILE, RESULT_FILE = training_record.RUN_CONFIG, training_record.RUN_RESULT
GENOTYPE_FILE, CELLS_FILE = manifest.GENOTYPE, manifest.PICTURE
ARTIFACT_FOLDER = training_record.RUN_ARTIFACT
ENVIRONMENT_FILE = "environment.json"
CHOICE_FILE = "choice.json"
COSTS_FILE = "costs.json"
DECISION_FILE = "decision.json"
EMBEDDING_FILE = "embedding.safetensors"
MODEL_FILE = "model.safetensors"
REPORT_FILE = "report.json"
REPORT_PAGE = "report.html"
EVALUATION_PAGE = "evaluation.html"
SWEEP_FILE = "sweep.db"
CHECKPOINT_SUFFIX = ".checkpoint.safetensors"
METRICS_SUFFIX = ".metrics.jsonl"
SEARCH_JOURNAL = "search"
SELECTION_JOURNAL = "selection"
CHOICE_JOURNAL = "choice"
TRAINING_JOURNAL = "training"
BASELINE_JOURNAL = "baseline"
ROLL_BACKS = "roll_backs"
"""Fact of a checkpoint and field of a row: how often the run has been rolled back, if it has."""
SPLIT_RULE = "split_rule"
"""Key of a run's configuration: by which rule its train part was halved; none for the first."""

LONGEST_TEXT = 1000
MOST_ROWS = 10_000
# Limits of what files of a run may hold.
Words = Annotated[str, Field(max_length=LONGEST_TEXT)]
Whole = Annotated[int, Field(ge=0, le=2**53)]
Seconds = Annotated[float, Field(ge=0)]
Rows = Field(max_length=MOST_ROWS)

_FORMAT = 1
_LOCK = ".lock"
_OWNER = ".owner"
_DISK_ERRORS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
)

MayChange = Callable[[Path, dict[str, Any], dict[str, Any]], bool]
"""Tells by path, configuration there and the one asked for whether a run goes on with the other."""


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """An open run directory; made by ``open_run``.

    Attributes:
        path: Where it is.
        identity: Which directory that was when it was opened; None where any will do.
    """

    path: Path
    identity: Identity | None = None

    def write_json(self, name: str, data: Any) -> Path:
        """Write a JSON file of the run."""
        text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
        # Bytes of names that are no text are lone surrogates, which JSON has an escape for.
        return self._write(name, text.encode(errors="backslashreplace"))

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file of the run."""
        return self._write(name, text.encode())

    def _write(self, name: str, content: bytes) -> Path:
        check_identity(self.path, self.identity)
        return write_atomically(self.path / name, content)

    def read_json(self, name: str) -> Any:
        """Read a JSON file of the run; None where it does not exist yet.

        Raises:
            RunError: The file is not JSON.
        """
        path = self.path / name
        if not exists(path):
            return None
        return read_json(path)


@contextmanager
def open_run(
    path: str | Path,
    config: dict[str, Any],
    *,
    resume: bool,
    may_change: MayChange | None = None,
) -> Iterator[RunDirectory]:
    """Open a run directory for writing, and keep others out until it is closed.

    The lock is the kernel's, so a killed process leaves none behind; where the file system has no
    locks, there is a warning and nobody is kept out. A run that is refused
    before its first checkpoint leaves nothing behind, so the command can be put right.

    Args:
        path: The directory; made if it does not exist.
        config: What the run does, as JSON data; compared with what is there on a resume.
        resume: Go on with the run that is there, or begin if there is none.
        may_change: Asked on a resume with another configuration; by default none is allowed. The
            run then gets it, and is no longer finished.

    Raises:
        RunError: Another process works there; there is a run and ``resume`` is False; the run
            that is there has another configuration, or halved its train part by another rule
            (``split_rule``); the directory is not a run's or cannot be written.
    """
    path = Path(path)
    lock = _lock(path)
    begins = False
    try:
        write_atomically(path / _OWNER, f"{os.getpid()}\n".encode())
        run = RunDirectory(path, identity(path))
        begins = _check_config(run, {"format": _FORMAT, **config}, resume, may_change)
        for leftover in entries(path):  # of writes that a kill has cut off
            if is_temporary(leftover.name):
                remove_abandoned(leftover)
        yield run
    except WsdartsError:
        if begins and not any(matching(path, f"*{CHECKPOINT_SUFFIX}")):
            _empty(path)
        raise
    except OSError as error:
        if not _concerns(error, path):
            raise
        raise RunError(
            f"cannot write in the run directory {path}: {error.strerror or error}",
            hint="what is there stays: make room or access, then repeat the command with --resume",
        ) from error
    finally:
        if lock is not None:
            lock.release()


def check_run(
    path: Path, config: dict[str, Any], *, resume: bool, may_change: MayChange | None = None
) -> None:
    """Refuse a run that ``open_run`` would refuse, as far as this is known before the tasks are.

    Nothing is written or made.

    Args:
        path: The directory.
        config: What is known of the configuration; the rest is not compared.
        resume: Whether to go on with the run that is there.
        may_change: As for ``open_run``.

    Raises:
        RunError: As for ``open_run``.
    """
    if is_directory(path):
        _refuse_foreign(path)
        lock = _lock(path)
        if lock is not None:
            lock.release()
        if exists(path / CONFIG_FILE):
            _check_continued(path, config, resume=resume, may_change=may_change, part=True)
        return
    if exists(path):
        raise _unwritable(path, "it is no directory")
    try:
        check_place(path)
    except OSError as error:
        raise _unwritable(path, error.strerror) from error


def _unwritable(path: Path, reason: str | None) -> RunError:
    return RunError(f"cannot write the run directory {path}: {reason}", hint="choose another --out")


def _empty(path: Path) -> None:
    """Remove the files of a run whose directory held none when it was opened."""
    for file in entries(path):
        if is_file(file) and not file.name.startswith("."):
            file.unlink()


def _concerns(error: OSError, path: Path) -> bool:
    """Return whether an error is about the disk or a file of the run, not about a connection."""
    return error.errno in _DISK_ERRORS or str(error.filename or "").startswith(str(path))


def _lock(path: Path) -> HeldLock | None:
    try:
        make_directories(path)
        lock = try_lock(path / _LOCK, create=True)
    except NoLocksError:
        warnings.warn(
            f"files in {path} cannot be locked there: make sure that no other process works in it",
            RunWarning,
            stacklevel=5,
        )
        return None
    except OSError as error:
        raise _unwritable(path, error.strerror) from error
    if lock is None:
        owner = path / _OWNER
        who = read_regular(owner).decode(errors="replace").strip() if exists(owner) else "unknown"
        raise RunError(
            f"another process (pid {who}) is working in {path}",
            hint="wait for it, or choose another --out",
        )
    return lock


def read_config(path: str | Path) -> dict[str, Any]:
    """Return the configuration of a run that exists.

    Raises:
        RunError: There is no run, or it is of an unknown format.
    """
    path = Path(path)
    if not is_file(path / CONFIG_FILE):
        raise RunError(
            f"{path} is not a run directory (it has no {CONFIG_FILE})",
            expected="the --out of a `wsdarts-hub search`, `warm-start` or `train`",
        )
    config = read_json(path / CONFIG_FILE)
    if not isinstance(config, dict) or config.get("format") != _FORMAT:
        raise RunError(
            f"format of {path / CONFIG_FILE}",
            found=config.get("format") if isinstance(config, dict) else "unknown",
            expected=_FORMAT,
            hint=f"update with {UPDATE}",
        )
    return config


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        RunError: It is missing, too long or not JSON.
    """
    try:
        with open_regular(path) as file:
            content = read_at_most(file, _json.MAX_BYTES + 1)
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    return _json.load(content, what=str(path), error=RunError)


def _check_config(
    run: RunDirectory, config: dict[str, Any], resume: bool, may_change: MayChange | None
) -> bool:
    """Write the configuration of a new run, or compare it; whether the run begins here."""
    if not exists(run.path / CONFIG_FILE):
        _refuse_foreign(run.path)
        run.write_json(CONFIG_FILE, config)
        return True
    if _check_continued(run.path, config, resume=resume, may_change=may_change):
        _begin_anew(run, config)
    return False


def _begin_anew(run: RunDirectory, config: dict[str, Any]) -> None:
    """Give a finished run another configuration; results of the one before go first."""
    for name in (RESULT_FILE, REPORT_FILE, REPORT_PAGE):
        (run.path / name).unlink(missing_ok=True)
    costs = run.read_json(COSTS_FILE)
    if isinstance(costs, dict) and costs.get("finished"):
        run.write_json(COSTS_FILE, {**costs, "finished": False})
    run.write_json(CONFIG_FILE, config)


def _refuse_foreign(path: Path) -> None:
    # A kill can leave a temporary file of the configuration itself behind.
    foreign = [p.name for p in entries(path) if not p.name.startswith(".")]
    if foreign and not exists(path / CONFIG_FILE):
        raise RunError(
            f"{path} is not empty and not a run directory (it holds {foreign[0]})",
            hint="choose another --out",
        )


def _check_continued(
    path: Path,
    config: dict[str, Any],
    *,
    resume: bool,
    may_change: MayChange | None,
    part: bool = False,
) -> bool:
    """Compare the configuration of a run that is there, all of it or the ``part`` that is known.

    Returns:
        Whether it differs, as it may.
    """
    there = read_config(path)
    if not resume:
        raise RunError(
            f"{path} already holds a run", hint="continue it with --resume, or choose another --out"
        )
    here = json.loads(json.dumps(config))
    if not part or SPLIT_RULE in config:
        _check_split_rule(path, there, config)
    if part:
        there = {key: there.get(key) for key in config}
    differing = list(_differences(there, here))[:3]
    if differing and not (may_change is not None and may_change(path, there, here)):
        names, was, now = zip(*differing, strict=True)
        raise RunError(
            f"{', '.join(names)} of the run in {path}",
            found=", ".join(now),
            expected=", ".join(was),
            hint="it was started with other settings: repeat them, or choose another --out",
        )
    return bool(differing)


def _check_split_rule(path: Path, there: dict[str, Any], here: dict[str, Any]) -> None:
    was, now = there.get(SPLIT_RULE, 1), here.get(SPLIT_RULE, 1)
    if was != now:
        raise RunError(
            f"split rule of the run in {path}",
            found=was,
            expected=now,
            hint=(
                "another version began it, which split the train part otherwise: choose another "
                "--out. What it holds can still be reported and pushed"
            ),
        )


def _differences(there: Any, here: Any, where: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield name, earlier value and present value of each setting that differs."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(there.keys() | here.keys()):
            name = f"{where}.{key}" if where else key
            yield from _differences(there.get(key), here.get(key), name)
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        for i, (a, b) in enumerate(zip(there, here, strict=True)):
            yield from _differences(a, b, f"{where}[{i}]")
    elif there != here:
        yield where, repr(there), repr(here)
