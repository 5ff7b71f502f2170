"""Reading and verification of artifacts, the results of Transfer Architecture Search.

Reading verifies everything: the checksum of the manifest, size and sha256 of each file,
that no other file is there, and that genotype, masks, weights and embeddings belong to the
manifest's search space and tasks. What has been read is therefore safe to use.
"""

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from wsdarts_registry import _json, _tensors
from wsdarts_registry._files import inside, write_flushed
from wsdarts_registry._json import MAX_RECORD_BYTES
from wsdarts_registry._views import Viewable
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.artifact import contents
from wsdarts_registry.artifact.checked_files import (
    check_file,
    copy_checked,
    list_files,
    read_checked,
    read_limited,
    read_manifest,
    read_start,
)
from wsdarts_registry.artifact.contents import Ranked, Tensors, check_svg
from wsdarts_registry.artifact.manifest import (
    CARD,
    CHECK,
    CHECKSUM,
    GENOTYPE,
    MANIFEST,
    MASKS,
    WEIGHTS,
    EmbeddingRecord,
    Manifest,
    described,
)
from wsdarts_registry.embedding.embedding import EmbeddingSpace, TaskEmbedding, mean_task_digest
from wsdarts_registry.errors import ArtifactError, EmbeddingError

# What only a search from the weights needs, and by far the most of an artifact's bytes.
HEAVY = frozenset({WEIGHTS, CHECK})
_MAX_TEXT_BYTES = 4 * 2**20
_MAX_MASK_BYTES = 4 * 2**20
MAX_EMBEDDING_BYTES = 8 * 2**20


@dataclass(frozen=True, kw_only=True, eq=False)
class Artifact(Viewable):
    """A verified artifact in a directory.

    Attributes:
        directory: Where its files are.
        digest: ``"sha256:…"`` of ``artifact.json``, which covers every other file.
        manifest: What it is.
        genotype: The discrete cells derived from α.
        ranked: For each cell kind and edge the surviving candidates with their
            probabilities, strongest first.
        stage_masks: The operation masks after each stage.
        embeddings: Every task embedding in it, in the order of the manifest.
    """

    directory: Path
    digest: str
    manifest: Manifest
    genotype: Genotype
    ranked: Ranked
    stage_masks: tuple[OperationMasks, ...]
    embeddings: tuple[TaskEmbedding, ...]

    def __repr__(self) -> str:
        return f"<Artifact {self.digest[:19]}…: {described(self.manifest)}>"

    @property
    def masks(self) -> OperationMasks:
        """λ: the operation masks that are left after the last stage."""
        return self.stage_masks[-1]

    @property
    def has_weights(self) -> bool:
        """Whether this is a λ̂, with supernet weights and α."""
        return WEIGHTS in self.manifest.files

    @property
    def card(self) -> str | None:
        """Markdown of the model card; None if there is none."""
        if CARD not in self.manifest.files:
            return None
        return self.read(CARD).decode()

    def embedding(self, space: EmbeddingSpace) -> TaskEmbedding:
        """Return the embedding that ranks this artifact: of its task, or its tasks' mean.

        Raises:
            EmbeddingError: It has none in that space; names both.
        """
        record = self.manifest.ranking_record(space)
        if record is None:
            spaces = {str(r.space.embedding_space) for r in self.manifest.embeddings}
            raise EmbeddingError(
                f"the artifact in {self.directory} has no embedding by {space}",
                hint=f"it has {' and '.join(sorted(spaces)) or 'none'}: embed the query by those",
            )
        return self.embeddings[self.manifest.embeddings.index(record)]

    def task_embeddings(self, space: EmbeddingSpace) -> tuple[TaskEmbedding, ...]:
        """Return the embeddings of single tasks in one space, in the order of the manifest."""
        single = {task.digest for task in self.manifest.tasks}
        return tuple(e for e in self.embeddings if e.space == space and e.task_digest in single)

    def weights(self) -> Tensors | None:
        """Return supernet weights and α (``alpha.normal``, ``alpha.reduction``); None for a bare λ.

        Raises:
            ArtifactError: The file changed since, or holds a number that is not finite.
        """
        return contents.read_finite(self.read(WEIGHTS), what=WEIGHTS) if self.has_weights else None

    def check(self) -> Tensors | None:
        """Return ``input`` and ``output`` that prove that the weights load right; None without.

        Raises:
            ArtifactError: The file changed since, or holds a number that is not finite.
        """
        if CHECK not in self.manifest.files:
            return None
        return contents.read_finite(self.read(CHECK), what=CHECK)

    def read(self, path: str) -> bytes:
        """Return the content of one file of the manifest, verified again.

        Raises:
            ArtifactError: The manifest has no such file, or it changed since.
        """
        if path not in self.manifest.files:
            raise ArtifactError(
                f"the artifact has no file {path!r}",
                hint=f"it has {', '.join(self.manifest.files)}",
            )
        return read_checked(self.directory, path, self.manifest.files[path])

    def copy_to(self, directory: Path) -> None:
        """Copy every file into an empty directory, flushed to the disk and verified on the way.

        Raises:
            ArtifactError: A file changed since.
            OSError: The directory cannot be written.
        """
        for path in (MANIFEST, CHECKSUM):
            write_flushed(directory / path, read_limited(self.directory, path, MAX_RECORD_BYTES))
        read_manifest(directory, self.digest)
        for path in self.manifest.files:
            self.copy_file(path, directory)

    def copy_file(self, path: str, directory: Path) -> None:
        """Copy one file of the manifest into a directory, flushed and verified on the way.

        Raises:
            ArtifactError: The file changed since.
            OSError: The directory cannot be written.
        """
        target = inside(directory, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        copy_checked(self.directory, path, self.manifest.files[path], target)
        if path in HEAVY:  # their form was looked at before their bytes were known to be right
            check_form(directory, self.manifest, path)


def read_artifact(
    directory: str | Path,
    expected_digest: str | None = None,
    *,
    without: Set[str] = frozenset(),
    unhashed: Set[str] = frozenset(),
) -> Artifact:
    """Read an artifact and verify all of it.

    Args:
        directory: Directory with ``artifact.json``.
        expected_digest: ``"sha256:…"`` that it must have.
        without: Files of the manifest that must not be there.
        unhashed: Tensor files of which only size and form are looked at, by a caller that
            verifies their bytes while taking them away.

    Raises:
        ArtifactError: Anything about it that ``docs/format.md`` does not allow.
    """
    root = Path(directory)
    present = list_files(root)
    manifest, digest = read_manifest(root, expected_digest)
    _check_present(root, present, manifest.files.keys() - without)
    genotype, ranked, stage_masks = read_cells(root, manifest)
    embeddings = tuple(read_embedding(root, manifest, record) for record in manifest.embeddings)
    done = {MASKS, GENOTYPE, *(record.file for record in manifest.embeddings), *without}
    for path in manifest.files:
        if path in done:
            continue
        if path not in unhashed:
            _check_bytes(root, manifest, path)
        elif path.endswith(".safetensors"):
            check_form(root, manifest, path)
    return Artifact(
        directory=root,
        digest=digest,
        manifest=manifest,
        genotype=genotype,
        ranked=ranked,
        stage_masks=stage_masks,
        embeddings=embeddings,
    )


def read_cells(
    root: Path, manifest: Manifest
) -> tuple[Genotype, Ranked, tuple[OperationMasks, ...]]:
    """Read and verify the genotype, the ranked candidates and the masks of an artifact.

    Raises:
        ArtifactError: They are damaged, malformed, or do not belong to the manifest's space.
    """
    stage_masks = contents.read_masks(
        _small(root, manifest, MASKS, _MAX_MASK_BYTES), manifest.search_space
    )
    genotype, ranked = contents.read_genotype(
        _small(root, manifest, GENOTYPE, _MAX_TEXT_BYTES), stage_masks[-1]
    )
    return genotype, ranked, stage_masks


def read_embedding(root: Path, manifest: Manifest, record: EmbeddingRecord) -> TaskEmbedding:
    """Read and verify one embedding of an artifact.

    Raises:
        ArtifactError: It is damaged, malformed, or of another space or task than recorded.
    """
    content = _small(root, manifest, record.file, MAX_EMBEDDING_BYTES)
    return parse_embedding(content, record, where=str(root))


def parse_embedding(content: bytes, record: EmbeddingRecord, *, where: str) -> TaskEmbedding:
    """Read an embedding of an artifact, whose size and sha256 were checked.

    Raises:
        ArtifactError: It is malformed, or of another space or task than recorded.
    """
    try:
        embedding = TaskEmbedding.from_bytes(content, what=record.file)
    except EmbeddingError as error:
        raise ArtifactError(f"the artifact in {where} is malformed: {error}") from error
    if embedding.space != record.space.embedding_space:
        raise ArtifactError(
            f"{record.file} in {where} is by {embedding.space}",
            expected=f"{record.space.embedding_space}, as the manifest says",
        )
    if embedding.task_digest != mean_task_digest(record.tasks):
        raise ArtifactError(f"{record.file} in {where} is of another task than the manifest says")
    return embedding


def _check_present(root: Path, present: set[str], files: Set[str]) -> None:
    expected = {MANIFEST, CHECKSUM, *files}
    for what, paths in (("lacks", expected - present), ("also holds", present - expected)):
        if paths:
            listed = ", ".join(repr(path) for path in sorted(paths)[:5])
            raise ArtifactError(
                f"the artifact in {root} {what} {listed}",
                expected="exactly the files of its manifest",
                hint="fetch it again",
            )


def _small(root: Path, manifest: Manifest, path: str, limit: int) -> bytes:
    size = manifest.files[path].size
    if size > limit:
        raise ArtifactError(f"{root / path} has {size} bytes", expected=f"at most {limit}")
    return read_checked(root, path, manifest.files[path])


def _check_bytes(root: Path, manifest: Manifest, path: str) -> None:
    """Check a file that is not read into the artifact: weights, check, card, drawings."""
    if path.endswith(".safetensors"):
        check_file(root, path, manifest.files[path])
        check_form(root, manifest, path)
    else:
        check_text(path, _small(root, manifest, path, _MAX_TEXT_BYTES), where=root)


def check_text(path: str, content: bytes, *, where: Path | None = None) -> None:
    """Check the form of a file of text: a card, a drawing, plain JSON.

    Raises:
        ArtifactError: It is not what its name says.
    """
    what = path if where is None else str(where / path)
    if path.endswith(".json"):
        _json.load(content, what=path)
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{what} is not UTF-8 text") from error
    if path.endswith(".svg"):
        check_svg(content, what=path)


def check_form(root: Path, manifest: Manifest, path: str) -> None:
    """Check size and header of a file of tensors, without reading the tensors.

    Raises:
        ArtifactError: The file is missing, has another size, or is malformed.
    """
    record = manifest.files[path]
    start = read_start(root, path, 8, size=record.size)
    length = _tensors.header_length(start, record.size, what=path)
    header = _tensors.read_header(read_start(root, path, length), record.size, what=path)
    if path == WEIGHTS:
        contents.check_weights_header(header, manifest.search_space)
    elif path == CHECK:
        contents.check_check_header(header, manifest.network)
