"""Update of an index: which of its parts are kept, and which are written anew.

An update writes a table of the entries that changed and a pack of the contents that are new. So
that parts stay few, each takes in those before it that are not much larger, up to a limit (the
logarithmic method of Bentley and Saxe): a part of n bytes is made of two of about half as many, an
entry is written anew at most log2(limit / size) times, and a part that has reached the limit never
again for its size.

Entries of tables are replaced. One table an update, that of which less than half still counts, is
written anew without the rest, so that tables have at most about twice the bytes that count.
Contents of packs never change. A pack with an artifact that no name has any more, and a table with
an entry of a name that has gone, are written anew at once, since they may have been made private.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from wsdarts_registry import _json
from wsdarts_registry.artifact.manifest import FileRecord
from wsdarts_registry.stores.huggingface._index_format import (
    MAX_PACK_BYTES,
    Content,
    IndexedName,
    PartList,
    Table,
    digests_of,
)

# Bytes of a part up to which parts are joined. An update writes at most one pack, the table of its
# changes, one older table, and the list, in all less than 2 MB for some 3,000 parts.
TABLE_BYTES = 250_000
PACK_BYTES = 1_250_000
_LEAST_SHARE = 0.5
# Parts of as many artifacts are not of exactly the same size; one of twice as many is larger.
_MUCH_LARGER = 1.5


@dataclass(frozen=True, kw_only=True)
class StoredTable:
    """A table and the record of its file."""

    record: FileRecord
    table: Table


@dataclass(frozen=True, kw_only=True)
class StoredPack:
    """Record of a pack's file, and the digests in it, sorted."""

    record: FileRecord
    digests: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of an index.

    Attributes:
        tables: Oldest first.
        packs: As they are listed.
    """

    tables: tuple[StoredTable, ...] = ()
    packs: tuple[StoredPack, ...] = ()

    @classmethod
    def of(cls, tables: Iterable[StoredTable], packs: Iterable[FileRecord]) -> "Parts":
        """Join tables and the records of packs.

        Raises:
            KeyError: No table says what is in a pack.
        """
        found = tuple(tables)
        listed = {hexadecimal: held for t in found for hexadecimal, held in t.table.packs.items()}
        return cls(
            tables=found,
            packs=tuple(
                StoredPack(
                    record=record,
                    digests=tuple(f"sha256:{digest}" for digest in listed[record.sha256]),
                )
                for record in packs
            ),
        )

    @cached_property
    def names(self) -> dict[str, IndexedName]:
        """The newest entry of each name."""
        return {entry.name: entry for stored in self.tables for entry in stored.table.names}

    @property
    def list(self) -> PartList:
        """The content of ``index.json``."""
        return PartList(
            tables=tuple(stored.record for stored in self.tables),
            packs=tuple(pack.record for pack in self.packs),
        )


def split_packs(
    packs: Sequence[StoredPack], names: Iterable[IndexedName], damaged: Collection[str] = ()
) -> tuple[list[StoredPack], list[StoredPack]]:
    """Return the packs to keep, and those with contents that no name has, or that are damaged."""
    wanted = digests_of(names) - set(damaged)
    kept: list[StoredPack] = []
    stale: list[StoredPack] = []
    for pack in packs:
        (kept if wanted.issuperset(pack.digests) else stale).append(pack)
    return kept, stale


def joined_packs(packs: Sequence[StoredPack], size: int) -> int:
    """Return the number of packs at the end to join with new contents of so many bytes."""
    return _joined([pack.record.size for pack in packs], size, PACK_BYTES)


def _joined(sizes: Sequence[float], size: float, limit: int) -> int:
    count = 0
    while count < len(sizes) and sizes[-1 - count] <= _MUCH_LARGER * size:
        if size + sizes[-1 - count] > limit:
            break
        size += sizes[-1 - count]
        count += 1
    return count


def in_packs(contents: Iterable[tuple[str, Content]]) -> Iterator[dict[str, Content]]:
    """Yield contents in groups, each of about ``PACK_BYTES`` or of one content.

    One that is too large for a reader is left out.
    """
    group: dict[str, Content] = {}
    size = 0
    for digest, content in contents:
        if content.size > MAX_PACK_BYTES:
            continue
        if group and size + content.size > PACK_BYTES:
            yield group
            group, size = {}, 0
        group[digest] = content
        size += content.size
    if group:
        yield group


def updated_tables(
    stored: Sequence[StoredTable],
    names: Mapping[str, IndexedName],
    packs: Mapping[str, Sequence[str]],
) -> list[StoredTable | Table]:
    """Return the tables of an index whose names or packs have changed, in order.

    Args:
        stored: Its tables.
        names: The names that it has to have.
        packs: For the packs that it has to have the digests in them, by sha256.

    Returns:
        The tables that are kept as they are, and those to write.
    """
    before = Parts(tables=tuple(stored)).names
    listed = {hexadecimal for table in stored for hexadecimal in table.table.packs}
    fresh = Table(
        names=tuple(names[name] for name in sorted(names) if names[name] != before.get(name)),
        packs={
            hexadecimal: tuple(digest.removeprefix("sha256:") for digest in packs[hexadecimal])
            for hexadecimal in sorted(packs.keys() - listed)
        },
    )
    if fresh == Table() and before.keys() == names.keys():
        return [*stored]
    log = _Log(tables=(*(table.table for table in stored), fresh), names=names, packs=packs)
    sizes = [table.record.size * share for table, share in zip(stored, log.shares, strict=False)]
    count = len(stored)
    start = count
    if fresh != Table():
        start -= _joined(sizes, len(fresh.to_bytes()), TABLE_BYTES)
    sparse = _sparse(sizes[:start], log.shares)
    kept: list[StoredTable | Table] = []
    for number in range(start):
        if number in sparse:
            kept += _split(log.join(sparse)) if number == sparse.start else []
        elif log.has_gone(number):
            kept += _split(log.join(range(number, number + 1)))
        else:
            kept.append(stored[number])
    return [*kept, *_split(log.join(range(start, count + 1)))]


def _sparse(sizes: Sequence[float], shares: Sequence[float]) -> range:
    """Return the table of which the least counts, with neighbours that fit; none if half does."""
    worst = min(range(len(sizes)), key=lambda number: shares[number], default=None)
    if worst is None or shares[worst] >= _LEAST_SHARE:
        return range(0)
    first, last, total = worst, worst + 1, sizes[worst]
    if last < len(sizes) and total + sizes[last] <= TABLE_BYTES:
        total += sizes[last]
        last += 1
    if first > 0 and total + sizes[first - 1] <= TABLE_BYTES:
        first -= 1
    return range(first, last)


@dataclass(frozen=True, kw_only=True)
class _Log:
    """Tables in order, the last of which makes their names and packs those that are wanted."""

    tables: tuple[Table, ...]
    names: Mapping[str, IndexedName]
    packs: Mapping[str, Sequence[str]]

    @cached_property
    def _owners(self) -> dict[str, int]:
        """The number of the table that has the newest entry of each name."""
        return {
            entry.name: number for number, table in enumerate(self.tables) for entry in table.names
        }

    @cached_property
    def shares(self) -> tuple[float, ...]:
        """The share of each table that still counts, about by bytes."""
        found = []
        for number, table in enumerate(self.tables):
            every = live = 0
            for entry in table.names:
                weight = 1 + 2 * len(entry.versions)
                every += weight
                live += weight * self._counts(entry, number)
            for hexadecimal, digests in table.packs.items():
                every += 1 + len(digests)
                live += (1 + len(digests)) * (hexadecimal in self.packs)
            found.append(live / every if every else 0.0)
        return tuple(found)

    def has_gone(self, number: int) -> bool:
        """Return whether a table has an entry of a name that there is no more."""
        return any(entry.name not in self.names for entry in self.tables[number].names)

    def join(self, numbers: range) -> Table:
        """Return one table in place of neighbours, of what still counts."""
        entries, packs = {}, {}
        for number in numbers:
            table = self.tables[number]
            entries.update({e.name: e for e in table.names if self._counts(e, number)})
            packs.update({key: held for key, held in table.packs.items() if key in self.packs})
        return Table(names=tuple(entries[name] for name in sorted(entries)), packs=packs)

    def _counts(self, entry: IndexedName, number: int) -> bool:
        return entry.name in self.names and self._owners[entry.name] == number


def _split(table: Table) -> list[Table]:
    """Return tables of about ``TABLE_BYTES`` at most that say the same; none for an empty one."""
    if table == Table():
        return []
    if len(table.to_bytes()) <= TABLE_BYTES:
        return [table]
    tables: list[Table] = []
    names: list[IndexedName] = []
    packs: dict[str, tuple[str, ...]] = {}
    size = 0

    def finish() -> None:
        nonlocal size
        tables.append(Table(names=tuple(names), packs=dict(packs)))
        names.clear()
        packs.clear()
        size = 0

    for entry in table.names:
        length = len(_json.dump(entry.model_dump(mode="json")))
        if names and size + length > TABLE_BYTES:
            finish()
        names.append(entry)
        size += length
    for hexadecimal, digests in table.packs.items():
        length = 67 * (1 + len(digests))
        if (names or packs) and size + length > TABLE_BYTES:
            finish()
        packs[hexadecimal] = digests
        size += length
    finish()
    return tables
