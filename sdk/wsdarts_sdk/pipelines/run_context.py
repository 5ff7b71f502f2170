"""Inputs of a pipeline (datasets, probes, keywords) and the open run directory that it works in."""

import functools
import inspect
import itertools
import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar

import torch

from wsdarts_registry._files import as_path, exists, expanded, is_directory, resolved
from wsdarts_registry._format import pluralize
from wsdarts_registry.errors import ProbeError, RunError, TaskError
from wsdarts_registry.stores.catalogue import Catalogue
from wsdarts_sdk.data.loader import TrainPart
from wsdarts_sdk.data.options import DataOptions, given_options, spells_out_options
from wsdarts_sdk.data.split import SPLIT_RULE
from wsdarts_sdk.data.task import ImageTask, read_task
from wsdarts_sdk.devices import environment
from wsdarts_sdk.distributed import ALONE, Ranks
from wsdarts_sdk.models.settings import TrainingSettings
from wsdarts_sdk.presets import SMALL, Preset
from wsdarts_sdk.progress import Progress, silent
from wsdarts_sdk.reports.facts import Command, RunReport, device_time
from wsdarts_sdk.reports.report_files import begin_report, save_report
from wsdarts_sdk.reports.rows import (
    asked,
    created,
    pairs,
    phase_costs,
    task_row,
    title,
)
from wsdarts_sdk.runs.callbacks import Callbacks, RunFacts
from wsdarts_sdk.runs.checkpoints import FileJournal, Journal
from wsdarts_sdk.runs.directory import (
    ENVIRONMENT_FILE,
    MayChange,
    RunDirectory,
    check_run,
    open_run,
)
from wsdarts_sdk.runs.records import CostMeter
from wsdarts_sdk.search.settings import SearchSettings, settings_json
from wsdarts_sdk.setting_fields import setting_kinds
from wsdarts_sdk.task2vec.loading import load_probe
from wsdarts_sdk.task2vec.probe import Probe

# A path, "hf:NAME", "torchvision:NAME", (images, labels), or a task that is loaded already.
Data = Any
_SHIPPED = "shipped"


@dataclass(frozen=True, kw_only=True)
class UnreadData:
    """A dataset that a pipeline reads after it has checked everything else.

    Attributes:
        data: The dataset, in any of the forms of ``ImageTask.load``.
        reading: How to read it.
        on_load: Called with the task as soon as it is read.
    """

    data: Data
    reading: DataOptions
    on_load: Callable[[ImageTask], None]


def load_task(data: Data, reading: DataOptions, *, progress: Progress) -> ImageTask:
    """Return the task that ``data`` names or is.

    Notes on a task that is read here go to ``progress``; those of ``UnreadData`` are left to its
    ``on_load``.

    Raises:
        TaskError: It cannot be read, or is loaded already and options say how to read it.
    """
    if isinstance(data, UnreadData):
        task = _read(data.data, data.reading, progress)
        data.on_load(task)
        return task
    if not isinstance(data, ImageTask):
        task = _read(data, reading, progress)
        for note in task.notes:
            progress(f"{task.name}: {note}", 1, 1)
        return task
    if given := given_options(reading):
        raise TaskError(
            (f"{data.name} is loaded already, so {', '.join(given)} cannot say how to read it"),
            hint="give it to ImageTask.load, or name the dataset itself",
        )
    return data


def _read(data: Data, reading: DataOptions, progress: Progress) -> ImageTask:
    if isinstance(data, ImageTask):
        return data
    return read_task(data, reading, progress=progress)


def load_tasks(
    data: Sequence[Data], reading: DataOptions, *, progress: Progress
) -> list[ImageTask]:
    """Return several tasks, each once.

    Raises:
        TaskError: No task, or one task twice.
    """
    check_data(data)
    held_out = {"validation", "test"} & _options_of(data[0], reading).keys()
    if len(data) > 1 and held_out:
        raise TaskError(
            f"{' and '.join(sorted(held_out))} cannot be given for {len(data)} datasets together",
            hint="load each with its own: ImageTask.load(data, validation=…)",
        )
    tasks = [load_task(each, reading, progress=progress) for each in data]
    digests = [task.digest for task in tasks]
    for position, task in enumerate(tasks):
        if task.digest in digests[:position]:
            raise TaskError(
                f"{task.name} is given twice (the same images)", hint="give each task once"
            )
    return tasks


def _options_of(data: Data, reading: DataOptions) -> dict[str, Any]:
    return given_options(data.reading if isinstance(data, UnreadData) else reading)


def check_data(data: Sequence[Data]) -> None:
    """Refuse an empty list of datasets.

    Raises:
        TaskError: There is none.
    """
    if not data:
        raise TaskError("no dataset was given", hint="name at least one")


def find_probe(probe: str | Path | Probe | None, device: torch.device) -> Probe:
    """Return the probe itself, or the one of that name (None is the shipped one), on a device."""
    return probe if isinstance(probe, Probe) else load_probe(probe, device=str(device))


def probe_for(probe: str | Path | Probe | None, registry: Catalogue, device: torch.device) -> Probe:
    """Return the probe that was asked for; else the shipped one, if the registry names that.

    A registry is anyone's: which other network is built and fetched, the user decides.

    Raises:
        ProbeError: None was asked for, and the registry names another than the shipped one.
    """
    named = registry.config.default_probe
    if probe is None and named != _SHIPPED:
        raise ProbeError(
            f"the registry {registry.location} names the probe {named}, which is only loaded if "
            "you ask for it",
            hint=(
                f"take it with --probe {shlex.quote(named)}, or the one that comes with the "
                f"package with --probe {_SHIPPED}"
            ),
        )
    return find_probe(probe, device)


def train_parts(
    tasks: Sequence[ImageTask], settings: SearchSettings, device: torch.device, progress: Progress
) -> list[TrainPart]:
    """Return the train part of each task at the search's image size, heads in the given order."""
    return [
        TrainPart.of(
            task,
            image_size=settings.image_size,
            batch_size=settings.batch_size,
            padding=settings.padding,
            flip=settings.flip,
            head=head,
            seed=settings.seed,
            device=device,
            memory_format=torch.channels_last,
            progress=progress,
        )
        for head, task in enumerate(tasks)
    ]


def run_path(out: str | Path | None, command: str, name: str) -> Path:
    """Return the directory of a run: ``out``, or the first free ``runs/COMMAND-NAME-N``."""
    if out is not None:
        return as_path(out, "out")
    stem = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "data"
    numbers = itertools.count(1)
    return next(p for n in numbers if not exists(p := Path("runs") / f"{command}-{stem}-{n}"))


def check_apart(out: Path, data: Sequence[Data]) -> None:
    """Refuse to write in the folder of a dataset, which could not be read any more afterwards.

    Raises:
        RunError: The file or directory is to lie in such a folder.
    """
    written = resolved(out)
    for folder in filter(None, map(_folder, itertools.chain(data, *map(_held_out, data)))):
        if written.is_relative_to(resolved(folder)):
            raise RunError(
                f"{out} lies in the dataset {folder}, whose images it would be taken for",
                hint="choose an --out outside of it",
            )


def _held_out(data: Data) -> Iterator[Data]:
    """Yield the datasets that are the validation and the test part of one."""
    if isinstance(data, UnreadData):
        yield from (data.reading.get("validation"), data.reading.get("test"))


def _folder(data: Data) -> Path | None:
    """Return the folder of files that a dataset is; None where it is none."""
    if isinstance(data, UnreadData):
        return _folder(data.data)
    if isinstance(data, ImageTask):
        kind, _, root = (data.images.source.location or "").partition(" ")
        return Path(root) if kind == "folder" else None
    if not isinstance(data, str | os.PathLike) or not os.fspath(data):
        return None
    path = expanded(os.fspath(data).removeprefix("hf:"))
    return path if is_directory(path) else None


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """A pipeline at work in its open run directory; made by ``open_context``.

    Attributes:
        command: What the pipeline is called on the command line.
        run: The run directory.
        tasks: The datasets, at least one.
        preset: Settings of all parts.
        device: Where it runs.
        progress: Told what is done and how much is left.
        costs: Wall time by phase so far.
        environment: Versions and hardware, as the run records them.
        callbacks: Told what each epoch measured.
        ranks: All processes that work on it. Rank 0 alone writes in the run: what only it has to
            do goes through ``ranks.alone``.
    """

    command: Command
    run: RunDirectory
    tasks: tuple[ImageTask, ...]
    preset: Preset
    device: torch.device
    progress: Progress
    costs: CostMeter
    environment: dict[str, Any]
    callbacks: Callbacks = field(default_factory=Callbacks)
    ranks: Ranks = ALONE

    def journal(self, name: str) -> Journal:
        """Return a journal of the run whose epochs the callbacks are told."""
        return self.callbacks.journal_of(FileJournal(self.run.path, name))

    def report(
        self, heading: str, settings: SearchSettings | TrainingSettings, **facts: Any
    ) -> Path:
        """Write ``report.json`` and the page made of it; return the page's path.

        Args:
            heading: What was done, without the names of the tasks.
            settings: Settings that were used; those of the preset are what runs are compared by.
            facts: The other fields of the report.
        """
        preset = self.preset.training if self.command == "train" else self.preset.search
        choice = {} if self.command == "train" else self.preset.choice_json()
        report = RunReport(
            title=title(heading, self.tasks),
            created=created(),
            asked=asked(self.command, self.preset, settings_json(preset), self.environment),
            tasks=tuple(map(task_row, self.tasks)),
            costs=phase_costs(self.costs.seconds, self.costs.cached),
            settings=(("preset", self.preset.name), *pairs(settings_json(settings) | choice)),
            environment=(*pairs(self.environment), *self._device_time()),
            **facts,
        )
        return save_report(self.run, report)

    def _device_time(self) -> tuple[tuple[str, str], ...]:
        """Return the time of all devices together, as a row; nothing for a single one."""
        if not self.ranks.several:
            return ()
        return (("time of all devices", device_time(self.ranks.size, self.costs.seconds)),)


def check_context(
    command: Command,
    data: Sequence[Data],
    preset: Preset,
    *,
    out: str | Path | None,
    resume: bool,
    may_change: MayChange | None = None,
    **config: Any,
) -> None:
    """Refuse a run directory that ``open_context`` will refuse, whatever the tasks are.

    Args:
        command: As for ``open_context``, like all that follow.
        data: The datasets, read or not.
        preset: Settings of all parts.
        out: The run directory.
        resume: Whether to go on with the run that is there.
        may_change: As for ``open_run``.
        config: What else decides the result.

    Raises:
        RunError: As for ``check_run``, or it lies in the folder of a dataset.
    """
    where = run_path(out, command, "data")
    check_apart(where, data)
    known = _config(command, preset, config)
    check_run(where, known, resume=resume, may_change=may_change)


@contextmanager
def open_context(
    command: Command,
    tasks: Sequence[ImageTask],
    preset: Preset,
    *,
    out: str | Path | None,
    resume: bool,
    device: torch.device,
    progress: Progress,
    began: float | None = None,
    callbacks: Callbacks | None = None,
    may_change: MayChange | None = None,
    ranks: Ranks = ALONE,
    **config: Any,
) -> Iterator[RunContext]:
    """Open the run directory of a pipeline, and keep others out until it is closed.

    Args:
        command: What the pipeline is called on the command line.
        tasks: The datasets, at least one.
        preset: Settings of all parts.
        out: The run directory; the first free ``runs/COMMAND-NAME-N`` by default.
        resume: Go on with the run that is there, or begin if there is none.
        device: Where it runs.
        progress: Told what is done and how much is left.
        began: When the pipeline began, by ``time.monotonic``, for what it costs; now by default.
        callbacks: Told that it begins, and the epochs of its journals.
        may_change: As for ``open_run``.
        ranks: All processes that work on it; rank 0 opens it, and the others are told where.
        config: What else decides the result, as JSON data: on a resume it has to be the same.

    Raises:
        RunError: As for ``open_run``, or ranks have different data.
    """
    for task in tasks:
        ranks.check_equal(f"the digest of {task.name}", task.digest)
    if not ranks.is_first:
        yield _joined_context(command, tasks, preset, device, ranks)
        return
    config = {"tasks": [task.digest for task in tasks], **_config(command, preset, config)}
    where_to = run_path(out, command, tasks[0].name)
    with open_run(where_to, config, resume=resume, may_change=may_change) as run:
        where, before = environment(device), run.read_json(ENVIRONMENT_FILE)
        if ranks.several:
            where["devices"] = ranks.size
        _report_threads(before, where, progress)
        run.write_json(ENVIRONMENT_FILE, where)
        begin_report(run, command, tasks, preset, config, where)
        costs = CostMeter(run, began)
        told = callbacks or Callbacks()
        used = preset.training if command == "train" else preset.search
        facts = RunFacts(
            command=command,
            path=run.path,
            tasks=tuple(task.name for task in tasks),
            preset=preset.name,
            settings=MappingProxyType(settings_json(used)),
            resumed=before is not None,
        )
        with costs.session():
            told.start(facts)
            ranks.from_first((run.path, where))
            yield RunContext(
                command=command,
                run=run,
                tasks=tuple(tasks),
                preset=preset,
                device=device,
                progress=costs.saving(progress),
                costs=costs,
                environment=where,
                callbacks=told,
                ranks=ranks,
            )


def _joined_context(
    command: Command,
    tasks: Sequence[ImageTask],
    preset: Preset,
    device: torch.device,
    ranks: Ranks,
) -> RunContext:
    """Return the context of a rank that writes nothing, of the run that rank 0 has opened."""
    opened: tuple[Path, dict[str, Any]] = ranks.from_first(None)
    path, where = opened
    run = RunDirectory(path)
    return RunContext(
        command=command,
        run=run,
        tasks=tuple(tasks),
        preset=preset,
        device=device,
        progress=silent,
        costs=CostMeter(run, writes=False),
        environment=where,
        ranks=ranks,
    )


def _config(command: Command, preset: Preset, config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration that decides a run's result, except its tasks."""
    return {"command": command, "split_rule": SPLIT_RULE, "preset": preset.name, **config}


def _report_threads(before: Any, now: dict[str, Any], progress: Progress) -> None:
    """Report a run that is continued with another number of threads than it began with."""
    there = before.get("threads") if isinstance(before, dict) else None
    if there not in (None, now["threads"]):
        progress(
            f"going on with {pluralize(now['threads'], 'thread')}, begun with {there}: only a "
            "search on compiled kernels stays the same to the bit",
            0,
            1,
        )


_P = ParamSpec("_P")
_Result = TypeVar("_Result")


def checks_keywords(
    name: str, *, settings: Sequence[str] = ()
) -> Callable[[Callable[_P, _Result]], Callable[_P, _Result]]:
    """Make a function suggest the nearest keyword for an unknown one.

    Args:
        name: What users call the function.
        settings: Which parts of a preset it uses, such as ``training``.

    Returns:
        A decorator; the function raises a TypeError that names the nearest parameter, or the
        setting of a preset with that name. ``**reading`` is spelled out in its signature.
    """
    return spells_out_options(name, functools.partial(_advice, settings=settings))


def _advice(unknown: str, settings: Sequence[str]) -> str:
    """Return a hint for a keyword that is a setting or an option; empty for all others."""
    of_preset = [
        path
        for path, _ in sorted(setting_kinds(SMALL), reverse=True)  # every search has the last stage
        if path.partition(".")[0] in settings and path.rpartition(".")[2] == unknown
    ]
    if of_preset:
        path = of_preset[0]
        group, _, name = path.partition(".")
        copied = "a changed copy (dataclasses.replace)"
        if name == unknown:
            copied = f"{SMALL.name.upper()}.with_{group}({name}=…)"
        return (
            f"it is the setting {' or '.join(of_preset[:2])} of a preset: give preset {copied}, "
            f"or use `--set {path}=…` on the command line"
        )
    if unknown in inspect.signature(ImageTask.load).parameters:
        return f"load the dataset with it: ImageTask.load(data, {unknown}=…), and give that"
    return ""
