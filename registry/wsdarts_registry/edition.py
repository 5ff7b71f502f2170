"""An artifact as it is to be published: the files of a directory, some of them written anew.

Its form is verified when it is made. The bytes of its largest files are verified once, by whoever
takes them away: while they are copied, or by the client that sends them. So what is published is
what was verified, and nothing is hashed twice that cannot have changed in between.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from wsdarts_registry.artifact import (
    HEAVY,
    Artifact,
    check_form,
    check_text,
    read_artifact,
)
from wsdarts_registry.checked_files import check_file, file_record, read_limited
from wsdarts_registry.errors import ArtifactError
from wsdarts_registry.files import inside
from wsdarts_registry.manifest import CARD, CHECKSUM, MANIFEST, PICTURE, Manifest
from wsdarts_registry.manifest_file import checksum_line
from wsdarts_registry.records import MAX_RECORD_BYTES
from wsdarts_registry.staging import write_flushed

_REPLACEABLE = (CARD, PICTURE)


@dataclass(frozen=True, kw_only=True, eq=False)
class Edition:
    """What is to be published; made by ``of`` or ``changed``.

    Attributes:
        source: Where the files are, verified but for the bytes of the largest ones.
        manifest: What it will be.
        content: ``artifact.json``, byte by byte.
        replaced: Model card and picture, where they are written anew, by path.
    """

    source: Artifact
    manifest: Manifest
    content: bytes
    replaced: Mapping[str, bytes]

    @classmethod
    def of(cls, directory: str | Path) -> Self:
        """Return the artifact of a directory as it is.

        Raises:
            ArtifactError: It does not verify.
        """
        source = read_artifact(directory, unhashed=HEAVY)
        content = read_limited(source.directory, MANIFEST, MAX_RECORD_BYTES)
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != source.digest:
            raise ArtifactError(f"{source.directory / MANIFEST} changed while it was read")
        return cls(source=source, manifest=source.manifest, content=content, replaced={})

    @classmethod
    def changed(cls, source: Artifact, manifest: Manifest, replaced: Mapping[str, bytes]) -> Self:
        """Return an artifact with another manifest, and with another card and picture.

        Args:
            source: The artifact.
            manifest: Its manifest with changes; the list of files is made anew.
            replaced: Card and picture, by path.

        Raises:
            ArtifactError: The result does not hold together.
        """
        others = sorted(replaced.keys() - set(_REPLACEABLE))
        if others:
            raise ArtifactError(
                f"{', '.join(others)} cannot be replaced when an artifact is published; only "
                f"{' and '.join(_REPLACEABLE)} can"
            )
        for path, content in replaced.items():
            check_text(path, content)
        records = {path: file_record(content) for path, content in replaced.items()}
        files = {**source.manifest.files, **records}
        content = manifest.model_copy(update={"files": files}).to_bytes()
        checked = Manifest.from_bytes(content, what="the new manifest")
        return cls(source=source, manifest=checked, content=content, replaced=replaced)

    @property
    def digest(self) -> str:
        """``"sha256:…"`` of the manifest, which covers every other file."""
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    @property
    def card(self) -> str:
        """Markdown of the model card; empty if there is none."""
        return self.read(CARD).decode() if CARD in self.manifest.files else ""

    @property
    def checksum(self) -> bytes:
        """Content of ``artifact.sha256``."""
        return checksum_line(self.digest.removeprefix("sha256:"))

    def read(self, path: str) -> bytes:
        """Return the content of one file of the manifest, verified.

        Raises:
            ArtifactError: It changed since.
        """
        return self.replaced[path] if path in self.replaced else self.source.read(path)

    def check_bytes(self) -> None:
        """Verify the bytes of the largest files, where nobody takes them away.

        Raises:
            ArtifactError: One is damaged.
        """
        for path in sorted(HEAVY & self.manifest.files.keys()):
            check_file(self.source.directory, path, self.manifest.files[path])

    def check_taken(self, path: str) -> None:
        """Look at the form of a file again, after its bytes were verified where they are.

        Raises:
            ArtifactError: It is malformed.
        """
        check_form(self.source.directory, self.manifest, path)

    def write_to(self, directory: Path) -> None:
        """Write every file into an empty directory, flushed to the disk, and verified on the way.

        Raises:
            ArtifactError: A file is damaged.
            OSError: The directory cannot be written.
        """
        for path in self.manifest.files:
            if path in self.replaced:
                write_flushed(inside(directory, path), self.replaced[path])
            else:
                self.source.copy_file(path, directory)
        write_flushed(directory / MANIFEST, self.content)
        write_flushed(directory / CHECKSUM, self.checksum)
