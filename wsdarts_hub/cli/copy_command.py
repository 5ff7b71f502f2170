"""The command ``copy``."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

import wsdarts_hub as hub
from wsdarts_hub.cli import display, options

if TYPE_CHECKING:
    from wsdarts_registry.copying import Copied

_SIGNATURES = {
    "copied": "copied with it",
    "there already": "there already",
    "another one there": "not copied: another one is there",
    "another name": "not copied: it is of {source}; sign {entry} again to have one",
}


def copy(
    reference: options.ReferenceArgument,
    *,
    to: Annotated[
        str,
        typer.Option(
            metavar="REGISTRY",
            help="Registry to copy to; a directory is made if it is missing.",
            show_default=False,
        ),
    ],
    registry: options.RegistryOption = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--as", metavar="NAME", help="Name there. Its own by default.", show_default=False
        ),
    ] = None,
    version: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Exact version. The next one by default.", show_default=False
        ),
    ] = None,
    require_signature: options.RequireSignatureOption = None,
    policy: options.PolicyOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Copy an artifact to another registry, under the same digest.

    A signature travels with it, unless it gets another name or version; its aliases and whether it
    was yanked do not. A yanked version is copied only if it is named exactly. What is there already
    is not copied again.

    Example:
        wsdarts-hub copy flowers102 --to my-zoo --as flowers

    Python:
        from wsdarts_hub import copy
        print(copy("flowers102", "my-zoo", name="flowers").entry.reference)
    """
    copied = hub.copy(
        reference,
        to,
        registry=registry,
        name=name,
        version=version,
        require_signature=options.required_signature(require_signature, policy),
    )
    display.line(str(copied.entry.reference))
    if not quiet:
        _say(copied, to)


def _say(copied: "Copied", to: str) -> None:
    source, entry = copied.source, copied.entry
    facts = [("digest", entry.digest), ("copied" if copied.made else "there already", to)]
    if copied.signature in _SIGNATURES:
        facts.append(
            (
                "signature",
                _SIGNATURES[copied.signature].format(
                    source=source.reference, entry=entry.reference
                ),
            )
        )
    display.facts(facts)
    if source.yanked:
        display.note(
            f"warning: {source.reference} was yanked ({source.yanked.reason}); "
            f"{entry.reference} in {to} is not"
        )
    left = [alias for alias in source.status.aliases if alias not in entry.status.aliases]
    if left:
        display.note(
            f"its aliases were not copied ({', '.join(left)}); set them with `wsdarts-hub alias "
            f"set {entry.name} {left[0]} {entry.version} --registry {shlex.quote(to)}`"
        )
