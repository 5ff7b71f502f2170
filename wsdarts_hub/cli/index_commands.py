"""Commands about the index of a registry on the Hugging Face Hub: ``index rebuild``."""

from typing import Annotated

import typer

import wsdarts_hub as hub
from wsdarts_hub.cli import display, options
from wsdarts_registry.amounts import count


def rebuild_index(
    *,
    registry: Annotated[
        str,
        typer.Option(
            metavar="hf://OWNER",
            help="A user or an organisation on the Hugging Face Hub.",
            show_default=False,
        ),
    ],
    quiet: options.QuietOption = False,
) -> None:
    """Make the index of a registry on the Hub anew.

    It is read from the artifacts themselves. Pushes that ended before their last step are
    finished. Every push keeps the index up to date; this is for when one could not.

    Example:
        wsdarts-hub index rebuild --registry hf://lab

    Python:
        from wsdarts_hub import open_registry
        print(open_registry("hf://lab").rebuild_index())
    """
    names = hub.open_registry(registry, writable=True).rebuild_index()
    if quiet:
        for name in names:
            display.line(name)
    else:
        display.line(f"the index of {registry} is new: {count(len(names))} names")
