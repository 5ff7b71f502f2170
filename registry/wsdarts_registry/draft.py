"""Writing artifacts: from values in hand to a directory that verifies."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray
from pydantic import ValidationError

from wsdarts_registry import contents, strict_json
from wsdarts_registry.artifact import Artifact, read_artifact
from wsdarts_registry.checked_files import file_record
from wsdarts_registry.contents import Ranked
from wsdarts_registry.embedding import TaskEmbedding
from wsdarts_registry.errors import ArtifactError
from wsdarts_registry.files import inside
from wsdarts_registry.genotype import Genotype
from wsdarts_registry.manifest import (
    CHECK,
    CHECKSUM,
    EMBEDDINGS,
    GENOTYPE,
    MANIFEST,
    MASKS,
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
from wsdarts_registry.manifest_file import checksum_line
from wsdarts_registry.masks import OperationMasks
from wsdarts_registry.records import FORMAT, explain
from wsdarts_registry.staging import is_vacant, staged, write_flushed
from wsdarts_registry.tensors import write_tensors


@dataclass(frozen=True, kw_only=True)
class ArtifactDraft:
    """Everything that an artifact is made of.

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
            raise ArtifactError(f"{target} is not empty; expected a new or empty directory")
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
            f"cannot write the artifact {target}: {error.strerror}; nothing was written: free "
            "some space or name another directory"
        ) from error
    return f"sha256:{hexadecimal}"


def _encode(draft: ArtifactDraft) -> tuple[dict[str, bytes], tuple[EmbeddingRecord, ...]]:
    if not draft.stage_masks:
        raise ArtifactError("the draft has no operation masks; expected those of one stage or more")
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
        raise ArtifactError(f"{', '.join(taken)} is written by wsdarts-hub; choose another path")
    return files | dict(draft.files), records


def _encode_embeddings(
    draft: ArtifactDraft,
) -> tuple[dict[str, bytes], tuple[EmbeddingRecord, ...]]:
    """Files and records of the embeddings of each space, in the order of the tasks."""
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
                f"there are {count} embeddings by {space} for {len(digests)} tasks; expected one "
                "for each task of the draft and no other"
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
            config=strict_json.load(strict_json.dump(dict(draft.config)), what="the config"),
            metrics=dict(draft.metrics),
            provenance=draft.provenance,
            lineage=draft.lineage,
            license=draft.license,
            description=draft.description,
            files={path: file_record(content) for path, content in files.items()},
        )
    except ValidationError as problem:
        raise ArtifactError(f"the draft does not hold together: {explain(problem)}") from problem
