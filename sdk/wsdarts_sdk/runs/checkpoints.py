"""Journals of a search or a training: a checkpoint to resume from, and metrics for each epoch.

A checkpoint is one safetensors file, which holds tensors and JSON data beside them.
"""

import copy
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from wsdarts_registry._files import (
    check_identity,
    exists,
    identity,
    open_regular,
    sync_directory,
    write_atomically,
)
from wsdarts_registry.errors import RunError, SettingsError
from wsdarts_sdk.distributed import Ranks
from wsdarts_sdk.progress import Progress
from wsdarts_sdk.runs.directory import CHECKPOINT_SUFFIX, METRICS_SUFFIX, ROLL_BACKS
from wsdarts_sdk.runs.records import read_rows

_FACTS = "facts"
_MOST_ROLL_BACKS = 5
_LOWERED = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """State of a search or a training to resume from.

    Attributes:
        tensors: By name; anything on any device.
        facts: JSON data: the position and whatever else is not a tensor.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    def copy(self) -> "Checkpoint":
        """Return a copy that stays the same while the work goes on with the tensors themselves."""
        tensors = {name: tensor.detach().clone() for name, tensor in self.tensors.items()}
        return Checkpoint(tensors=tensors, facts=copy.deepcopy(self.facts))

    def save(self, path: Path) -> None:
        """Write the checkpoint so that the previous one stays until this one is whole."""
        # Independent copies: safetensors refuses tensors that share memory.
        tensors = {n: t.detach().cpu().clone().contiguous() for n, t in self.tensors.items()}
        write_atomically(path, save(tensors, {_FACTS: json.dumps(self.facts)}))

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """Read a checkpoint.

        Raises:
            RunError: The file is not one.
        """
        try:
            with open_regular(path), safe_open(path, framework="pt") as file:
                facts = json.loads((file.metadata() or {})[_FACTS])
                # Clones own their memory; the originals are windows into the file.
                names = file.keys()
                tensors = {name: file.get_tensor(name).clone() for name in names}
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            raise RunError(
                f"the checkpoint {path} cannot be read ({error})",
                hint="delete it to start that part of the run again",
            ) from error
        return cls(tensors=tensors, facts=facts)

    @staticmethod
    def facts_of(path: Path) -> dict[str, Any]:
        """Read the facts of a checkpoint alone; none where there is no such file.

        Raises:
            RunError: The file is no checkpoint.
        """
        return Checkpoint.load(path).facts if exists(path) else {}


Row = dict[str, Any]
_INTERVAL_SECONDS = 20.0


class Journal(Protocol):
    """Checkpoints and metrics of a search or a training."""

    def restore(self) -> Checkpoint | None:
        """Return the last checkpoint, or None at the beginning."""
        ...

    def due(self) -> bool:
        """Return whether it is time for a checkpoint within an epoch."""
        ...

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keep this checkpoint instead of the one before."""
        ...

    def rows(self) -> list[Row]:
        """Return all rows so far."""
        ...

    def append(self, row: Row) -> None:
        """Add one epoch's row."""
        ...

    def truncate(self, rows: int) -> None:
        """Remove all but the first rows, such as those after a restored checkpoint."""
        ...


class MemoryJournal:
    """A journal that lasts as long as the process."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._last: Checkpoint | None = None

    def restore(self) -> Checkpoint | None:
        """Return the last checkpoint, or None."""
        return self._last

    def due(self) -> bool:
        """Return False: a checkpoint in memory is lost with the process."""
        return False

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keep a copy: the work goes on with the tensors themselves."""
        self._last = checkpoint.copy()

    def rows(self) -> list[Row]:
        """Return all rows so far."""
        return list(self._rows)

    def append(self, row: Row) -> None:
        """Add a row."""
        self._rows.append(row)

    def truncate(self, rows: int) -> None:
        """Keep the first rows only."""
        del self._rows[rows:]


class FileJournal:
    """A journal on disk: ``NAME.checkpoint.safetensors`` and ``NAME.metrics.jsonl``.

    It is not written into another directory that has taken the place of its own.

    Args:
        directory: Where the two files live.
        name: What the files are called.
        interval: Seconds between checkpoints within an epoch.
    """

    def __init__(self, directory: Path, name: str, interval: float = _INTERVAL_SECONDS) -> None:
        self._directory, self._identity = directory, identity(directory)
        self._checkpoint = directory / f"{name}{CHECKPOINT_SUFFIX}"
        self._metrics = directory / f"{name}{METRICS_SUFFIX}"
        self._interval = interval
        self._last = time.monotonic()

    def restore(self) -> Checkpoint | None:
        """Return the last checkpoint, or None at the beginning."""
        return Checkpoint.load(self._checkpoint) if exists(self._checkpoint) else None

    def due(self) -> bool:
        """Return whether the interval has passed."""
        return time.monotonic() - self._last >= self._interval

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint over the one before, when all of its rows are on the disk."""
        check_identity(self._directory, self._identity)
        if exists(self._metrics):
            with open_regular(self._metrics) as file:
                os.fsync(file.fileno())
            sync_directory(self._directory)
        checkpoint.save(self._checkpoint)
        self._last = time.monotonic()

    def rows(self) -> list[Row]:
        """Return all whole rows; see ``read_rows``."""
        return read_rows(self._metrics)

    def append(self, row: Row) -> None:
        """Add a row."""
        check_identity(self._directory, self._identity)
        with self._metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def truncate(self, rows: int) -> None:
        """Keep the first rows only."""
        check_identity(self._directory, self._identity)
        text = "".join(json.dumps(row) + "\n" for row in self.rows()[:rows])
        write_atomically(self._metrics, text.encode())


class RankJournal:
    """A journal of several ranks: rank 0 reads and writes it, the others are told.

    Args:
        journal: Of rank 0; elsewhere it is not touched.
        ranks: All of them.
    """

    def __init__(self, journal: Journal, ranks: Ranks) -> None:
        self._journal, self._ranks = journal, ranks

    def restore(self) -> Checkpoint | None:
        """Return the last checkpoint, or None, on all ranks."""
        return self._ranks.alone(self._journal.restore)

    def due(self) -> bool:
        """Return on rank 0 whether it is time for a checkpoint."""
        return self._ranks.is_first and self._journal.due()

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keep rank 0's checkpoint, which is that of all."""
        if self._ranks.is_first:
            self._journal.checkpoint(checkpoint)

    def rows(self) -> list[Row]:
        """Return all rows so far, on all ranks."""
        return self._ranks.alone(self._journal.rows)

    def append(self, row: Row) -> None:
        """Add rank 0's row."""
        if self._ranks.is_first:
            self._journal.append(row)

    def truncate(self, rows: int) -> None:
        """Keep the first rows only."""
        if self._ranks.is_first:
            self._journal.truncate(rows)


_BEGINNING = "beginning"


class NotFiniteError(SettingsError):
    """A loss, α or a weight has become infinite or NaN in an epoch."""


class RollBacks:
    """Checkpoints of work that goes back to the beginning of an epoch with numbers not finite.

    Each time all learning rates are halved, for the rest of the work. Checkpoints within an epoch
    hold its beginning, too, so that a run which was killed goes back as far as one which was not.

    Args:
        journal: Keeps the checkpoints and rows.
        progress: Told of each time.

    Attributes:
        count: How often it has gone back.
    """

    def __init__(self, journal: Journal, progress: Progress) -> None:
        self.journal, self._progress = journal, progress
        self._beginning: Checkpoint | None = None
        self.count = 0

    @property
    def rate_factor(self) -> float:
        """Factor of all learning rates."""
        return _LOWERED**self.count

    def restore(self) -> Checkpoint | None:
        """Return the journal's last checkpoint, or None at the beginning."""
        found = self.journal.restore()
        if found is None:
            return None
        self.count = found.facts.get(ROLL_BACKS, 0)
        prefix = f"{_BEGINNING}."
        kept = {n.removeprefix(prefix): t for n, t in found.tensors.items() if n.startswith(prefix)}
        own = {n: t for n, t in found.tensors.items() if not n.startswith(prefix)}
        last = Checkpoint(tensors=own, facts=found.facts)
        facts = found.facts.get(_BEGINNING)
        self._beginning = last.copy() if facts is None else Checkpoint(tensors=kept, facts=facts)
        return last

    def begin(self, checkpoint: Checkpoint) -> None:
        """Remember the beginning of an epoch."""
        self._beginning = checkpoint.copy()

    def checkpoint(self, checkpoint: Checkpoint, *, within: bool = False) -> None:
        """Keep a checkpoint, and with one within an epoch its beginning."""
        tensors, facts = dict(checkpoint.tensors), dict(checkpoint.facts)
        if self.count:
            facts[ROLL_BACKS] = self.count
        if within and self._beginning is not None:
            tensors |= {f"{_BEGINNING}.{n}": t for n, t in self._beginning.tensors.items()}
            facts[_BEGINNING] = self._beginning.facts
        self.journal.checkpoint(Checkpoint(tensors=tensors, facts=facts))

    def append(self, row: Row) -> None:
        """Add one epoch's row."""
        self.journal.append(row | {ROLL_BACKS: self.count} if self.count else row)

    def go_back(self, error: NotFiniteError) -> Checkpoint:
        """Return the beginning of the epoch; from there on the learning rates are halved.

        Raises:
            SettingsError: It has gone back too often.
        """
        if self.count == _MOST_ROLL_BACKS or self._beginning is None:
            raise SettingsError(
                f"{error.what}, with learning rates of {self.rate_factor:g} of the settings', too",
                hint=error.hint,
            ) from error
        self.count += 1
        self._progress(
            f"{error.what}: back to the epoch's beginning with {self.rate_factor:g} of the "
            f"learning rates ({self.count} of at most {_MOST_ROLL_BACKS} times)",
            0,
            1,
        )
        self.checkpoint(self._beginning)
        return self._beginning


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Return whether no value of some tensors is infinite or NaN; the device is asked once."""
    return bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())


def check_ranks(facts: dict[str, Any], ranks: Ranks, *, synchronised: bool) -> None:
    """Refuse to go on with another number of ranks where that would change the result.

    Args:
        facts: Of the checkpoint.
        ranks: All that go on.
        synchronised: Whether norms are those of the whole batch, for any number of ranks.

    Raises:
        SettingsError: It began with another number.
    """
    began = facts.get("ranks", 1)
    if began != ranks.size and not synchronised:
        raise SettingsError(
            "the number of processes that go on",
            found=ranks.size,
            expected=f"{began}, as the run began, since each has batch norms of its own",
            hint=f"start it with {began} (torchrun --nproc-per-node), or choose another --out",
        )


Names = Callable[[str, Tensor], dict[str, Tensor]]


def _own_name(name: str, value: Tensor) -> dict[str, Tensor]:
    return {name: value}


def optimiser_tensors(
    optimiser: torch.optim.Optimizer, net: nn.Module, names: Names = _own_name
) -> dict[str, Tensor]:
    """Return an optimiser's state as ``optimiser.KEY.WEIGHT`` tensors of a checkpoint.

    Args:
        optimiser: Whose state it is.
        net: Whose parameters it moves.
        names: Views of a parameter's tensor under the names on disk.
    """
    return {
        f"optimiser.{key}.{own}": view
        for name, parameter in net.named_parameters()
        for key, value in optimiser.state.get(parameter, {}).items()
        if value is not None
        for own, view in (_own_name if key == "step" else names)(name, value).items()
    }


def restore_optimiser(
    optimiser: torch.optim.Optimizer,
    net: nn.Module,
    tensors: dict[str, Tensor],
    names: Names = _own_name,
) -> None:
    """Put the tensors of ``optimiser_tensors`` back where the optimiser keeps them."""
    managed = {id(p) for group in optimiser.param_groups for p in group["params"]}
    for name, parameter in net.named_parameters():
        if id(parameter) not in managed:
            continue
        for key in ("momentum_buffer", "exp_avg", "exp_avg_sq", "step"):
            counts = key == "step"
            place = step_count(optimiser, parameter) if counts else torch.zeros_like(parameter)
            views = _own_name(name, place) if counts else names(name, place)
            found = {own: tensors.get(f"optimiser.{key}.{own}") for own in views}
            values = {own: value for own, value in found.items() if value is not None}
            if len(values) < len(views):
                continue
            for own, view in views.items():
                view.copy_(values[own])
            optimiser.state[parameter][key] = place


def step_count(optimiser: torch.optim.Optimizer, parameter: nn.Parameter) -> Tensor:
    """Return zero as Adam's count of steps, on the device where the optimiser keeps it."""
    device = parameter.device if optimiser.defaults.get("capturable") else torch.device("cpu")
    return torch.zeros((), device=device)
