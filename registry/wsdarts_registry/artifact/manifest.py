"""The manifest of an artifact, ``artifact.json``: its facts and its files.

The models here are the format. ``docs/format.md`` explains it and
``docs/schema/artifact.schema.json`` is generated from them.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from wsdarts_registry._format import count, pluralize
from wsdarts_registry._json import (
    Count,
    Digest,
    Document,
    FilePath,
    Key,
    Line,
    Moment,
    Record,
    ShortText,
    Text,
)
from wsdarts_registry._text import sanitize
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_registry.embedding.embedding_space import EmbeddingSpace
from wsdarts_registry.errors import WsdartsError

_PART = r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
DATASET_ID_PATTERN = rf"^({_PART}/)?{_PART}$"
"""All of the Hub's rule but what ``is_dataset_id`` adds: JSON Schema's and Rust's patterns can say
no more."""
_DATASET_ID = re.compile(DATASET_ID_PATTERN, re.ASCII)


def is_dataset_id(text: str) -> bool:
    """Return whether a text can be the id of a dataset on the Hub.

    The rule is that of ``huggingface_hub.utils.validate_repo_id``, without importing that library:
    what lists a registry must not wait for it.
    """
    return (
        _DATASET_ID.fullmatch(text) is not None
        and "--" not in text
        and ".." not in text
        and not text.endswith(".git")
    )


MANIFEST = "artifact.json"
CHECKSUM = "artifact.sha256"
GENOTYPE = "genotype.json"
MASKS = "op_masks.safetensors"
WEIGHTS = "weights.safetensors"
CHECK = "check.safetensors"
CARD = "README.md"
PICTURE = "cells.svg"
EMBEDDINGS = "embeddings"
MAX_FILES = 64
MAX_TOTAL_BYTES = 4 * 2**30


class SpaceRecord(Record):
    """The search space: intermediate nodes, and candidate operations in the order of α."""

    nodes: Annotated[int, Field(ge=1, le=64)]
    candidates: Annotated[tuple[Line, ...], Field(min_length=1, max_length=64)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        _valid(lambda: self.search_space)
        return self

    @property
    def search_space(self) -> SearchSpace:
        """The space as the value that masks and genotypes hold."""
        return SearchSpace(nodes=self.nodes, candidates=self.candidates)


def _dataset_id(text: str) -> str:
    if not is_dataset_id(text):
        raise ValueError("expected the id of a dataset on the Hub, without '--', '..' or '.git'")
    return text


DatasetId = Annotated[
    str, Field(max_length=200, pattern=DATASET_ID_PATTERN), AfterValidator(_dataset_id)
]


class SplitRecord(Record):
    """Images of a task in each part of a split that they came with.

    Of ``train`` alone the search read; ``test`` is None where there are two parts.
    """

    train: Count
    validation: Count
    test: Count | None = None

    @property
    def held_out(self) -> str:
        """Name of the part that a training is evaluated on."""
        return "validation" if self.test is None else "test"

    def __str__(self) -> str:
        """Return it as it is shown: ``train 12, validation 6``."""
        parts = self.model_dump(exclude_none=True)
        return ", ".join(f"{part} {count(images)}" for part, images in parts.items())


class TaskRecord(Record):
    """A task that was searched on; ``image_size`` is the side that images were resized to.

    ``dataset`` is the id on the Hub of the dataset that its images are from, if it was read from
    there. It is a label: what the task is, the digest alone says. ``split`` is there if the images
    came with a split of their own, which the digest then covers. ``groups`` is there if images
    belong together in groups, each of which is in one part: how many these are.
    """

    name: Line
    digest: Digest
    images: Count
    classes: Count
    image_size: Count | None = None
    dataset: DatasetId | None = None
    split: SplitRecord | None = None
    groups: Count | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        split = self.split
        if split and split.train + split.validation + (split.test or 0) != self.images:
            raise ValueError(
                f"the parts of the split ({split}) are not its {pluralize(self.images, 'image')}"
            )
        if self.groups is not None and self.groups > self.images:
            raise ValueError(
                f"{pluralize(self.groups, 'group')} of {pluralize(self.images, 'image')}"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_missing(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Manifests from before there were such keys keep their bytes, and so their digests.
        data: dict[str, Any] = write(self)
        for key in ("dataset", "split", "groups"):
            if getattr(self, key) is None:
                data.pop(key, None)
        return data


class EmbeddingSpaceRecord(Record):
    """Probe and estimator of an embedding."""

    probe: Line
    probe_digest: Digest
    estimator: Line
    version: Count
    settings: Annotated[
        dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")], Line | int | float],
        Field(max_length=64),
    ]

    @model_validator(mode="after")
    def _check(self) -> Self:
        _valid(lambda: self.embedding_space)
        return self

    @property
    def embedding_space(self) -> EmbeddingSpace:
        """The space as the value that spaces are compared by."""
        return EmbeddingSpace.from_json(self.model_dump())


class EmbeddingRecord(Record):
    """An embedding file, and the tasks (by digest) that it is the embedding or the mean of."""

    file: FilePath
    space: EmbeddingSpaceRecord
    tasks: Annotated[tuple[Digest, ...], Field(min_length=1)]


class NetworkRecord(Record):
    """The supernet of the last stage; weights, if there are any, fit this one."""

    cells: Annotated[int, Field(ge=1, le=1000)]
    channels: Annotated[int, Field(ge=1, le=100_000)]
    image_size: Annotated[int, Field(ge=1, le=100_000)]


class Provenance(Record):
    """The making of the artifact; ``created`` is UTC, ``seconds`` is wall time."""

    code_version: Line
    libraries: Annotated[dict[Line, Line], Field(max_length=200)]
    hardware: Line
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    seconds: Annotated[float, Field(ge=0)]
    created: Moment


class Parent(Record):
    """An artifact that this one was started from; the digest decides, the reference is a hint."""

    reference: Line
    digest: Digest


class Lineage(Record):
    """Parents of an artifact and its mode of search (``cold``, ``topology``, ``trained``, …)."""

    mode: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    parents: Annotated[tuple[Parent, ...], Field(max_length=64)]


class FileRecord(Record):
    """Size in bytes and sha256, in hex, of one file."""

    size: Annotated[int, Field(ge=0, le=MAX_TOTAL_BYTES)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Manifest(Document):
    """``artifact.json``: everything about an artifact that is not in its other files."""

    format: Literal[1]
    kind: Literal["transfer", "meta-transfer"]
    space: SpaceRecord
    tasks: Annotated[tuple[TaskRecord, ...], Field(min_length=1, max_length=1000)]
    network: NetworkRecord
    embeddings: Annotated[tuple[EmbeddingRecord, ...], Field(max_length=MAX_FILES)]
    config: Annotated[dict[str, JsonValue], Field(max_length=1000)]
    metrics: Annotated[dict[Key, int | float], Field(max_length=1000)]
    provenance: Provenance
    lineage: Lineage
    license: ShortText
    description: Text
    files: Annotated[dict[FilePath, FileRecord], Field(min_length=1, max_length=MAX_FILES)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_tasks()
        self._check_files()
        return self

    def _check_tasks(self) -> None:
        digests = [task.digest for task in self.tasks]
        if len(set(digests)) != len(digests):
            raise ValueError("a task stands twice")
        if (self.kind == "transfer") != (len(digests) == 1):
            raise ValueError(
                f"kind {self.kind} with {pluralize(len(digests), 'task')}; expected one task for "
                "transfer and several for meta-transfer"
            )
        seen = set()
        for record in self.embeddings:
            if len(record.tasks) != 1 and list(record.tasks) != digests:
                raise ValueError(f"{record.file}: expected one task, or all in order")
            if not set(record.tasks) <= set(digests):
                raise ValueError(f"{record.file} is of a task that the manifest does not name")
            if record.file not in self.files or not record.file.startswith(f"{EMBEDDINGS}/"):
                raise ValueError(f"{record.file} is not among the files in {EMBEDDINGS}/")
            identity = (record.space.embedding_space, record.tasks)
            if identity in seen:
                raise ValueError(f"{record.file}: two embeddings of one task in one space")
            seen.add(identity)
        if len({record.file for record in self.embeddings}) != len(self.embeddings):
            raise ValueError("two embeddings share one file")

    def _check_files(self) -> None:
        missing = {GENOTYPE, MASKS} - set(self.files)
        if missing:
            raise ValueError(f"{', '.join(sorted(missing))} is not among the files")
        if CHECK in self.files and WEIGHTS not in self.files:
            raise ValueError(f"{CHECK} without {WEIGHTS}, which it is to check")
        if sum(record.size for record in self.files.values()) > MAX_TOTAL_BYTES:
            raise ValueError(f"the files have more than {MAX_TOTAL_BYTES} bytes")
        names: dict[str, str] = {}
        for path in (*self.files, MANIFEST, CHECKSUM):
            parts = path.split("/")
            for depth in range(1, len(parts) + 1):
                whole = "/".join(parts[:depth])
                other = names.setdefault(whole.lower(), whole)
                if other != whole:
                    raise ValueError(f"paths {other!r} and {whole!r} differ only in case")
        for path in self.files:
            if path.lower() in (MANIFEST, CHECKSUM):
                raise ValueError(f"{path} describes itself")
            if any(other.startswith(f"{path}/") for other in self.files):
                raise ValueError(f"{path} is a file and a directory")

    @property
    def search_space(self) -> SearchSpace:
        """The search space as the value that masks and genotypes hold."""
        return self.space.search_space

    def ranking_record(self, space: EmbeddingSpace) -> EmbeddingRecord | None:
        """Return the embedding that ranks this artifact in a space: of its task, or the mean."""
        for record in self.embeddings:
            if len(record.tasks) == len(self.tasks) and record.space.embedding_space == space:
                return record
        return None


def own_files(manifest: Manifest) -> dict[str, FileRecord]:
    """Return the files that a search wrote: all but card and picture, which ``push`` writes."""
    return {path: r for path, r in manifest.files.items() if path not in (CARD, PICTURE)}


def same_but_for_card(first: Manifest, second: Manifest) -> bool:
    """Return whether two manifests differ at most in the files that ``push`` writes."""
    alike = second.model_copy(update={"files": first.files})
    return own_files(first) == own_files(second) and first == alike


def artifact_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``artifact.json``, generated from the models.

    What a schema cannot say (paths, text, sums, references between fields) stands in
    ``docs/format.md`` and is checked when a manifest is read.
    """
    schema = Manifest.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _valid(make: Callable[[], object]) -> None:
    """Turn our errors into ValueError, which pydantic collects with their place."""
    try:
        make()
    except WsdartsError as error:
        raise ValueError(str(error)) from error


_MOST_TASKS = 5
_LONGEST_NAME = 80


def described(manifest: Manifest) -> str:
    """Return its kind and the tasks that it was found on, sanitized, without a stop."""
    weights = WEIGHTS in manifest.files
    if manifest.kind == "meta-transfer":
        what = f"a meta-transfer architecture (λ_meta{', with weights' if weights else ''})"
    elif weights:
        what = "a trained transfer architecture (λ̂)"
    else:
        what = "a transfer architecture (λ, masks alone)"
    tasks = [
        f"{sanitize(task.name, _LONGEST_NAME)} ({pluralize(task.images, 'image')}, "
        f"{count(task.classes)} {'class' if task.classes == 1 else 'classes'})"
        for task in manifest.tasks[:_MOST_TASKS]
    ]
    more = len(manifest.tasks) - len(tasks)
    return f"{what} found on {', '.join(tasks)}{f' and {count(more)} more tasks' if more else ''}"
