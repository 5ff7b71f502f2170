"""Commands that read one artifact: ``show``, ``pull`` and ``verify``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import wsdarts_hub as hub
from wsdarts_hub.cli import display, options
from wsdarts_hub.cli.subject import SubjectArgument, read_subject
from wsdarts_registry.amounts import size

if TYPE_CHECKING:
    from wsdarts_registry.artifact import Artifact
    from wsdarts_registry.manifest import Manifest
    from wsdarts_registry.signature_policy import SignaturePolicy


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

    The JSON of a damaged one is what `list --json` says of it; the exit code is 1.

    Example:
        wsdarts-hub show flowers102@1

    Python:
        from wsdarts_hub import pull
        artifact = pull("flowers102@1")
        print(artifact.manifest, artifact.genotype)
    """
    from wsdarts_hub.cli import artifact_page  # noqa: PLC0415
    from wsdarts_registry.catalogue import DAMAGE  # noqa: PLC0415
    from wsdarts_registry.zoo import open_for  # noqa: PLC0415

    required = options.required_signature(require_signature, policy)
    store, within = open_for(reference, registry, require_signature=required)
    try:
        entry = store.resolve(within)
        artifact = store.look(entry.reference)
    except DAMAGE as error:
        if as_json:
            display.drawing(
                json.dumps(artifact_page.damaged_as_json(store, within, error), indent=2)
            )
        raise
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
    require_signature: options.RequireSignatureOption = None,
    policy: options.PolicyOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Fetch an artifact and verify every file of it.

    Example:
        wsdarts-hub pull flowers102@1 --out flowers102 --check

    Python:
        from wsdarts_hub import pull
        print(pull("flowers102@1", out="flowers102", check=True).genotype)
    """
    required = options.required_signature(require_signature, policy)
    display.show_transfers(quiet=quiet)
    artifact = hub.pull(
        reference, registry=registry, out=out, check=check, require_signature=required
    )
    display.line(str(artifact.directory))
    if not quiet:
        display.facts([*_verified(artifact), *_signer(required)], whole=("signature",))


def verify(
    subject: SubjectArgument,
    *,
    registry: options.RegistryOption = None,
    weights: Annotated[
        bool,
        typer.Option(
            "--weights",
            help="Load the weights, too, and prove that they compute what they must (with torch).",
        ),
    ] = False,
    require_signature: options.RequireSignatureOption = None,
    policy: options.PolicyOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Verify every size, checksum and shape of an artifact.

    Example:
        wsdarts-hub verify flowers102@1 --weights

    Python:
        from wsdarts_hub import pull
        print(pull("flowers102@1").digest)
    """
    required = options.required_signature(require_signature, policy)
    artifact = read_subject(subject, registry, required)
    found = [*_verified(artifact), *_signer(required)]
    if weights:
        found.append(("weights", _check_weights(artifact)))
    display.line(f"verified: {subject}")
    if not quiet:
        display.facts(found, whole=("signature",))


def _signer(required: "SignaturePolicy | None") -> list[tuple[str, str]]:
    return [] if required is None else [("signature", f"verified, by {required.origin}")]


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
