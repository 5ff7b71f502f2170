"""Repositories on disk: what each of them is, and what it was after every change.

Every change anywhere takes the hub's next number and appends a `State` to its repository, so
that a read can be answered as of any earlier number. Everything is written before a change
counts: a server that is stopped or killed finds it all again in its directory.
"""

import json
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from .commits import Commit, Commits
from .messages import HubError
from .objects import Objects, write

Kind = Literal["models", "datasets"]
MAIN = "main"
LFS_SUFFIXES = (
    *(".7z", ".arrow", ".bin", ".bz2", ".gz", ".h5", ".msgpack", ".npy", ".npz", ".onnx"),
    *(".parquet", ".pickle", ".pkl", ".pt", ".pth", ".safetensors", ".tar", ".tgz", ".zip", ".zst"),
)
GIT_ATTRIBUTES = "".join(
    f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES
)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}")
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+-]{0,127}")


@dataclass(frozen=True, kw_only=True)
class State:
    """What a repository is after the hub's change ``number``."""

    number: int
    private: bool = False
    gated: Literal[False, "auto", "manual"] = False
    granted: tuple[str, ...] = ()
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class Counter:
    """Numbers of the changes anywhere in the hub."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    @property
    def last(self) -> int:
        """Number of the latest change."""
        return self._last

    def next(self) -> int:
        """Count a change."""
        with self._lock:
            self._last += 1
            return self._last

    def pass_over(self, number: int) -> None:
        """Go on counting above a number that was found on disk."""
        self._last = max(self._last, number)


class Repository:
    """One model or dataset. Hold ``lock`` from reading a state to changing it."""

    def __init__(self, directory: Path, *, kind: Kind, name: str, counter: Counter) -> None:
        self.kind: Kind = kind
        self.name = name
        self.lock = threading.RLock()
        self.objects = Objects(directory)
        self.commits = Commits(directory / "commits")
        self._file = directory / "repository.json"
        self._counter = counter
        self.created_at = now()
        self._states: list[State] = []
        if self._file.is_file():
            self._load()

    @property
    def namespace(self) -> str:
        """User or organisation that the repository belongs to."""
        return self.name.partition("/")[0]

    @property
    def path(self) -> str:
        """The repository's path in URLs."""
        return self.name if self.kind == "models" else f"{self.kind}/{self.name}"

    def at(self, number: int | None) -> State | None:
        """Return the state as of a change of the hub (now: None); None before it was created."""
        states = self._states
        if number is None:
            return states[-1] if states else None
        return next((state for state in reversed(states) if state.number <= number), None)

    def now(self) -> State:
        """Return the present state of a repository that is created."""
        return self._states[-1]

    def change(self, **changes: Any) -> State:
        """Make a change and write it."""
        present = self._states[-1] if self._states else State(number=0)
        state = replace(present, number=self._counter.next(), **changes)
        states = [*self._states, state]
        value = {"created_at": self.created_at, "states": [asdict(item) for item in states]}
        write(self._file, [json.dumps(value).encode()])
        self._states = states
        return state

    def commit(self, revision: str, *, as_of: int | None = None) -> Commit:
        """Return the commit that a branch, a tag or a whole commit hash names.

        Raises:
            HubError: Nothing has this name (404).
        """
        state = self.at(as_of) or self.now()
        name = re.sub(r"^refs/(heads|tags)/", "", revision)
        oid = state.branches.get(name) or state.tags.get(name) or revision
        if not self.commits.has(oid):
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits.read(oid)

    def forget(self) -> None:
        """Let no server that starts later know the repository."""
        self._file.unlink()

    def _load(self) -> None:
        value = json.loads(self._file.read_bytes())
        self.created_at = value["created_at"]
        self._states = [
            State(**{**state, "granted": tuple(state["granted"])}) for state in value["states"]
        ]
        self._counter.pass_over(self._states[-1].number)


class Repositories:
    """Every repository below a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self.counter = Counter()
        self._all: dict[tuple[Kind, str], Repository] = {}
        kinds: tuple[Kind, Kind] = ("models", "datasets")
        for kind in kinds:
            for file in sorted((directory / kind).glob("*/*/repository.json")):
                name = "/".join(file.parent.relative_to(directory / kind).parts)
                self._all[kind, name] = self._open(kind, name)

    def get(self, kind: Kind, name: str) -> Repository | None:
        """Return a repository, or None."""
        return self._all.get((kind, name))

    def all(self, kind: Kind) -> Iterator[Repository]:
        """Yield every repository of a kind."""
        with self._lock:
            found = [repository for key, repository in self._all.items() if key[0] == kind]
        yield from found

    def create(self, kind: Kind, name: str, *, author: str, private: bool) -> Repository:
        """Create a repository that holds a ``.gitattributes``, as the Hub does.

        Raises:
            HubError: The name is taken (409) or not allowed (400).
        """
        if not all(_NAME.fullmatch(part) for part in name.split("/")) or name.count("/") != 1:
            raise HubError(400, f"Invalid repository name: {name}")
        with self._lock:
            if (kind, name) in self._all:
                raise HubError(409, f"You already created this {kind[:-1]} repo: {name}")
            shutil.rmtree(self._directory / kind / name, ignore_errors=True)
            repository = self._open(kind, name)
            first = repository.commits.add(
                {".gitattributes": repository.objects.add(GIT_ATTRIBUTES.encode())},
                parent=None,
                title="initial commit",
                message="",
                author=author,
                date=now(),
            )
            repository.change(private=private, branches={MAIN: first.oid})
            self._all[kind, name] = repository
        return repository

    def delete(self, repository: Repository) -> None:
        """Delete a repository. Its files stay for those who still read them, out of sight."""
        with self._lock, repository.lock:
            del self._all[repository.kind, repository.name]
            self.counter.next()
            repository.forget()

    def _open(self, kind: Kind, name: str) -> Repository:
        return Repository(self._directory / kind / name, kind=kind, name=name, counter=self.counter)


def now() -> str:
    """Return the time as the Hub writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def checked_ref(name: str) -> str:
    """Return the name of a new branch or tag.

    Raises:
        HubError: Git does not allow it (400).
    """
    if not _REF.fullmatch(name) or ".." in name or name.endswith(("/", ".", ".lock")):
        raise HubError(400, f"Invalid reference name: {name}")
    return name
