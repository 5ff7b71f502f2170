"""Copies of artifacts, where somebody wants to have them."""

from dataclasses import replace
from pathlib import Path

from wsdarts_registry.artifact import Artifact
from wsdarts_registry.errors import RegistryError
from wsdarts_registry.staging import is_vacant, staged


def copied_out(artifact: Artifact, target: Path) -> Artifact:
    """Copy a verified artifact into a new or empty directory, whole or not at all.

    Raises:
        ArtifactError: It changed since it was read.
        RegistryError: The directory is not empty or cannot be written.
    """
    try:
        if not is_vacant(target):
            raise RegistryError(f"{target} is not empty; name a new or empty directory")
        with staged(target) as directory:
            artifact.copy_to(directory)
    except OSError as error:
        raise RegistryError(
            f"cannot write {target}: {error.strerror}; name another directory"
        ) from error
    return replace(artifact, directory=target)
