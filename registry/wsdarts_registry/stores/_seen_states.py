"""The newest state of each registry that this user has seen, in the user's cache.

Whoever can write to a registry can restore an older state of it. So the versions of a registry are
kept as they were seen, with their digests, yanks, signatures and aliases, and compared with what
the registry shows later. What counts as older:

- a version that is gone, or has another digest: versions are write-once;
- a yank whose record is gone, or older than the one that was seen, or that was lifted: by its owner
  or by a forger, which only a person can tell apart;
- a signature that is gone, which nothing removes, or another than when the version was read;
- an alias that means a lower version than before. Its owner may move it back, so this is said
  once. An alias that is gone is an error where it is used, and is not said.

What was seen stays until the user accepts the present state (``wsdarts-hub accept``).

A row of ``seen/HASH.jsonl`` is a name, its versions (number, digest, time of the newest record of a
yank, whether signed, whether yanked) and its aliases. A row of ``seen/HASH.signatures`` is a
version and the sha256 of its signature, which is only compared where the artifact is read. Each
file begins with a line that has the sha256 of the others. A damaged file is replaced, with a
warning. It is written only when there is something new, under a lock; where it cannot be written,
what is there is compared all the same.
"""

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from wsdarts_registry import _json
from wsdarts_registry._file_lock import NoLocksError, wait_for_lock
from wsdarts_registry._files import cache_directory, read_regular, status, write_atomically
from wsdarts_registry._format import pluralize
from wsdarts_registry.errors import FileAccessError, RegistryWarning, WsdartsError
from wsdarts_registry.stores.catalogue import DAMAGE, Catalogue
from wsdarts_registry.stores.records import VersionInfo

_FORMAT = 1
_LOCK_TIMEOUT = 10.0  # seconds; a change of what was seen takes a fraction of one
_OWN_CHANGE_TIMEOUT = 120.0  # seconds; a change of a registry may wait for a busy Hub
_NAMED = 3  # differences in one warning
_TRIED = 20  # names that are read again before a warning, or before they are kept
_log = logging.getLogger("wsdarts_hub.cache")

Row = bytes
"""One line of a file: a JSON array that begins with its key."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing in which a registry shows an older state than it did before.

    Attributes:
        kind: What it is.
        name: Name of the artifact.
        version: Its version; of an alias the one that it means now.
        text: It in words.
    """

    kind: Literal["gone", "changed", "yank", "lifted", "signature", "alias"]
    name: str
    version: int
    text: str


class _Version(NamedTuple):
    """Facts seen of a version; its digest is without ``sha256:``."""

    digest: str
    yank: str
    signed: bool
    yanked: bool = False


class _State(NamedTuple):
    """Facts seen of a name: versions by number, and the version of each alias."""

    versions: dict[int, _Version]
    aliases: dict[str, int]


def row_of(name: str, versions: Iterable[VersionInfo]) -> Row:
    """Return the row of a name; versions whose digest cannot be read are as good as any."""
    return _row(name, _state_of(versions))


def differences(name: str, seen: Row | None, now: Row | None) -> tuple[Difference, ...]:
    """Return in what a name shows an older state than was seen.

    Args:
        name: The name.
        seen: Its row as it was seen; None if it was not.
        now: Its row as it is; None if it has no versions.
    """
    return () if seen is None or seen == now else tuple(_differences(name, _read(seen), _read(now)))


class _SeenFile:
    """Rows by key that were seen of one registry.

    Args:
        key: The registry: an absolute path, or an address and a namespace.
        suffix: Suffix of the file.
    """

    def __init__(self, key: str, suffix: str) -> None:
        self._key = key
        self._suffix = suffix
        self._kept: tuple[object, dict[str, Row]] | None = None

    @property
    def path(self) -> Path:
        """The file."""
        identity = _json.dump([_FORMAT, self._key])
        name = hashlib.sha256(identity).hexdigest()[:32]
        return cache_directory() / "seen" / f"{name}{self._suffix}"

    def rows(self) -> Mapping[str, Row]:
        """Return the rows by key; none for a registry that was not seen, or if it is damaged."""
        path = self.path
        try:
            found = status(path)
            if found is None:
                return {}
            facts = (path, found.st_ino, found.st_size, found.st_mtime_ns)
            if self._kept is None or self._kept[0] != facts:
                self._kept = facts, _load(read_regular(path))
        except (FileAccessError, ValueError) as error:
            warnings.warn(
                f"{path}, which holds what was seen of {self._key}, is damaged or cannot be read "
                f"({error}), so an older state of that registry is not noticed this time",
                RegistryWarning,
                stacklevel=6,
            )
            return {}
        return self._kept[1]

    def change(self, change: Callable[[dict[str, Row]], None]) -> None:
        """Change the rows, while no other process does."""
        path = self.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(path.with_name(f"{path.name}.lock")):
                rows = dict(self.rows())
                before = dict(rows)
                change(rows)
                if rows != before:
                    write_atomically(path, _dump(rows))
        except OSError as error:
            _log.info("what was seen of %s is not kept: %s", self._key, error)


class SeenStates:
    """The newest state of one registry that was seen.

    Args:
        key: The registry: an absolute path, or an address and a namespace.
    """

    def __init__(self, key: str) -> None:
        self._states = _SeenFile(key, ".jsonl")
        self._signatures = _SeenFile(key, ".signatures")

    def rows(self) -> Mapping[str, Row]:
        """Return the rows by name; none for a registry that was not seen, or if it is damaged."""
        return self._states.rows()

    def is_same(self, key: str) -> bool:
        """Return whether ``keep_same`` kept this key, and nothing else was seen since then."""
        mark = self._mark(key)
        try:
            return mark is not None and read_regular(self._same_path) == mark
        except FileAccessError:
            return False

    def keep_same(self, key: str) -> None:
        """Keep the key of a listing that shows what was seen, so that it is not compared again."""
        mark = self._mark(key)
        if mark is not None:
            with suppress(OSError):
                write_atomically(self._same_path, mark)

    @property
    def _same_path(self) -> Path:
        return self._states.path.with_suffix(".same")

    def _mark(self, key: str) -> bytes | None:
        """Return a key with what changes when anything is written; None if nothing was."""
        with suppress(FileAccessError):
            found = status(self._states.path)
            if found is not None:
                return _json.dump([key, found.st_ino, found.st_size, found.st_mtime_ns])
        return None

    @contextmanager
    def own_change(self) -> Iterator[None]:
        """Keep other processes of this user from judging what one of them is about to change.

        Held while a registry is changed and that is remembered; and while what looks older is read
        again, before it is said.
        """
        path = self._states.path.with_suffix(".own.lock")
        with ExitStack() as stack:
            with suppress(OSError):  # a cache that cannot be written remembers nothing, either
                path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(_locked(path, _OWN_CHANGE_TIMEOUT))
            yield

    def merge(self, found: Mapping[str, Row], own: int | None = None) -> None:
        """Add what is new in rows; what was seen of a version stays.

        Args:
            found: Rows by name.
            own: A version whose yank this user changed, so that it may be lifted.
        """

        def change(rows: dict[str, Row]) -> None:
            for name, row in found.items():
                rows[name] = _merged_row(name, rows.get(name), row, own) or rows[name]

        self._states.change(change)

    def replace(self, found: Mapping[str, Row], names: Iterable[str] | None = None) -> None:
        """Replace the rows of some names, or of all; those that are not found are removed."""

        def change(rows: dict[str, Row]) -> None:
            for name in list(rows) if names is None else names:
                rows.pop(name, None)
            rows.update(found)

        self._states.change(change)

    def signatures(self) -> Iterator[tuple[str, int, str]]:
        """Yield name, version and sha256 of the signatures that were read, by name."""
        for key, row in self._signatures.rows().items():
            name, _, version = key.partition("@")
            yield name, int(version), json.loads(row)[1]

    def signature(self, name: str, version: int) -> str | None:
        """Return the sha256 of the signature that a version had when it was read last."""
        row = self._signatures.rows().get(f"{name}@{version}")
        return None if row is None else str(json.loads(row)[1])

    def keep_signature(self, name: str, version: int, digest: str | None) -> None:
        """Keep the sha256 of a signature, or forget it."""
        key = f"{name}@{version}"

        def change(rows: dict[str, Row]) -> None:
            rows.pop(key, None)
            if digest is not None:
                rows[key] = f'["{key}","{digest}"]'.encode()

        self._signatures.change(change)

    def forget(self) -> None:
        """Forget all of it."""
        self.replace({})
        self._signatures.change(dict.clear)


def signature_digest(signature: bytes | None) -> str | None:
    """Return the sha256 by which a signature is kept; None where there is none."""
    return None if signature is None else hashlib.sha256(signature).hexdigest()


def compare(
    catalogue: Catalogue,
    states: SeenStates,
    found: Mapping[str, Row],
    *,
    whole: bool,
    listed: Catalogue | None = None,
) -> bool:
    """Compare what a registry shows with what was seen, warn of older states, keep what is new.

    Returns:
        Whether it shows the same.

    Args:
        catalogue: The registry; what seems to be older is read again before it is said.
        states: What was seen of it.
        found: What it shows, by name; names without a version may be missing.
        whole: Whether these are all names of the registry.
        listed: The snapshot that shows it. What it has from an index alone is not kept: an index
            can be forged without the artifacts.
    """
    seen = states.rows()
    changed = {name: row for name, row in found.items() if seen.get(name) != row}
    suspects = [name for name, row in changed.items() if differences(name, seen.get(name), row)]
    suspects += [name for name in seen if whole and name not in found]
    suspects.sort()
    older: list[Difference] = []
    others = len(suspects)
    with states.own_change() if suspects else nullcontext():
        seen = states.rows()
        for name in suspects[:_TRIED]:
            others -= 1
            older += _confirmed(catalogue, name, seen.get(name))
            if len(older) >= _NAMED:
                break
    if older:
        text = _sentence(catalogue, older, others=others)
        warnings.warn(text, RegistryWarning, stacklevel=4)
    new = {
        name: row
        for name, row in changed.items()
        if (listed is None or listed.is_first_hand(name)) and _merged_row(name, seen.get(name), row)
    }
    if new:
        states.merge(new)
    return not changed and not suspects


def names_to_read(states: SeenStates, listed: Mapping[str, Iterable[VersionInfo]]) -> list[str]:
    """Return some names of which an index says something new, to be read where they are.

    Args:
        states: What was seen.
        listed: Versions by name, as the index has them.
    """
    seen = states.rows()
    new = [
        (not row_versions, name)
        for name, row_versions in ((name, tuple(versions)) for name, versions in listed.items())
        if seen.get(name) != row_of(name, row_versions)
    ]
    return [name for _, name in sorted(new)[:_TRIED]]  # those without a version are not kept


def _merged_row(name: str, seen: Row | None, now: Row, own: int | None = None) -> Row | None:
    """Return the row of a name with what is new; None if nothing is."""
    state = _merged(_read(seen), _read(now), own)
    row = _row(name, state)
    return None if row == seen or not state.versions else row


def _confirmed(catalogue: Catalogue, name: str, seen: Row | None) -> tuple[Difference, ...]:
    """Return the differences of a name after reading it again, by itself.

    A list of the registry may be late, and leaves out what is damaged, which it says itself.
    """
    try:
        now = row_of(name, catalogue.versions(name))
    except WsdartsError:
        return ()
    return tuple(d for d in differences(name, seen, now) if not _is_damage(catalogue, d))


def _is_damage(catalogue: Catalogue, difference: Difference) -> bool:
    """Return whether a version or its records differ because they are damaged."""
    if difference.kind in ("gone", "alias"):
        return False
    try:
        catalogue.entry(difference.name, difference.version)
    except DAMAGE:
        return True
    return False


def _sentence(catalogue: Catalogue, older: list[Difference], *, others: int) -> str:
    listed = [difference.text for difference in older[:_NAMED]]
    if older[_NAMED:]:
        listed.append("and more")
    if others:
        listed.append(f"and something of {pluralize(others, 'other artifact')}")
    hints = [catalogue.access_hint] if any(d.kind == "gone" for d in older) else []
    if all(difference.kind == "alias" for difference in older) and not others:
        hints.append("its owner may have moved it back; this is said once")
    else:
        names = {difference.name for difference in older}
        name = f" {names.pop()}" if len(names) == 1 and not others else ""
        hints.append(
            f"if its owner did so, `wsdarts-hub accept{name}{catalogue.option}` accepts it"
        )
    return "; ".join(
        (
            f"{catalogue.location} shows an older state than before: {', '.join(listed)}",
            *filter(None, hints),
        )
    )


def _differences(name: str, seen: _State, now: _State) -> Iterator[Difference]:
    for number, before in seen.versions.items():
        after = now.versions.get(number)
        reference = f"{name}@{number}"
        if after is None:
            yield Difference(kind="gone", name=name, version=number, text=f"{reference} is gone")
        elif after.digest != before.digest:
            if after.digest:
                text = f"{reference} has another digest"
                yield Difference(kind="changed", name=name, version=number, text=text)
        else:
            if after.yank < before.yank:
                text = f"the record that {reference} was yanked or restored is gone or older"
                yield Difference(kind="yank", name=name, version=number, text=text)
            elif before.yanked and not after.yanked:
                text = f"{reference} was yanked and is not any more"
                yield Difference(kind="lifted", name=name, version=number, text=text)
            if before.signed and not after.signed:
                text = f"the signature of {reference} is gone"
                yield Difference(kind="signature", name=name, version=number, text=text)
    for alias, meant in seen.aliases.items():
        means = now.aliases.get(alias, meant)
        if means < meant:
            text = f"{name}@{alias} means version {means} and meant {meant}"
            yield Difference(kind="alias", name=name, version=means, text=text)


def _merged(seen: _State, now: _State, own: int | None) -> _State:
    versions = dict(seen.versions)
    for number, after in now.versions.items():
        before = versions.get(number)
        if before is None:
            if after.digest:
                versions[number] = after
        elif before.digest == after.digest:
            is_older = after.yank < before.yank or (before.yanked and not after.yanked)
            # A list from before this user lifted a yank, in the second in which it was made.
            is_older |= before.yank == after.yank != "" and after.yanked and not before.yanked
            kept = before if is_older and number != own else after
            signed = before.signed or after.signed
            versions[number] = _Version(before.digest, kept.yank, signed, kept.yanked)
    return _State(versions, {**seen.aliases, **now.aliases})


def digest_seen(states: SeenStates, name: str, version: int) -> str | None:
    """Return the digest that a version had when it was seen; None if it was not."""
    row = states.rows().get(name)
    found = None if row is None else _read(row).versions.get(version)
    return None if found is None else f"sha256:{found.digest}"


def older_records(states: SeenStates, name: str, info: VersionInfo) -> tuple[str, ...]:
    """Return in words what is said less of one version than was seen: its yank, its signature."""
    found = differences(name, states.rows().get(name), row_of(name, (info,)))
    kinds = ("yank", "lifted", "signature")
    return tuple(d.text for d in found if d.version == info.version and d.kind in kinds)


def _state_of(versions: Iterable[VersionInfo]) -> _State:
    found: dict[int, _Version] = {}
    aliases: dict[str, int] = {}
    for info in versions:
        yank = info.status.yank
        when = "" if yank is None else yank.newest
        digest = (info.digest or "").removeprefix("sha256:")
        hidden = info.yanked is not None
        found[info.version] = _Version(digest, when, info.status.signed, hidden)
        for alias in info.status.aliases:
            aliases[alias] = info.version
    return _State(found, aliases)


def _row(name: str, state: _State) -> Row:
    """Return a row; it is JSON, since names, digests, times and aliases need no escapes."""
    versions = ",".join(
        f'[{number},"{digest}","{yank}",{signed:d}{",1" if yanked else ""}]'
        for number, (digest, yank, signed, yanked) in sorted(state.versions.items())
    )
    aliases = ",".join(f'"{alias}":{state.aliases[alias]}' for alias in sorted(state.aliases))
    return f'["{name}",[{versions}],{{{aliases}}}]'.encode()


def _read(row: Row | None) -> _State:
    if row is None:
        return _State({}, {})
    _, versions, aliases = json.loads(row)
    found = {
        number: _Version(digest, yank, bool(signed), bool(yanked))
        for number, digest, yank, signed, *yanked in versions
    }
    return _State(found, aliases)


def _dump(rows: Mapping[str, Row]) -> bytes:
    body = b"".join(rows[key] + b"\n" for key in sorted(rows))
    return _head(body) + b"\n" + body


def _load(content: bytes) -> dict[str, Row]:
    """Return the rows of a file by key.

    Raises:
        ValueError: It is not as it was written.
    """
    head, _, body = content.partition(b"\n")
    if head != _head(body):
        raise ValueError("its sha256 differs")
    return {row[2 : row.index(b'"', 2)].decode(): row for row in body.splitlines()}


def _head(body: bytes) -> bytes:
    head = {"format": _FORMAT, "sha256": hashlib.sha256(body).hexdigest()}
    return json.dumps(head).encode()


def _locked(path: Path, seconds: float = _LOCK_TIMEOUT) -> AbstractContextManager[object]:
    """Lock a file; where there are no locks, two processes may lose what one has seen.

    Raises:
        OSError: Another process does not finish a change, or the file cannot be made.
    """
    try:
        lock = wait_for_lock(path, seconds=seconds)
    except NoLocksError:
        return nullcontext()
    if lock is None:
        raise TimeoutError("another process does not finish a change")
    return lock
