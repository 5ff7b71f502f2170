"""The repository of a namespace's settings and index, and reading and writing it.

A commit that changes the index adds its new parts, replaces ``index.json`` and deletes the parts
that are no longer listed. It names its parent, so that of two updates at once one is repeated.
Parts are fetched once and kept by their sha256; a pack is fetched when a content in it is asked
for.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import CommitOperationAdd

from wsdarts_registry._files import open_regular, read_regular
from wsdarts_registry._json import MAX_RECORD_BYTES
from wsdarts_registry._memory import thread_pool
from wsdarts_registry.artifact.checked_files import file_record
from wsdarts_registry.artifact.manifest import FileRecord
from wsdarts_registry.errors import ArtifactError, RegistryError, WsdartsError
from wsdarts_registry.stores.huggingface._client import HuggingFaceClient
from wsdarts_registry.stores.huggingface._index_format import (
    FOLDER,
    LIST_FILE,
    MAX_OLD_BYTES,
    OLD_FILE,
    Content,
    DamagedPartError,
    Index,
    IndexedName,
    PartList,
    Places,
    Table,
    pack_bytes,
    pack_path,
    pack_places,
    read_old_index,
    table_path,
    verified_content,
)
from wsdarts_registry.stores.huggingface._index_update import (
    Parts,
    StoredPack,
    StoredTable,
    in_packs,
    joined_packs,
    split_packs,
    updated_tables,
)
from wsdarts_registry.stores.huggingface._responses import Head, Repository
from wsdarts_registry.stores.huggingface._retries import with_retries
from wsdarts_registry.stores.records import RegistryConfig

NAME = "wsdarts-registry"
CONFIG = "registry.json"
CARD = "README.md"
_AT_ONCE = 8
# Bytes of parts in one commit; of more, the packs are committed before the list that names them.
_COMMIT_BYTES = 64 * 2**20
# Yields the contents of artifacts by digest; of those that cannot be read, none.
Load = Callable[[Sequence[str]], Iterable[tuple[str, Content]]]


@dataclass(frozen=True, kw_only=True)
class FoundIndex:
    """Index of a namespace, if it has a usable one.

    Attributes:
        head: Newest commit of its repository; None without a repository.
        index: The index; None if it is missing or unusable.
        parts: Its parts; none of an index in one file.
        problem: Reason why it is unusable; else empty.
    """

    head: Head | None
    index: Index | None
    parts: Parts = field(default_factory=Parts)
    problem: str = ""


class PackedContents(Mapping[str, Content]):
    """The contents in packs by digest; each is read and verified when it is asked for.

    Args:
        packs: The packs.
        fetch: Returns the file of a pack.
    """

    def __init__(self, packs: Iterable[StoredPack], fetch: Callable[[FileRecord], Path]) -> None:
        self._packs = {digest: pack for pack in packs for digest in pack.digests}
        self._fetch = fetch
        self._opened: dict[str, tuple[Path, Places]] = {}

    def __len__(self) -> int:
        return len(self._packs)

    def __iter__(self) -> Iterator[str]:
        return iter(self._packs)

    def __contains__(self, digest: object) -> bool:
        return digest in self._packs

    def __getitem__(self, digest: str) -> Content:
        """Return a content.

        Raises:
            KeyError: No pack has it.
            DamagedPartError: It is damaged.
            RegistryError: The Hub cannot be asked.
        """
        pack = self._packs[digest]
        try:
            try:
                files = self._read(pack, digest)
            except OSError:  # deleted from the cache since
                self._opened.pop(pack.record.sha256, None)
                files = self._read(pack, digest)
        except OSError as error:
            raise DamagedPartError(f"a pack cannot be read: {error.strerror}") from error
        with _damage():
            return verified_content(digest, files)

    def _read(self, pack: StoredPack, digest: str) -> dict[str, bytes]:
        if pack.record.sha256 not in self._opened:
            self._opened[pack.record.sha256] = self._open(pack)
        path, places = self._opened[pack.record.sha256]
        found = {}
        with open_regular(path) as file:
            for name, (begin, end) in places[digest].items():
                file.seek(begin)
                found[name] = file.read(end - begin)
        return found

    def _open(self, pack: StoredPack) -> tuple[Path, Places]:
        with _damage(ArtifactError):
            path = self._fetch(pack.record)
        with _damage(), open_regular(path) as file:
            places = pack_places(file, pack.record.size)
        if tuple(sorted(places)) != pack.digests:
            raise DamagedPartError("a pack of the index holds other artifacts than its table says")
        return path, places


@contextmanager
def _damage(kind: type[WsdartsError] = WsdartsError) -> Iterator[None]:
    """Raise a DamagedPartError in place of an error in what was read."""
    try:
        yield
    except kind as error:
        raise DamagedPartError(str(error)) from error


class IndexRepository:
    """Repository of the settings and the index of one namespace.

    Args:
        client: Client of the Hub.
        namespace: User or organisation.
    """

    def __init__(self, client: HuggingFaceClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._last: FoundIndex | None = None
        self._tables: dict[str, StoredTable] = {}
        self.remote = Repository(id=f"{namespace}/{NAME}", kind="dataset")

    def config(self, head: Head | None) -> RegistryConfig:
        """Return the settings at a commit, by default those of a new registry.

        Raises:
            RegistryError: They are malformed, or the Hub cannot be asked.
        """
        if head is None or CONFIG not in head.files:
            return RegistryConfig(name=self._namespace)
        content = self._client.read(self.remote, head.commit, CONFIG, MAX_RECORD_BYTES)
        what = f"{CONFIG} of {self.remote.path}"
        return RegistryConfig.from_bytes(content, what=what, error=RegistryError)

    def configure(self, config: RegistryConfig) -> None:
        """Replace the settings.

        Raises:
            RegistryError: They cannot be written.
        """

        def attempt() -> None:
            additions = [CommitOperationAdd(CONFIG, config.to_bytes())]
            parent = self.ensure_head().commit
            self._client.commit(self.remote, parent, "Change the settings", additions)

        with_retries(attempt)

    def head(self) -> Head | None:
        """Return the head of main; None without a repository."""
        return self._client.head(self.remote)

    def ensure_head(self) -> Head:
        """Return the head of main; create a missing repository.

        Raises:
            RegistryError: It cannot be created.
        """
        return self.head() or self._client.create(self.remote)

    def find(self) -> FoundIndex:
        """Read and verify the list and the tables of the index.

        Raises:
            RegistryError: A request to the Hub failed.
        """
        head = self.head()
        if head is None or not {LIST_FILE, OLD_FILE} & set(head.files):
            return FoundIndex(head=head, index=None)
        last = self._last
        if last is not None and last.head is not None and last.head.commit == head.commit:
            return last
        try:
            is_old = LIST_FILE not in head.files
            found = self._read_old(head) if is_old else self._read_parts(head)
        except DamagedPartError as error:
            return FoundIndex(head=head, index=None, problem=str(error))
        self._last = found
        return found

    def _read_old(self, head: Head) -> FoundIndex:
        with _damage(ArtifactError):
            content = self._client.read(self.remote, head.commit, OLD_FILE, MAX_OLD_BYTES)
        with _damage():
            return FoundIndex(head=head, index=read_old_index(content))

    def _read_parts(self, head: Head) -> FoundIndex:
        with _damage(ArtifactError):
            content = self._client.read(self.remote, head.commit, LIST_FILE, PartList.MAX_BYTES)
        with _damage():
            listed = PartList.from_bytes(content, what=LIST_FILE, error=RegistryError)
        missing = sorted(set(listed.paths) - set(head.files))
        if missing:
            raise DamagedPartError(f"{missing[0]} of {self.remote.path} is missing")

        def read(record: FileRecord) -> StoredTable:
            known = self._tables.get(record.sha256)
            if known is not None:
                return known
            path = table_path(record)
            with _damage(ArtifactError):
                content = read_regular(self._fetch(head.commit, path, record))
            with _damage():
                table = Table.from_bytes(content, what="a table of the index", error=RegistryError)
            return StoredTable(record=record, table=table)

        with thread_pool(_AT_ONCE) as pool:
            tables = list(pool.map(read, listed.tables))
        self._tables = {stored.record.sha256: stored for stored in tables}
        try:
            parts = Parts.of(tables, listed.packs)
        except KeyError as error:
            raise DamagedPartError(f"no table of {LIST_FILE} has the pack {error}") from None
        contents = PackedContents(
            parts.packs, lambda record: self._fetch(head.commit, pack_path(record), record)
        )
        return FoundIndex(head=head, index=Index(names=parts.names, contents=contents), parts=parts)

    def _fetch(self, commit: str, path: str, record: FileRecord) -> Path:
        return self._client.cached(record) or self._client.fetch(self.remote, commit, path, record)

    def write(
        self,
        found: FoundIndex,
        head: Head,
        names: Mapping[str, IndexedName],
        load: Load,
        *,
        rebuild: bool = False,
    ) -> None:
        """Make an index have certain names, and the contents of all their versions.

        Args:
            found: The index to change, as ``find`` returned it.
            head: The commit that it was read from; the first one of a new repository.
            names: All names to have.
            load: Yields the contents that the index lacks.
            rebuild: Verify all its contents, replace damaged ones, and delete unlisted parts.

        Raises:
            RetryableError: The index was changed meanwhile, or the response was lost.
            RegistryError: It cannot be written.
        """
        damaged = _damaged(found) if rebuild else frozenset()
        whole = rebuild or found.index is None
        upload = _Upload(self._client, self.remote, head, whole=whole)
        packs = self._updated_packs(found, names, load, damaged, upload)
        digests = {pack.record.sha256: pack.digests for pack in packs}
        tables = [
            table if isinstance(table, StoredTable) else upload.table(table)
            for table in updated_tables(found.parts.tables, names, digests)
        ]
        parts = Parts(tables=tuple(tables), packs=tuple(packs))
        listed = parts.list
        kept = {LIST_FILE, *listed.paths}
        replaced = set(found.parts.list.paths) | {OLD_FILE}
        stale = [
            path
            for path in head.files
            if path not in kept and (path in replaced or (whole and path.startswith(FOLDER)))
        ]
        if listed == found.parts.list and found.index is not None and not stale:
            return
        upload.add(LIST_FILE, listed.to_bytes())
        for path, content in self._first_files().items():
            if path not in head.files:
                upload.add(path, content)
        upload.commit("Update the index", stale)

    def _updated_packs(
        self,
        found: FoundIndex,
        names: Mapping[str, IndexedName],
        load: Load,
        damaged: frozenset[str],
        upload: "_Upload",
    ) -> list[StoredPack]:
        """Return the packs of the index with those names; add new ones to an upload."""
        kept, stale = split_packs(found.parts.packs, names.values(), damaged)
        wanted = list(
            dict.fromkeys(
                version.digest for name in sorted(names) for version in names[name].versions
            )
        )
        held = {digest for pack in kept for digest in pack.digests}
        saved = {digest for pack in stale for digest in pack.digests} - damaged
        old = {} if found.index is None else found.index.contents
        missing = [digest for digest in wanted if digest not in held]

        def contents() -> Iterator[tuple[str, Content]]:
            lost = []
            for digest in missing:
                if digest in saved or (digest in old and not found.parts.packs):
                    with suppress(DamagedPartError):
                        yield digest, old[digest]
                        continue
                lost.append(digest)
            yield from load(lost)

        last: dict[str, Content] = {}
        for group in in_packs(contents()):
            if last:
                kept.append(upload.pack(last))
            last = group
        if last:
            size = sum(content.size for content in last.values())
            for _ in range(joined_packs(kept, size)):
                last = {**_verified(old, kept.pop().digests), **last}
            kept.append(upload.pack(last))
        return kept

    def _first_files(self) -> dict[str, bytes]:
        config = RegistryConfig(name=self._namespace)
        return {CONFIG: config.to_bytes(), CARD: _card(self._namespace).encode()}


def _verified(contents: Mapping[str, Content], digests: Iterable[str]) -> dict[str, Content]:
    """Return those contents that are not damaged."""
    found = {}
    for digest in digests:
        with suppress(DamagedPartError):
            found[digest] = contents[digest]
    return found


def _damaged(found: FoundIndex) -> frozenset[str]:
    """Return the digests of contents in packs that do not verify."""
    if found.index is None:
        return frozenset()
    return frozenset(
        digest
        for pack in found.parts.packs
        for digest in pack.digests
        if not _verified(found.index.contents, [digest])
    )


class _Upload:
    """Files that are to be committed; many of them in several commits.

    Args:
        client: Client of the Hub.
        remote: The repository.
        head: The commit to build on.
        whole: Whether to upload what should be there already, too, since it may be damaged.
    """

    def __init__(
        self, client: HuggingFaceClient, remote: Repository, head: Head, *, whole: bool
    ) -> None:
        self._client = client
        self._remote = remote
        self._files = frozenset(() if whole else head.files)
        self._parent = head.commit
        self._waiting: dict[str, bytes] = {}

    def pack(self, contents: Mapping[str, Content]) -> StoredPack:
        """Add a pack."""
        content = pack_bytes(contents)
        record = file_record(content)
        if sum(map(len, self._waiting.values())) + len(content) > _COMMIT_BYTES:
            self.commit("Upload packs of the index")
        self._add_part(pack_path(record), content)
        return StoredPack(record=record, digests=tuple(sorted(contents)))

    def table(self, table: Table) -> StoredTable:
        """Add a table."""
        content = table.to_bytes()
        record = file_record(content)
        self._add_part(table_path(record), content)
        return StoredTable(record=record, table=table)

    def _add_part(self, path: str, content: bytes) -> None:
        if path not in self._files:  # else it is the same
            self.add(path, content)

    def add(self, path: str, content: bytes) -> None:
        """Add a file."""
        self._waiting[path] = content

    def commit(self, title: str, deletions: Sequence[str] = ()) -> None:
        """Commit what was added.

        Raises:
            RetryableError: Main has moved, or the response was lost.
            RegistryError: It was refused.
        """
        additions = [CommitOperationAdd(path, data) for path, data in self._waiting.items()]
        self._parent = self._client.commit(self._remote, self._parent, title, additions, deletions)
        self._waiting.clear()


def _card(namespace: str) -> str:
    return (
        "---\ntags:\n- wsdarts-hub\nviewer: false\n---\n\n"
        f"# The index of hf://{namespace}\n\n"
        "What `wsdarts-hub` reads to rank the artifacts of this namespace. It is written by "
        f"`wsdarts-hub push`, and made anew by `wsdarts-hub index rebuild --registry "
        f"hf://{namespace}`.\n"
    )
