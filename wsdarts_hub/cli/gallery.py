"""Commands that show a registry in a browser: ``gallery build`` and ``gallery serve``."""

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

import wsdarts_hub as hub
from wsdarts_hub.cli.shared import display, options
from wsdarts_hub.cli.shared.long_work import working


def build(
    *,
    registry: options.RegistryOption = None,
    out: Annotated[
        Path,
        options.value_option(
            "DIR", "New or empty directory, or an older gallery, which is replaced."
        ),
    ],
    docs: Annotated[
        str | None, options.value_option("URL", "Address of the documentation, for a link.")
    ] = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Write a registry as a static site.

    The site works from a disk and on any web server, and loads nothing from other machines.

    JSON:
        page: the first page of the site

    Example:
        wsdarts-hub gallery build --out site

    Python:
        from wsdarts_hub import build_gallery
        print(build_gallery(out="site"))
    """
    with working(quiet=quiet) as work:
        page = hub.build_gallery(registry, out=out, docs=docs, progress=work.progress)
    if as_json:
        display.json_data({"page": page})
        return
    display.line(str(page))


def serve(
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help="A gallery by `gallery build`. Without it, one of the registry is built.",
            show_default=False,
        ),
    ] = None,
    *,
    registry: options.RegistryOption = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Port; 0 takes a free one.")
    ] = 8000,
    quiet: options.QuietOption = False,
) -> None:
    """Show a gallery in the browser of this machine, until Ctrl-C.

    Other machines on the network cannot reach it.

    Example:
        wsdarts-hub gallery serve --port 8080

    Python:
        from wsdarts_hub import build_gallery, serve_gallery
        build_gallery(out="site")
        serve_gallery("site", port=8080)
    """
    if directory is not None and registry is not None:
        raise typer.BadParameter("name a gallery or a registry, not both")
    with tempfile.TemporaryDirectory(prefix="wsdarts-gallery-") as temporary:
        with working(quiet=quiet) as work:
            if directory is None:
                directory = Path(temporary) / "site"
                hub.build_gallery(registry, out=directory, progress=work.progress)
        with suppress(KeyboardInterrupt):
            hub.serve_gallery(directory, port=port, started=display.line)
