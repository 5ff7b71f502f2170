"""What of an artifact is sent to the Hub, and whether it can be."""

import re
from pathlib import Path

import yaml  # type: ignore[import-untyped, unused-ignore]
from huggingface_hub import CommitOperationAdd

from wsdarts_registry.artifact.manifest import CHECKSUM, MANIFEST, FileRecord
from wsdarts_registry.artifact.reader import HEAVY
from wsdarts_registry.artifact.writer import Edition
from wsdarts_registry.errors import ArtifactError, VersionConflictError
from wsdarts_registry.stores.huggingface.answers import State
from wsdarts_registry.stores.huggingface.client import TAG
from wsdarts_registry.stores.huggingface.record import RECORD, SIGNATURES

_HEAD = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)
# Larger files are sent from where they are; they are LFS files, named by their sha256.
_SMALL = 2**20


def check_publishable(edition: Edition) -> None:
    """Refuse what could not be found on the Hub, or would overwrite the record.

    Raises:
        ArtifactError: Its card does not say that it is ours, or a path is taken.
    """
    taken = [path for path in edition.manifest.files if path.split("/")[0] in (RECORD, SIGNATURES)]
    if taken:
        raise ArtifactError(
            f"the artifact has a file {taken[0]}, which on the Hub is the registry's own",
            hint="rename it",
        )
    if TAG not in _tags(edition.card):
        raise ArtifactError(
            (
                f"the card of the artifact does not say `library_name: {TAG}`, by which it is "
                "found on the Hub"
            ),
            hint="publish it with `wsdarts-hub push`, which writes the card",
        )


def operations(edition: Edition) -> list[CommitOperationAdd]:
    """The files of an artifact, verified as they are read.

    Raises:
        ArtifactError: One is damaged, or cannot be read.
    """
    found = [
        CommitOperationAdd(MANIFEST, edition.content),
        CommitOperationAdd(CHECKSUM, edition.checksum),
    ]
    for path, record in edition.manifest.files.items():
        if record.size <= _SMALL or path in edition.replaced:
            found.append(_added(path, edition.read(path)))
            continue
        found.append(_added(path, edition.source.directory / path, record))
        if path in HEAVY:
            edition.check_taken(path)
    return found


def _added(path: str, source: bytes | Path, record: FileRecord | None = None) -> CommitOperationAdd:
    """The addition of a file; of one on the disk the client hashes what it will send.

    The Hub stores that by its hash, and refuses bytes that have another one.
    """
    content = source if isinstance(source, bytes) else str(source.absolute())
    try:
        addition = CommitOperationAdd(path, content)
        sha256 = addition.upload_info.sha256.hex()
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be sent to the Hub: {error}") from error
    if record is not None and sha256 != record.sha256:
        raise ArtifactError(
            f"{source!s} has another sha256 than its manifest says",
            hint="the artifact is damaged or was changed: nothing was published",
        )
    return addition


def next_version(state: State, version: int | None, digest: str, name: str) -> int:
    """The number that a push takes, given what it found.

    Numbers of pushes that ended before their last step are taken, too: only the same content may
    go on with them.

    Raises:
        VersionConflictError: The version that is asked for was begun with other content.
    """
    begun = {found: number for number, found in state.untagged.items()}
    if version is None:
        return begun.get(digest) or max(state.record.digests, default=0) + 1
    other = state.untagged.get(version, digest)
    if other != digest:
        raise VersionConflictError(
            (
                f"{name}@{version} was begun with digest {other} by a push that did not end, and "
                f"what is pushed has {digest}"
            ),
            hint="versions are write-once: leave the version out to take the next",
        )
    return version


def _tags(card: str) -> set[str]:
    """The tags under which the Hub lists a repository with that card."""
    head = _HEAD.match(card)
    try:
        data = yaml.safe_load(head[1]) if head else None
    except yaml.YAMLError:
        return set()
    if not isinstance(data, dict):
        return set()
    tags = data.get("tags")
    listed = tags if isinstance(tags, list) else [tags]
    return {str(tag) for tag in (data.get("library_name"), *listed) if isinstance(tag, str)}
