"""What a registry in a directory keeps beside the versions of one name.

Each record is a small file of its own, so that two processes never write the same one for
different reasons.
"""

from dataclasses import dataclass
from pathlib import Path

from wsdarts_registry.checked_files import read_limited
from wsdarts_registry.entry import Alias, Status, Yank
from wsdarts_registry.errors import ArtifactError, RecordError, RegistryError
from wsdarts_registry.files import entries, exists, write_atomically
from wsdarts_registry.records import MAX_RECORD_BYTES
from wsdarts_registry.reference import is_alias

_ALIASES = "aliases"
_SUFFIX = ".json"


@dataclass(frozen=True)
class DirectoryRecords:
    """The records of one name.

    Every method raises RecordError for a malformed record, and OSError as files do.

    Attributes:
        folder: Where the versions of the name are.
    """

    folder: Path

    def aliases(self) -> dict[str, int]:
        """The aliases of the name and the version that each means."""
        found = {alias: self._alias(alias) for alias in self._alias_names()}
        return {alias: record.version for alias, record in found.items() if record is not None}

    def status(self, version: int) -> Status:
        """Everything that is said of one version; an alias that is malformed means none."""
        return Status(
            yank=self._yank(version),
            aliases=tuple(alias for alias in self._alias_names() if self._means(alias, version)),
            signed=exists(self._signature(version)),
        )

    def readable_status(self, version: int) -> Status:
        """As ``status``; of a version whose record is malformed nothing is said."""
        try:
            return self.status(version)
        except RecordError:
            return Status()

    def signature(self, version: int) -> bytes | None:
        """The signature of a version; None if it was not signed."""
        path = self._signature(version)
        return _read(path, "the signature") if exists(path) else None

    def write_yank(self, version: int, yank: Yank) -> None:
        """Replace the record of a yank."""
        write_atomically(self._yanked(version), yank.to_bytes())

    def write_alias(self, alias: str, record: Alias | None) -> None:
        """Replace the record of an alias, or remove it."""
        path = self._alias_path(alias)
        if record is None:
            path.unlink(missing_ok=True)
        else:
            write_atomically(path, record.to_bytes())

    def write_signature(self, version: int, signature: bytes) -> None:
        """Replace a signature."""
        write_atomically(self._signature(version), signature)

    def _alias_names(self) -> list[str]:
        folder = self.folder / _ALIASES
        found = [path.name for path in entries(folder)]
        names = [file.removesuffix(_SUFFIX) for file in found if file.endswith(_SUFFIX)]
        return [name for name in names if is_alias(name)]

    def _means(self, alias: str, version: int) -> bool:
        try:
            record = self._alias(alias)
        except RecordError:
            return False
        return record is not None and record.version == version

    def _yank(self, version: int) -> Yank | None:
        path = self._yanked(version)
        if not exists(path):
            return None
        content = _read(path, f"why {self.folder.name}@{version} was yanked")
        return Yank.from_bytes(content, what=str(path), error=RecordError)

    def _alias(self, alias: str) -> Alias | None:
        """The record of an alias; None if it was removed since it was listed."""
        path = self._alias_path(alias)
        try:
            content = _read(path, f"what {self.folder.name}@{alias} means")
        except RegistryError as error:
            if error.__cause__ and isinstance(error.__cause__.__cause__, FileNotFoundError):
                return None
            raise
        return Alias.from_bytes(content, what=str(path), error=RecordError)

    def _yanked(self, version: int) -> Path:
        return self.folder / f"v{version}.yanked{_SUFFIX}"

    def _signature(self, version: int) -> Path:
        return self.folder / f"v{version}.signature{_SUFFIX}"

    def _alias_path(self, alias: str) -> Path:
        return self.folder / _ALIASES / f"{alias}{_SUFFIX}"


def _read(path: Path, what: str) -> bytes:
    try:
        return read_limited(path.parent, path.name, MAX_RECORD_BYTES)
    except ArtifactError as error:
        raise RecordError(f"cannot read {what}: {error}") from error
