"""Callbacks of searches and trainings, and a writer for TensorBoard.

A callback is told when the work of a run begins, what each epoch measured, and what came out. It
changes nothing: facts and rows are read-only.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from wsdarts_registry._files import as_path
from wsdarts_registry._libraries import install_extra, naming_hidden_libraries
from wsdarts_registry.errors import ArgumentError, LibraryError
from wsdarts_sdk.runs.checkpoints import Checkpoint, Journal, Row

_log = logging.getLogger("wsdarts_hub.runs")


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Facts about a run at its start.

    Attributes:
        command: ``"search"``, ``"warm-start"`` or ``"train"``.
        path: The run directory.
        tasks: Names of the datasets.
        preset: Name of the preset.
        settings: Settings of the search or the training, as plain data.
        resumed: Whether the run was begun before.
    """

    command: str
    path: Path
    tasks: tuple[str, ...]
    preset: str
    settings: Mapping[str, Any]
    resumed: bool


class Callback:
    """A callback of ``train``, ``search`` or ``warm_start``; override what is needed.

    An exception that a method raises ends the run; its checkpoint is kept, so that ``resume=True``
    goes on behind the epochs that were told. On a resume only new epochs are told. An epoch that
    was lost with its process is run, and told, once more. The trials of a sweep are not told.

    >>> class Print(Callback):
    ...     def on_epoch(self, row):
    ...         print(row["epoch"], row["loss"])
    """

    def on_start(self, facts: RunFacts, /) -> None:
        """Receive the facts of a run that starts or resumes."""

    def on_epoch(self, row: Mapping[str, Any], /) -> None:
        """Receive the metrics of an epoch: its row in the run's ``*.metrics.jsonl``.

        Of a training: ``epoch``, from 0, ``learning_rate``, ``loss``, ``accuracy`` on the images
        that it learns from, ``seconds`` so far. Of a search: ``stage``, ``epoch``, and losses and
        accuracies of both halves, among others.
        """

    def on_end(self, result: Any, /) -> None:
        """Receive the result, which the function returns. Not called if the run fails."""


@dataclass(frozen=True)
class Callbacks:
    """Several callbacks, called one after the other.

    Raises:
        ArgumentError: One of them is no ``Callback``.
    """

    each: tuple[Callback, ...] = ()

    @classmethod
    def of(cls, given: Sequence[Callback]) -> "Callbacks":
        """Check what a caller gave."""
        if not isinstance(given, Sequence) or not all(isinstance(one, Callback) for one in given):
            raise ArgumentError(
                "callbacks", found=repr(given)[:120], expected="a list of wsdarts_hub.Callback"
            )
        return cls(tuple(given))

    def start(self, facts: RunFacts) -> None:
        """Report the start of a run."""
        _log.info("%s begins in %s", facts.command, facts.path)
        for callback in self.each:
            callback.on_start(facts)

    def end(self, result: Any) -> None:
        """Report the result of a run."""
        _log.info("finished: %r", result)
        for callback in self.each:
            callback.on_end(result)

    def journal_of(self, journal: Journal) -> "CallbackJournal":
        """Return a journal that reports each epoch to the callbacks."""
        return CallbackJournal(journal, self.each)


class CallbackJournal:
    """A journal that tells callbacks the row of each epoch once it is written.

    If one raises an exception, a checkpoint is due at once, and the exception is raised when that
    is kept: the run goes on behind the epoch.
    """

    def __init__(self, journal: Journal, callbacks: Sequence[Callback]) -> None:
        self._journal, self._callbacks = journal, callbacks
        self._failure: Exception | None = None

    def restore(self) -> Checkpoint | None:
        """Return the last checkpoint, or None at the beginning."""
        found = self._journal.restore()
        if found is not None:
            _log.info("going on from a checkpoint, behind %s epochs", found.facts.get("rows"))
        return found

    def due(self) -> bool:
        """Return whether it is time for a checkpoint."""
        return self._failure is not None or self._journal.due()

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keep this checkpoint; then raise what a callback raised, if one did."""
        self._journal.checkpoint(checkpoint)
        if self._failure is not None:
            raise self._failure

    def rows(self) -> list[Row]:
        """Return all rows so far."""
        return self._journal.rows()

    def append(self, row: Row) -> None:
        """Add one epoch's row, and tell it."""
        self._journal.append(row)
        shown = {k: v for k, v in row.items() if isinstance(v, int | float | str)}
        _log.info("epoch: %s", ", ".join(f"{key} {value}" for key, value in shown.items()))
        try:
            for callback in self._callbacks:
                callback.on_epoch(MappingProxyType(row))
        except Exception as error:  # noqa: BLE001 - raised once the checkpoint is kept
            self._failure = error

    def truncate(self, rows: int) -> None:
        """Remove all but the first rows."""
        self._journal.truncate(rows)


class TensorBoardWriter(Callback):
    """A callback that writes the figures of each epoch for TensorBoard.

    Needs the extra ``tensorboard``. ``tensorboard --logdir DIR`` shows them; a run that is resumed
    into the same directory goes on in the same curves.

    Args:
        directory: Where the event files go.

    Raises:
        LibraryError: The package is not installed.
    """

    def __init__(self, directory: str | Path) -> None:
        try:
            with naming_hidden_libraries():
                from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415
        except ImportError as error:
            raise LibraryError(
                f"TensorBoardWriter needs the package tensorboard: {install_extra('tensorboard')}"
            ) from error
        self._open = SummaryWriter
        self._directory = as_path(directory, "the directory of TensorBoard")
        self._writer: Any = None

    def on_start(self, facts: RunFacts, /) -> None:
        """Open a file of events, and write the settings as text."""
        self._writer = self._open(str(self._directory))
        settings = "\n".join(f"    {name}: {value}" for name, value in facts.settings.items())
        self._writer.add_text("settings", settings)

    def on_epoch(self, row: Mapping[str, Any], /) -> None:
        """Write the numbers of an epoch, in a group for each stage of a search."""
        group = f"stage {row['stage'] + 1}" if "stage" in row else "training"
        for name, value in row.items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if is_number and name not in ("stage", "epoch"):
                self._writer.add_scalar(f"{group}/{name}", value, row["epoch"])
        self._writer.flush()

    def on_end(self, result: Any, /) -> None:
        """Write the accuracy on the held-out images, of a training, and close the file."""
        accuracy = getattr(result, "accuracy", None)
        if accuracy is not None:
            self._writer.add_scalar("held out/accuracy", accuracy, 0)
        self._writer.close()
