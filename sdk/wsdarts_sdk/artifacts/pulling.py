"""Pulling artifacts, with the proof that their weights load right if it is asked for."""

from pathlib import Path

from wsdarts_registry import publication
from wsdarts_registry.artifact import Artifact
from wsdarts_registry.store import Store


def pull(
    reference: str,
    *,
    registry: str | Path | Store | None = None,
    out: str | Path | None = None,
    check: bool = False,
    public_key: str | Path | None = None,
) -> Artifact:
    """Fetch and verify an artifact.

    Args:
        reference: ``NAME``, ``NAME@3``, ``NAME@stable`` or ``NAME@sha256:…``.
        registry: Directory of a registry; the shipped zoo by default.
        out: A new or empty directory to put it into; None reads it in place.
        check: Load the weights, too, and prove that they compute what they must (with torch).
        public_key: File of the public key that it must be signed with; no signature is asked
            for by default.

    Raises:
        ReferenceNotFoundError: There is no such artifact.
        ArtifactError: It is damaged, or its weights compute something else; nothing was written.
        SignatureError: It is not signed, or not with that key; nothing was written.
        RegistryError: The registry cannot be read, or ``out`` is not empty.
    """
    return publication.pull(
        reference,
        registry=registry,
        out=out,
        public_key=public_key,
        accept=_check_weights if check else None,
    )


def _check_weights(artifact: Artifact) -> None:
    # Imported here: pulling needs no torch.
    from wsdarts_sdk.artifacts.check import run_check  # noqa: PLC0415

    run_check(artifact)
