"""Diagnosis of an installation: versions, devices, cache, registry, probe, with advice.

Modules that may be broken are imported late: a torch that does not load is a finding.
"""

import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Literal, TypeVar

from wsdarts_registry._files import (
    CACHE_VARIABLE,
    cache_directory,
    entries,
    exists,
    is_directory,
    status,
)
from wsdarts_registry._format import count, pluralize, size
from wsdarts_registry._libraries import INSTALL, REINSTALL, UPDATE, install_extra
from wsdarts_registry.errors import FileAccessError, WsdartsError
from wsdarts_registry.stores.cache import describe_folder
from wsdarts_registry.stores.opening import open_registry
from wsdarts_registry.stores.store import Store

State = Literal["ok", "note", "broken"]
_Result = TypeVar("_Result")

_PACKAGE = "wsdarts-hub"
_OPTIONAL = {"scikit-learn": f"{install_extra('demo')}, for `wsdarts-hub demo`"}
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)>=([0-9.]+)")
_LITTLE_SPACE = 10**9
_MUCH_SPACE = 5 * 10**9


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Result of one check.

    Attributes:
        group: What it belongs to: ``versions``, ``devices``, ``cache``, ``registry``, ``probe``.
        subject: What was looked at.
        state: ``broken`` where something cannot work, ``note`` where something may surprise.
        found: What was found.
        advice: What to do about it; empty where there is nothing to do.
    """

    group: str
    subject: str
    state: State
    found: str
    advice: str = ""


def diagnose(registry: str | Path | None = None) -> Iterator[Finding]:
    """Yield the findings about everything, one after the other.

    Args:
        registry: Directory of a registry; by default as for every command.
    """
    yield from _versions()
    yield from _devices()
    yield from _cache()
    yield from _registry(registry)
    yield from _probe(registry)


def _versions() -> Iterator[Finding]:
    yield _ok("versions", "python", platform.python_version())
    try:
        yield _ok("versions", _PACKAGE, metadata.version(_PACKAGE))
        requirements = metadata.requires(_PACKAGE) or []
    except metadata.PackageNotFoundError:
        yield _broken("versions", _PACKAGE, "not installed, only importable", INSTALL)
        return
    least = {}
    for requirement in requirements:
        match = _REQUIREMENT.match(requirement)
        if match and ("extra ==" not in requirement or match[1] in _OPTIONAL):
            least[match[1]] = match[2]
    for name, version in least.items():
        yield _version(name, version)


def _version(name: str, least: str) -> Finding:
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(
            group="versions",
            subject=name,
            state="note" if name in _OPTIONAL else "broken",
            found="not installed",
            advice=_OPTIONAL.get(name, UPDATE),
        )
    if _numbers(found) < _numbers(least):
        return _broken(
            "versions",
            name,
            f"{found}, needed is {least} or later",
            f"`pip install -U '{name}>={least}'`",
        )
    return _ok("versions", name, found)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def _devices() -> Iterator[Finding]:
    try:
        import torch  # noqa: PLC0415
    except (ImportError, OSError) as error:
        yield _broken(
            "devices",
            "torch",
            f"cannot be loaded: {' '.join(str(error).split())}",
            "install a build of torch for this machine: https://pytorch.org/get-started",
        )
        return
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = torch.cuda.get_device_properties(number)
        yield _ok("devices", f"cuda:{number}", f"{about.name}, {size(about.total_memory)}")
        yield from _engine(f"cuda:{number}")
    cores, threads = os.cpu_count() or 1, torch.get_num_threads()
    found = f"{pluralize(cores, 'core')}, torch uses {pluralize(threads, 'thread')}"
    yield _ok("devices", "cpu", found)
    yield from _engine("cpu")
    if not torch.cuda.is_available():
        yield _note(
            "devices",
            "cuda",
            "none, or not seen by this build of torch",
            "presets tiny and small run on the CPU; preset paper needs a GPU",
        )


def _engine(name: str) -> Iterator[Finding]:
    """Yield the kernels of a search on each device, without compiling any."""
    import torch  # noqa: PLC0415

    from wsdarts_sdk.compiler import why_not_kept  # noqa: PLC0415
    from wsdarts_sdk.supernet.kernel_choice import choose_kernels, must_wait  # noqa: PLC0415

    device, subject = torch.device(name), f"{name} engine"
    dtype = torch.float32  # what a search begins with, unless it is asked for another
    waits = _tried("devices", subject, lambda: must_wait(device, dtype))
    if isinstance(waits, Finding):
        yield waits
        return
    if waits:
        reason = why_not_kept()
        found = (
            "kernels that the first search compiles, once"
            if reason is None
            else f"kernels that each process compiles anew, since {reason}"
        )
    else:
        choice = _tried("devices", subject, lambda: choose_kernels(device, dtype))
        if isinstance(choice, Finding):
            yield choice
            return
        found = f"{choice.kernels.name} kernels ({choice.why})"
    yield _ok("devices", subject, f"{found}, cells in float32")
    if device.type == "cuda":
        graphs = "used where a few timed steps are faster with them; a run's report says so"
        yield _ok("devices", f"{name} CUDA graphs", graphs)


def _cache() -> Iterator[Finding]:
    root = cache_directory()
    existing = _existing(root)
    where = f"{root} ({CACHE_VARIABLE})" if os.environ.get(CACHE_VARIABLE) else str(root)
    if existing is None or not is_directory(existing) or not _may_be_used(existing):
        yield _broken(
            "cache",
            "directory",
            f"{where} cannot be written",
            f"name a directory of your own in {CACHE_VARIABLE}",
        )
        return
    free = shutil.disk_usage(existing).free
    yield Finding(
        group="cache",
        subject="directory",
        state="note" if free < _LITTLE_SPACE else "ok",
        found=f"{where}, {size(free)} free",
        advice="make room on that disk" if free < _LITTLE_SPACE else "",
    )
    for path in entries(root):
        held = _size(path)
        advice = f"delete {path} to free it; what is needed is made again"
        yield _ok(
            "cache",
            path.name,
            f"{size(held)}, {describe_folder(path.name)}",
            advice if held > _MUCH_SPACE else "",
        )


def _existing(root: Path) -> Path | None:
    """Return the directory, or the nearest one above that exists; None if that may not be seen."""
    try:
        return next(path for path in (root, *root.absolute().parents) if exists(path))
    except FileAccessError:
        return None


def _may_be_used(directory: Path) -> bool:
    wanted = os.R_OK | os.W_OK | os.X_OK
    return os.access(directory, wanted, effective_ids=os.access in os.supports_effective_ids)


def _size(path: Path) -> int:
    if not is_directory(path, follow_links=False):
        found = status(path)
        return found.st_size if found else 0
    return sum(map(_size, entries(path)))


def _registry(location: str | Path | None) -> Iterator[Finding]:
    opened = _tried("registry", "location", lambda: open_registry(location))
    if isinstance(opened, Finding):
        yield opened
        return
    yield _ok("registry", "location", opened.location)
    names = _tried("registry", "names", lambda: opened.catalogue().names())
    if isinstance(names, Finding):
        yield names
        return
    if not names:
        yield _note(
            "registry",
            "artifacts",
            "none",
            "publish one with `wsdarts-hub push RUN NAME --registry DIR`",
        )
    for name in names:
        yield from _versions_of(opened, name)


def _versions_of(store: Store, name: str) -> Iterator[Finding]:
    versions = _tried("registry", name, lambda: store.versions(name))
    if isinstance(versions, Finding):
        yield versions
        return
    for info in versions:
        reference = f"{name}@{info.version}"
        artifact = _tried("registry", reference, partial(store.pull_without_weights, reference))
        if isinstance(artifact, Finding):
            yield artifact
            continue
        files = artifact.manifest.files.values()
        total = (
            f"verified, {pluralize(len(files), 'file')}, {size(sum(file.size for file in files))}"
        )
        yanked = f"; yanked: {info.yanked.reason}" if info.yanked else ""
        yield _ok("registry", reference, total + yanked)


def _probe(location: str | Path | None) -> Iterator[Finding]:
    try:
        from wsdarts_sdk.task2vec.loading import load_probe  # noqa: PLC0415
    except (ImportError, OSError) as error:
        yield _broken(
            "probe",
            "shipped",
            f"cannot be loaded: {' '.join(str(error).split())}",
            "see torch above",
        )
        return
    probe = _tried("probe", "shipped", load_probe, advice=REINSTALL)
    if isinstance(probe, Finding):
        yield probe
        return
    yield _ok("probe", "shipped", f"{probe.name}, {probe.digest}")
    store = _tried("probe", "registry", lambda: open_registry(location))
    if isinstance(store, Finding):
        return  # said already
    entries = _tried("probe", "registry", store.entries)
    if isinstance(entries, Finding):
        return  # said already
    known = sum(
        any(record.space.probe_digest == probe.digest for record in entry.manifest.embeddings)
        for entry in entries
    )
    fit = not entries or known > 0
    yield Finding(
        group="probe",
        subject="registry",
        state="ok" if fit else "note",
        found=(
            f"{count(known)} of {pluralize(len(entries), 'artifact')} "
            f"{'has' if known == 1 else 'have'} an embedding by this probe"
        ),
        advice="" if fit else "use a probe that `wsdarts-hub list` names: --probe PROBE",
    )


def _ok(group: str, subject: str, found: str, advice: str = "") -> Finding:
    return Finding(group=group, subject=subject, state="ok", found=found, advice=advice)


def _note(group: str, subject: str, found: str, advice: str) -> Finding:
    return Finding(group=group, subject=subject, state="note", found=found, advice=advice)


def _broken(group: str, subject: str, found: str, advice: str) -> Finding:
    return Finding(group=group, subject=subject, state="broken", found=found, advice=advice)


def _tried(
    group: str, subject: str, work: Callable[[], _Result], *, advice: str = ""
) -> _Result | Finding:
    """Return the result of some work, or the finding that it does not work."""
    try:
        return work()
    except WsdartsError as error:
        return _broken(group, subject, str(error), advice)
