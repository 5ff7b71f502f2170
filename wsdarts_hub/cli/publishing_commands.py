"""Commands that write versions, hide them and restore them: ``push``, ``yank``, ``unyank``."""

from pathlib import Path
from typing import Annotated

import typer

import wsdarts_hub as hub
from wsdarts_hub.cli import display, options


def push(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="Run directory of a search or a warm start, or an artifact directory.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name to publish under.", show_default=False)
    ],
    *,
    registry: options.RegistryOption = None,
    version: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Exact version. The next one by default.", show_default=False
        ),
    ] = None,
    license_: Annotated[
        str | None,
        typer.Option(
            "--license",
            metavar="ID",
            help="Licence of the artifact, such as cc-by-4.0.",
            show_default=False,
        ),
    ] = None,
    description: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="A few words for its card.", show_default=False),
    ] = None,
    sign: Annotated[
        Path | None,
        typer.Option(
            metavar="KEY", help="Sign it with the private key in this file.", show_default=False
        ),
    ] = None,
    training: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Run directory of the training whose accuracy goes along. The last one that RUN "
            "knows of by default.",
            show_default=False,
        ),
    ] = None,
    quiet: options.QuietOption = False,
) -> None:
    """Publish a finished run as a new version of a name.

    The directory of the registry is made if it is missing; on the Hugging Face Hub each name is a
    model repository of its own. Versions are write-once: what is
    published already is not published again.

    Where a training of the found cells is finished, its accuracy goes along. RUN knows those that
    `train RUN` made, wherever they lie; of several it is the one that finished last.

    Example:
        wsdarts-hub push runs/images images --registry my-zoo

    Python:
        from wsdarts_hub import push
        print(push("runs/images", "images", registry="my-zoo").reference)
    """
    display.show_transfers(quiet=quiet)
    entry = hub.push(
        run,
        name,
        registry=registry,
        version=version,
        license=license_,
        description=description,
        sign=sign,
        training=training,
    )
    display.line(str(entry.reference))
    if not quiet:
        display.facts([("digest", entry.digest)])


def yank(
    reference: options.ExactReferenceArgument,
    *,
    reason: options.ReasonOption,
    registry: options.RegistryOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Hide a version from listing and ranking.

    It stays pullable by its exact version, with the reason shown.

    Example:
        wsdarts-hub yank images@1 --reason "wrong labels" --registry my-zoo

    Python:
        from wsdarts_hub import open_registry
        open_registry("my-zoo").yank("images@1", "wrong labels")
    """
    from wsdarts_registry.zoo import open_for  # noqa: PLC0415

    store, within = open_for(reference, registry, writable=True)
    store.yank(within, reason)
    display.line(f"yanked {reference}" if quiet else f"yanked {reference}: {reason}")


def unyank(
    reference: options.ExactReferenceArgument,
    *,
    reason: options.ReasonOption,
    registry: options.RegistryOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Take a yank back: list and rank a version again.

    Both reasons stay on record; `show` gives them.

    Example:
        wsdarts-hub unyank images@1 --reason "the labels were right" --registry my-zoo

    Python:
        from wsdarts_hub import open_registry
        open_registry("my-zoo").unyank("images@1", "the labels were right")
    """
    hub.open_registry(registry, writable=True).unyank(reference, reason)
    display.line(f"restored {reference}" if quiet else f"restored {reference}: {reason}")
