"""What commands about artifacts are given: a reference, or a directory with an artifact."""

from typing import TYPE_CHECKING, Annotated

import typer

from wsdarts_hub.cli.completion import complete_reference
from wsdarts_registry.errors import ArtifactError, ReferenceNotFoundError, SignatureError
from wsdarts_registry.files import expanded, is_directory, is_file
from wsdarts_registry.hub.location import is_hub

if TYPE_CHECKING:
    from wsdarts_registry.artifact import Artifact
    from wsdarts_registry.signature_policy import SignaturePolicy

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
    """The artifact in a directory or a run directory, else the one of that reference.

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
    from wsdarts_registry.artifact import read_artifact  # noqa: PLC0415
    from wsdarts_registry.manifest import MANIFEST  # noqa: PLC0415
    from wsdarts_registry.zoo import open_for  # noqa: PLC0415

    path = expanded(subject)
    for directory in (path, path / "artifact"):
        if is_file(directory / MANIFEST):
            if required is not None:
                raise SignatureError(
                    f"a signature lies in a registry, not in the directory {subject}; name the "
                    "artifact there, such as NAME@3 --registry DIR"
                )
            return read_artifact(directory)
    if not is_hub(subject) and ("/" in subject or subject.startswith(".")):
        what = f"holds no {MANIFEST}" if is_directory(path) else "is no directory"
        raise ArtifactError(
            f"{subject} {what}; expected the directory of an artifact or of a finished search, or "
            "a reference such as NAME@3"
        )
    try:
        store, within = open_for(subject, registry, require_signature=required)
        return store.pull(within) if weights else store.look(within)
    except ReferenceNotFoundError as error:
        what = f"no {MANIFEST} in the directory" if is_directory(path) else "no directory"
        raise ReferenceNotFoundError(f"there is {what} {subject}, and {error}") from error
