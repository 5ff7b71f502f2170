"""Commands that read one artifact: ``show``, ``pull`` and ``verify``."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import wsdarts_hub as hub
from wsdarts_hub.cli.shared import display, options
from wsdarts_hub.cli.shared.options import complete_reference
from wsdarts_registry._files import expanded, is_directory, is_file
from wsdarts_registry._format import size
from wsdarts_registry.errors import ArtifactError, ReferenceNotFoundError, SignatureError
from wsdarts_registry.stores.huggingface.location import is_huggingface

if TYPE_CHECKING:
    from wsdarts_registry.artifact.reader import Artifact
    from wsdarts_registry.stores.signature_policy import SignaturePolicy
    from wsdarts_registry.stores.store import Store

SubjectArgument = Annotated[
    str,
    typer.Argument(
        metavar="REF|DIR",
        help="NAME, NAME@3, NAME@stable or NAME@sha256:HEX, or the directory of an artifact or a "
        "run.",
        autocompletion=complete_reference,
        show_default=False,
    ),
]


def read_subject(
    subject: str,
    registry: str | None,
    required: "SignaturePolicy | None" = None,
    *,
    weights: bool = True,
) -> "Artifact":
    """Return the artifact in a directory or a run directory, else the one of that reference.

    Args:
        subject: What the user named.
        registry: Where a reference is looked up.
        required: Whose signature it needs; what the user's own policy says by default.
        weights: Whether they are needed; they are not fetched otherwise.

    Raises:
        SignatureError: It is not signed as is required.
        ArtifactError: It is damaged, or a directory holds none.
        ReferenceNotFoundError: There is neither a directory nor an artifact of that name.
    """
    from wsdarts_registry.artifact.manifest import MANIFEST  # noqa: PLC0415
    from wsdarts_registry.artifact.reader import read_artifact  # noqa: PLC0415
    from wsdarts_registry.publishing.training_record import RUN_ARTIFACT  # noqa: PLC0415
    from wsdarts_registry.stores.opening import open_for  # noqa: PLC0415

    path = expanded(subject)
    for directory in (path, path / RUN_ARTIFACT):
        if is_file(directory / MANIFEST):
            if required is not None:
                raise SignatureError(
                    f"a signature lies in a registry, not in the directory {subject}",
                    hint="name the artifact there, such as NAME@3 --registry DIR",
                )
            return read_artifact(directory)
    if not is_huggingface(subject) and ("/" in subject or subject.startswith(".")):
        what = f"holds no {MANIFEST}" if is_directory(path) else "is no directory"
        raise ArtifactError(
            f"{subject} {what}",
            expected=(
                "the directory of an artifact or of a finished search, or a reference such as "
                "NAME@3"
            ),
        )
    try:
        store, within = open_for(subject, registry, require_signature=required)
        return store.pull(within) if weights else store.pull_without_weights(within)
    except ReferenceNotFoundError as error:
        what = f"no {MANIFEST} in the directory" if is_directory(path) else "no directory"
        raise ReferenceNotFoundError(
            f"there is {what} {subject}, and {error}", hint=_shipped_hint(subject, registry)
        ) from error


def _shipped_hint(subject: str, registry: str | None) -> str:
    """Return what to do where the shipped zoo has what another registry lacks; else nothing."""
    from wsdarts_registry.stores.opening import (  # noqa: PLC0415
        REGISTRY_VARIABLE,
        shipped_reference,
    )

    variable = os.environ.get(REGISTRY_VARIABLE)
    target = registry or variable
    found = None if target is None or is_huggingface(subject) else shipped_reference(subject)
    if target is None or found is None:
        return ""
    prefix = f"{REGISTRY_VARIABLE}= " if variable else ""
    without = "without --registry" if registry else f"without {REGISTRY_VARIABLE}"
    return (
        f"the shipped zoo has {found}: copy it with `{prefix}wsdarts-hub copy {found} --to "
        f"{shlex.quote(target)}`, or name it {without}, beside a directory of a run or an artifact"
    )


def show(
    reference: options.ReferenceArgument,
    *,
    registry: options.RegistryOption = None,
    as_json: options.JsonOption = False,
    require_signature: options.RequireSignatureOption = None,
    policy: options.PolicyOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Show everything about one artifact, its cells drawn in text.

    For a damaged artifact the JSON is that of `list --json`, and the exit code is 1.

    JSON:
        reference: exact version
        digest: sha256 of its manifest
        yanked: reason and when, or null
        status: yank, aliases, and whether it is signed
        directory: directory of its files
        manifest: tasks, lineage, settings, figures and files
        genotype: both cells
        collapses: cells that have collapsed to skip-connects
        masks: the remaining operations after each stage

    Example:
        wsdarts-hub show flowers102@3

    Python:
        from wsdarts_hub import pull
        artifact = pull("flowers102@3")
        print(artifact.manifest, artifact.genotype)
    """
    from wsdarts_hub.cli.shared import artifact_page  # noqa: PLC0415
    from wsdarts_registry.stores.catalogue import DAMAGE  # noqa: PLC0415
    from wsdarts_registry.stores.opening import open_for  # noqa: PLC0415

    required = options.required_signature(require_signature, policy)
    store, within = open_for(reference, registry, require_signature=required)
    try:
        entry = store.resolve(within)
        artifact = store.pull_without_weights(entry.reference)
    except DAMAGE as error:
        if as_json:
            display.json_data(artifact_page.damaged_as_json(store, within, error))
        raise
    if as_json:
        display.json_data(artifact_page.as_json(entry, artifact))
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
        options.value_option(
            "DIR",
            "New or empty directory to copy it to. Without it the artifact is verified in place.",
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Load the weights as well, with torch, and compare their output with the "
            "recorded one.",
        ),
    ] = False,
    require_signature: options.RequireSignatureOption = None,
    policy: options.PolicyOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Fetch an artifact and verify all its files.

    If the version was yanked, a note gives the reason.

    JSON:
        directory: directory of its files
        digest: sha256 of its manifest
        files: number of files besides the manifest
        bytes: their total size
        signature: the verified signer, or null

    Example:
        wsdarts-hub pull flowers102@3 --out flowers102 --check

    Python:
        from wsdarts_hub import pull
        print(pull("flowers102@3", out="flowers102", check=True).genotype)
    """
    from wsdarts_registry.stores.opening import open_for  # noqa: PLC0415

    required = options.required_signature(require_signature, policy)
    display.show_transfers(quiet=quiet)
    store, within = open_for(reference, registry)
    artifact = hub.pull(within, registry=store, out=out, check=check, require_signature=required)
    if not quiet:
        _say_yank(store, within)
    if as_json:
        display.json_data({"directory": artifact.directory, **_verified_json(artifact, required)})
        return
    display.line(str(artifact.directory))
    if not quiet:
        display.facts([*_verified(artifact), *_signer(required)], whole=("signature",))


def _say_yank(store: "Store", reference: str) -> None:
    """Print the reason of a yank; only an exact reference finds a yanked version."""
    if "@" in reference and (yank := store.resolve(reference).yanked):
        display.note(f"yanked: {yank.reason}")


def verify(
    subject: SubjectArgument,
    *,
    registry: options.RegistryOption = None,
    weights: Annotated[
        bool,
        typer.Option(
            "--weights",
            help="Load the weights as well, with torch, and compare their output with the "
            "recorded one.",
        ),
    ] = False,
    require_signature: options.RequireSignatureOption = None,
    policy: options.PolicyOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Verify every size, checksum and shape of an artifact.

    JSON:
        subject: the argument
        digest: sha256 of its manifest
        files: number of files besides the manifest
        bytes: their total size
        signature: the verified signer, or null
        difference: difference of the weights' output, with --weights; else null

    Example:
        wsdarts-hub verify flowers102@3 --weights

    Python:
        from wsdarts_hub import pull
        print(pull("flowers102@3").digest)
    """
    required = options.required_signature(require_signature, policy)
    artifact = read_subject(subject, registry, required)
    difference = _weights_difference(artifact) if weights else None
    if as_json:
        facts = {"subject": subject, **_verified_json(artifact, required)}
        display.json_data({**facts, "difference": difference})
        return
    found = [*_verified(artifact), *_signer(required)]
    if weights:
        found.append(("weights", _weights_text(difference)))
    display.line(f"verified: {subject}")
    if not quiet:
        display.facts(found, whole=("signature",))


def _signer(required: "SignaturePolicy | None") -> list[tuple[str, str]]:
    return [] if required is None else [("signature", f"verified, by {required.origin}")]


def _verified(artifact: "Artifact") -> list[tuple[str, str]]:
    from wsdarts_registry.artifact.facts import total_size  # noqa: PLC0415

    files = len(artifact.manifest.files)
    return [
        ("digest", artifact.digest),
        ("files", f"{files} and the manifest, {size(total_size(artifact.manifest))}"),
    ]


def _verified_json(
    artifact: "Artifact", required: "SignaturePolicy | None"
) -> dict[str, str | int | None]:
    from wsdarts_registry.artifact.facts import total_size  # noqa: PLC0415

    return {
        "digest": artifact.digest,
        "files": len(artifact.manifest.files),
        "bytes": total_size(artifact.manifest),
        "signature": None if required is None else required.origin,
    }


def _weights_difference(artifact: "Artifact") -> float | None:
    from wsdarts_sdk.artifacts.building import run_check  # noqa: PLC0415

    return run_check(artifact)


def _weights_text(difference: float | None) -> str:
    if difference is None:
        return "none to check: the artifact holds masks alone"
    return f"compute what they must (relative difference {difference:.1e})"
