"""Commands about signatures: ``keygen`` and ``sign``."""

from pathlib import Path
from typing import Annotated

import typer

import wsdarts_hub as hub
from wsdarts_hub.cli import display, options


def keygen(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="New file for the private key.", show_default=False),
    ],
    *,
    quiet: options.QuietOption = False,
) -> None:
    """Make a key pair to sign artifacts with.

    FILE is the private key: keep it to yourself. FILE.pub is the public key: give it to those who
    are to verify your signatures. Needs the extra `signing`, by
    `pip install '.[signing]'` in the checkout.

    Example:
        wsdarts-hub keygen my.key

    Python:
        from wsdarts_hub import make_keys
        private, public = make_keys("my.key")
    """
    private, public = hub.make_keys(file)
    display.line(str(public))
    if not quiet:
        display.facts([("private", f"{private} (keep it to yourself)")])


def sign(
    reference: options.ReferenceArgument,
    *,
    key: Annotated[
        Path,
        typer.Option(metavar="FILE", help="Your private key.", show_default=False),
    ],
    registry: options.RegistryOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Sign a published version.

    The signature says that this name and version has this content, and fits no other. It lies
    beside the version, whose content and digest stay as they are. Another signature replaces it.
    Needs the extra `signing`, by `pip install '.[signing]'` in the checkout.

    Example:
        wsdarts-hub sign images@1 --key my.key --registry my-zoo

    Python:
        from wsdarts_hub import sign
        sign("images@1", key="my.key", registry="my-zoo")
    """
    entry = hub.sign(reference, key=key, registry=registry)
    display.line(f"signed {entry.reference}")
    if not quiet:
        display.facts([("digest", entry.digest)])
