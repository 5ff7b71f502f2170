"""Pull of artifacts, with a check of their weights on request.

Loads no torch without that check.
"""

from pathlib import Path

from wsdarts_registry.artifact.reader import Artifact
from wsdarts_registry.publishing import publication
from wsdarts_registry.stores.signature_policy import Required
from wsdarts_registry.stores.store import Store


def pull(
    reference: str,
    *,
    registry: str | Path | Store | None = None,
    out: str | Path | None = None,
    check: bool = False,
    require_signature: Required = None,
) -> Artifact:
    """Fetch and verify an artifact.

    Args:
        reference: ``NAME``, ``NAME@3``, ``NAME@stable`` or ``NAME@sha256:…``.
        registry: Directory of a registry; the shipped zoo by default.
        out: A new or empty directory to put it into; None reads it in place.
        check: Load the weights, too, and prove that they compute what they must (with torch).
        require_signature: Files of public keys, one of which has to have signed this version, or
            a ``SignaturePolicy``; by default the user's own policy decides.

    Raises:
        ReferenceNotFoundError: There is no such artifact.
        ArtifactError: It is damaged, or its weights compute something else; nothing was written.
        SignatureError: It is not signed as is required; nothing was written.
        RegistryError: The registry cannot be read, or ``out`` is not empty.
    """
    return publication.pull(
        reference,
        registry=registry,
        out=out,
        require_signature=require_signature,
        accept=_check_weights if check else None,
    )


def _check_weights(artifact: Artifact) -> None:
    # Imported here: pulling needs no torch.
    from wsdarts_sdk.artifacts.building import run_check  # noqa: PLC0415

    run_check(artifact)
