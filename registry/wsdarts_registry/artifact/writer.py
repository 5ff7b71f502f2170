"""Writing artifacts: new ones from drafts, copies, and published ones with another card.

The form of an artifact to publish is verified when it is made. The bytes of its largest files are
verified once, where they are taken away: while they are copied, or by the client that sends them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from numpy.typing import NDArray
from pydantic import ValidationError

from wsdarts_registry import _json
from wsdarts_registry._files import inside, is_vacant, staged, write_flushed
from wsdarts_registry._format import pluralize
from wsdarts_registry._json import FORMAT, MAX_RECORD_BYTES, explain
from wsdarts_registry._tensors import write_tensors
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.artifact import contents
from wsdarts_registry.artifact.checked_files import (
    check_file,
    checksum_line,
    file_record,
    read_limited,
)
from wsdarts_registry.artifact.contents import Ranked
from wsdarts_registry.artifact.manifest import (
    CARD,
    CHECK,
    CHECKSUM,
    EMBEDDINGS,
    GENOTYPE,
    MANIFEST,
    MASKS,
    PICTURE,
    WEIGHTS,
    EmbeddingRecord,
    EmbeddingSpaceRecord,
    Lineage,
    Manifest,
    NetworkRecord,
    Provenance,
    SpaceRecord,
    TaskRecord,
)
from wsdarts_registry.artifact.reader import (
    HEAVY,
    Artifact,
    check_form,
    check_text,
    read_artifact,
)
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.errors import ArtifactError, RegistryError


@dataclass(frozen=True, kw_only=True)
class ArtifactDraft:
    """The content of a new artifact.

    Attributes:
        kind: ``"transfer"`` (one task) or ``"meta-transfer"`` (several).
        tasks: The tasks that were searched on.
        network: The supernet of the last stage.
        genotype: The cells derived from α.
        ranked: For each cell kind and edge the surviving candidates with their
            probabilities, strongest first.
        stage_masks: The operation masks after each stage.
        embeddings: Task embeddings, one for each task in each embedding space; the means of
            a meta-transfer artifact are added.
        weights: Supernet weights without the classifier, and α as ``alpha.normal`` and
            ``alpha.reduction``, shape ``(edges, candidates)``; None for a bare λ.
        check: ``input`` and ``output`` of the network with these weights, or None.
        config: Settings of the search, as plain JSON data.
        metrics: Figures by name, finite.
        provenance: How it came to be.
        lineage: What the search started from.
        license: SPDX identifier or empty.
        description: A few words on it.
        files: Further files by path: ``README.md`` (the model card), drawings.
    """

    kind: Literal["transfer", "meta-transfer"]
    tasks: Sequence[TaskRecord]
    network: NetworkRecord
    genotype: Genotype
    ranked: Ranked
    stage_masks: Sequence[OperationMasks]
    provenance: Provenance
    embeddings: Sequence[TaskEmbedding] = ()
    weights: Mapping[str, NDArray[Any]] | None = None
    check: Mapping[str, NDArray[Any]] | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, int | float] = field(default_factory=dict)
    lineage: Lineage = field(default_factory=lambda: Lineage(mode="cold", parents=()))
    license: str = ""
    description: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)


def write_artifact(directory: str | Path, draft: ArtifactDraft) -> str:
    """Write an artifact into a new or empty directory, whole or not at all.

    Returns:
        Its digest.

    Raises:
        ArtifactError: The draft does not hold together, or the directory is not empty or
            cannot be written.
    """
    files, records = _encode(draft)
    return _write(Path(directory), _manifest(draft, files, records), files)


def rewrite_artifact(
    artifact: Artifact,
    directory: str | Path,
    *,
    manifest: Manifest,
    replaced: Mapping[str, bytes],
) -> str:
    """Write a changed copy of an artifact into a new or empty directory.

    Args:
        artifact: A verified artifact.
        directory: Where the copy goes.
        manifest: Its manifest with changes; the list of files is made anew.
        replaced: Files of the copy that are new or have other content, by path.

    Returns:
        The digest of the copy.

    Raises:
        ArtifactError: The result does not hold together, the artifact changed since it was
            read, or the directory is not empty or cannot be written.
    """
    records = {path: file_record(content) for path, content in replaced.items()}
    changed = manifest.model_copy(update={"files": {**artifact.manifest.files, **records}})
    return _write(Path(directory), changed, replaced, artifact)


def _write(
    target: Path,
    manifest: Manifest,
    files: Mapping[str, bytes],
    rest: Artifact | None = None,
) -> str:
    """Write the manifest and all of its files: from ``files``, else copied from ``rest``."""
    content = manifest.to_bytes()
    Manifest.from_bytes(content, what="the new manifest")
    hexadecimal = hashlib.sha256(content).hexdigest()
    try:
        if not is_vacant(target):
            raise ArtifactError(f"{target} is not empty", expected="a new or empty directory")
        with staged(target) as staging:
            for path in manifest.files:
                if path in files:
                    write_flushed(inside(staging, path), files[path])
                elif rest is not None:
                    rest.copy_file(path, staging)
            write_flushed(staging / MANIFEST, content)
            write_flushed(staging / CHECKSUM, checksum_line(hexadecimal))
            read_artifact(staging, f"sha256:{hexadecimal}")
    except OSError as error:
        raise ArtifactError(
            f"cannot write the artifact {target}: {error.strerror}",
            hint="nothing was written: free some space or name another directory",
        ) from error
    return f"sha256:{hexadecimal}"


def _encode(draft: ArtifactDraft) -> tuple[dict[str, bytes], tuple[EmbeddingRecord, ...]]:
    if not draft.stage_masks:
        raise ArtifactError(
            "the draft has no operation masks", expected="those of one stage or more"
        )
    if any(masks.space != draft.genotype.space for masks in draft.stage_masks):
        raise ArtifactError("the operation masks are of another search space than the genotype")
    files = {
        GENOTYPE: contents.write_genotype(draft.genotype, draft.ranked),
        MASKS: contents.write_masks(draft.stage_masks),
    }
    for path, tensors in ((WEIGHTS, draft.weights), (CHECK, draft.check)):
        if tensors is not None:
            files[path] = write_tensors(tensors)
    embedding_files, records = _encode_embeddings(draft)
    files |= embedding_files
    taken = sorted(files.keys() & draft.files.keys())
    if taken:
        raise ArtifactError(
            f"{', '.join(taken)} is written by wsdarts-hub", hint="choose another path"
        )
    return files | dict(draft.files), records


def _encode_embeddings(
    draft: ArtifactDraft,
) -> tuple[dict[str, bytes], tuple[EmbeddingRecord, ...]]:
    """Return files and records of the embeddings of each space, in the order of the tasks."""
    digests = [task.digest for task in draft.tasks]
    files: dict[str, bytes] = {}
    records: list[EmbeddingRecord] = []

    def add(path: str, embedding: TaskEmbedding, tasks: Sequence[str]) -> None:
        space = EmbeddingSpaceRecord.model_validate(embedding.space.to_json())
        files[path] = embedding.to_bytes()
        records.append(EmbeddingRecord(file=path, space=space, tasks=tuple(tasks)))

    for space in dict.fromkeys(embedding.space for embedding in draft.embeddings):
        here = {e.task_digest: e for e in draft.embeddings if e.space == space}
        count = sum(embedding.space == space for embedding in draft.embeddings)
        if set(here) != set(digests) or count != len(digests):
            raise ArtifactError(
                f"{pluralize(count, 'embedding')} by {space} for {pluralize(len(digests), 'task')}",
                expected="one for each task of the draft and no other",
            )
        ordered = [here[digest] for digest in digests]
        add(f"{EMBEDDINGS}/{space.key}.safetensors", TaskEmbedding.mean(ordered), digests)
        if len(ordered) > 1:
            for number, embedding in enumerate(ordered, start=1):
                path = f"{EMBEDDINGS}/{space.key}--{number}.safetensors"
                add(path, embedding, [embedding.task_digest])
    return files, tuple(records)


def _manifest(
    draft: ArtifactDraft, files: Mapping[str, bytes], records: tuple[EmbeddingRecord, ...]
) -> Manifest:
    space = draft.genotype.space
    try:
        return Manifest(
            format=FORMAT,
            kind=draft.kind,
            space=SpaceRecord(nodes=space.nodes, candidates=space.candidates),
            tasks=tuple(draft.tasks),
            network=draft.network,
            embeddings=records,
            # Through JSON and back, so that tuples are lists and the manifest equals its file.
            config=_json.load(_json.dump(dict(draft.config)), what="the config"),
            metrics=dict(draft.metrics),
            provenance=draft.provenance,
            lineage=draft.lineage,
            license=draft.license,
            description=draft.description,
            files={path: file_record(content) for path, content in files.items()},
        )
    except ValidationError as problem:
        raise ArtifactError(f"the draft does not hold together: {explain(problem)}") from problem


def copied_out(artifact: Artifact, target: Path) -> Artifact:
    """Copy a verified artifact into a new or empty directory, whole or not at all.

    Raises:
        ArtifactError: It changed since it was read.
        RegistryError: The directory is not empty or cannot be written.
    """
    try:
        if not is_vacant(target):
            raise RegistryError(f"{target} is not empty", hint="name a new or empty directory")
        with staged(target) as directory:
            artifact.copy_to(directory)
    except OSError as error:
        raise RegistryError(
            f"cannot write {target}: {error.strerror}", hint="name another directory"
        ) from error
    return replace(artifact, directory=target)


_REPLACEABLE = (CARD, PICTURE)


@dataclass(frozen=True, kw_only=True, eq=False)
class Edition:
    """An artifact to publish; made by ``of`` or ``changed``.

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
                f"{', '.join(others)} cannot be replaced when an artifact is published",
                hint=f"only {' and '.join(_REPLACEABLE)} can",
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
        """Check the form of a file again, after its bytes were verified where they are.

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
