"""Commands that read a registry: ``list``, ``show``, ``pull`` and ``verify``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import wsdarts_hub as hub
from wsdarts_hub.cli import display, options
from wsdarts_registry.amounts import count, size
from wsdarts_registry.errors import ArtifactError, ReferenceNotFoundError, SignatureError

if TYPE_CHECKING:
    from wsdarts_registry.artifact import Artifact
    from wsdarts_registry.entry import Entry
    from wsdarts_registry.manifest import Manifest

_SHOWN = 60


def list_artifacts(
    *,
    registry: options.RegistryOption = None,
    yanked: Annotated[
        bool, typer.Option("--yanked", help="List yanked versions, too, with the reason.")
    ] = False,
    quiet: options.QuietOption = False,
) -> None:
    """List the artifacts of a registry.

    Example:
        wsdarts-hub list

    Python:
        from wsdarts_hub import open_registry
        for entry in open_registry().entries():
            print(entry.reference, entry.manifest.kind)
    """
    store = hub.open_registry(registry)
    entries = store.entries(include_yanked=yanked)
    if quiet:
        for entry in entries:
            display.line(str(entry.reference))
    elif not entries:
        display.line(f"{store.location} has no artifacts yet; publish one with `wsdarts-hub push`")
    else:
        headers = ["reference", "kind", "tasks", "images", "classes", "probe", "created", "size"]
        rows = [_row(entry) for entry in entries]
        if any(entry.status.signed for entry in entries):
            headers.append("signed")
            for row, entry in zip(rows, entries, strict=True):
                row.append("signed" if entry.status.signed else "")
        if yanked:
            headers.append("yanked")
            for row, entry in zip(rows, entries, strict=True):
                row.append(entry.yanked.reason if entry.yanked else "")
        display.table(headers, rows, right=("images", "classes", "size"))


def show(
    reference: options.ReferenceArgument,
    *,
    registry: options.RegistryOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Show everything about one artifact, its cells drawn in text.

    Example:
        wsdarts-hub show digits@1

    Python:
        from wsdarts_hub import pull
        artifact = pull("digits@1")
        print(artifact.manifest, artifact.genotype)
    """
    from wsdarts_hub.cli import artifact_page  # noqa: PLC0415

    store = hub.open_registry(registry)
    entry = store.resolve(reference)
    artifact = store.pull(entry.reference)
    if as_json:
        display.drawing(json.dumps(artifact_page.as_json(entry, artifact), indent=2))
    elif quiet:
        display.line(f"{entry.reference} {entry.digest}")
    else:
        artifact_page.show(entry, artifact)


def pull(
    reference: options.ReferenceArgument,
    *,
    registry: options.RegistryOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="New or empty directory to copy it to. Without it, it is verified where it is.",
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Load the weights, too, and prove that they compute what they must (with torch).",
        ),
    ] = False,
    require_signature: options.RequireSignatureOption = False,
    public_key: options.PublicKeyOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Fetch an artifact and verify every file of it.

    Example:
        wsdarts-hub pull digits@1 --out digits --check

    Python:
        from wsdarts_hub import pull
        print(pull("digits@1", out="digits", check=True).genotype)
    """
    key = options.wanted_key(require_signature, public_key)
    artifact = hub.pull(reference, registry=registry, out=out, check=check, public_key=key)
    display.line(str(artifact.directory))
    if not quiet:
        display.facts([*_verified(artifact), *_signer(key)])


def verify(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="REF|DIR",
            help="NAME, NAME@3 or NAME@sha256:HEX, or the directory of an artifact or a run.",
            show_default=False,
        ),
    ],
    *,
    registry: options.RegistryOption = None,
    weights: Annotated[
        bool,
        typer.Option(
            "--weights",
            help="Load the weights, too, and prove that they compute what they must (with torch).",
        ),
    ] = False,
    require_signature: options.RequireSignatureOption = False,
    public_key: options.PublicKeyOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Verify every size, checksum and shape of an artifact.

    Example:
        wsdarts-hub verify digits@1 --weights

    Python:
        from wsdarts_hub import pull
        print(pull("digits@1").digest)
    """
    key = options.wanted_key(require_signature, public_key)
    artifact = _read(subject, registry, key)
    found = [*_verified(artifact), *_signer(key)]
    if weights:
        found.append(("weights", _check_weights(artifact)))
    display.line(f"verified: {subject}")
    if not quiet:
        display.facts(found)


def _row(entry: "Entry") -> list[str]:
    manifest = entry.manifest
    probes = dict.fromkeys(record.space.probe for record in manifest.embeddings)
    return [
        str(entry.reference),
        manifest.kind,
        _listed([task.name for task in manifest.tasks]),
        count(sum(task.images for task in manifest.tasks)),
        count(sum(task.classes for task in manifest.tasks)),
        _listed(list(probes)),
        manifest.provenance.created[:10],
        size(_total(manifest)),
    ]


def _listed(names: list[str]) -> str:
    text = ", ".join(names)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _read(subject: str, registry: str | None, key: Path | None) -> "Artifact":
    """The artifact in a directory or a run directory, else the one of that reference."""
    from wsdarts_registry.artifact import read_artifact  # noqa: PLC0415
    from wsdarts_registry.manifest import MANIFEST  # noqa: PLC0415

    path = Path(subject).expanduser()
    for directory in (path, path / "artifact"):
        if (directory / MANIFEST).is_file():
            if key is not None:
                raise SignatureError(
                    f"a signature lies in a registry, not in the directory {subject}; name the "
                    "artifact there, such as NAME@3 --registry DIR"
                )
            return read_artifact(directory)
    if "/" in subject or subject.startswith("."):
        what = f"holds no {MANIFEST}" if path.is_dir() else "is no directory"
        raise ArtifactError(
            f"{subject} {what}; expected the directory of an artifact or of a finished search, or "
            "a reference such as NAME@3"
        )
    try:
        return hub.pull(subject, registry=registry, public_key=key)
    except ReferenceNotFoundError as error:
        what = f"no {MANIFEST} in the directory" if path.is_dir() else "no directory"
        raise ReferenceNotFoundError(f"there is {what} {subject}, and {error}") from error


def _signer(key: Path | None) -> list[tuple[str, str]]:
    return [] if key is None else [("signature", f"verified, by the key of {key}")]


def _verified(artifact: "Artifact") -> list[tuple[str, str]]:
    files = len(artifact.manifest.files)
    return [
        ("digest", artifact.digest),
        ("files", f"{files} and the manifest, {size(_total(artifact.manifest))}"),
    ]


def _check_weights(artifact: "Artifact") -> str:
    from wsdarts_sdk.artifacts.check import run_check  # noqa: PLC0415

    difference = run_check(artifact)
    if difference is None:
        return "none to check: the artifact holds masks alone"
    return f"compute what they must (relative difference {difference:.1e})"


def _total(manifest: "Manifest") -> int:
    return sum(record.size for record in manifest.files.values())
