"""Files of an index on a hub, as tests read, forge and replace them by the plain client."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from tests.hub_server import ALICE, HubServer
from wsdarts_registry._tensors import write_tensors
from wsdarts_registry.artifact.checked_files import file_record
from wsdarts_registry.artifact.manifest import MANIFEST
from wsdarts_registry.errors import RegistryError
from wsdarts_registry.stores.huggingface._index_format import (
    FOLDER,
    LIST_FILE,
    OLD_FILE,
    Content,
    IndexedName,
    PartList,
    Table,
    pack_path,
    read_pack,
    table_path,
)

INDEX = "acme/wsdarts-registry"


@dataclass(frozen=True, kw_only=True)
class IndexFiles:
    """The list of an index, its tables in order, and the contents of its packs in order."""

    listed: PartList
    tables: tuple[Table, ...]
    packs: tuple[dict[str, Content], ...]

    @property
    def names(self) -> dict[str, IndexedName]:
        """The newest entry of each name."""
        return {entry.name: entry for table in self.tables for entry in table.names}

    @property
    def digests(self) -> list[str]:
        """The digests in the packs, sorted."""
        return sorted(digest for pack in self.packs for digest in pack)


def api(hub: HubServer) -> HfApi:
    """Return a client that may write to the registry."""
    return HfApi(endpoint=hub.url, token=ALICE.token)


def read_file(hub: HubServer, path: str) -> bytes:
    """Return a file of the index's repository."""
    found = api(hub).hf_hub_download(INDEX, path, repo_type="dataset", force_download=True)
    return Path(found).read_bytes()


def read_index(hub: HubServer) -> IndexFiles:
    """Return the index on a hub; fails where files lie about that it does not list."""
    listed = PartList.from_bytes(read_file(hub, LIST_FILE), what="list", error=RegistryError)
    files = set(api(hub).list_repo_files(INDEX, repo_type="dataset"))
    assert {path for path in files if path.startswith(FOLDER)} == set(listed.paths)
    return IndexFiles(
        listed=listed,
        tables=tuple(
            Table.from_bytes(read_file(hub, table_path(r)), what="table") for r in listed.tables
        ),
        packs=tuple(read_pack(read_file(hub, pack_path(record))) for record in listed.packs),
    )


def write_files(hub: HubServer, files: Mapping[str, bytes | None]) -> None:
    """Replace files of the index's repository; None deletes one."""
    operations = [
        CommitOperationDelete(path) if content is None else CommitOperationAdd(path, content)
        for path, content in files.items()
    ]
    api(hub).create_commit(INDEX, operations, commit_message="spoil", repo_type="dataset")


def forge(hub: HubServer, table: Table) -> None:
    """Add a table to the list, as somebody would who may write."""
    content = table.to_bytes()
    listed = read_index(hub).listed
    record = file_record(content)
    forged = listed.model_copy(update={"tables": (*listed.tables, record)})
    write_files(hub, {table_path(record): content, LIST_FILE: forged.to_bytes()})


def old_index(names: Mapping[str, IndexedName], contents: Mapping[str, Content]) -> bytes:
    """Return the bytes of ``index.safetensors``, as earlier versions wrote it."""
    arrays = {
        f"{digest[7:]}/{path}": np.frombuffer(data, np.uint8)
        for digest, content in sorted(contents.items())
        for path, data in {MANIFEST: content.manifest, **content.embeddings}.items()
    }
    entries = [names[name].model_dump(mode="json") for name in sorted(names)]
    return write_tensors(arrays, {"format": 1, "names": entries})


def write_old_index(hub: HubServer) -> None:
    """Replace an index by one as earlier versions wrote it."""
    index = read_index(hub)
    contents = {digest: content for pack in index.packs for digest, content in pack.items()}
    parts = dict.fromkeys((LIST_FILE, *index.listed.paths))
    write_files(hub, {OLD_FILE: old_index(index.names, contents), **parts})
