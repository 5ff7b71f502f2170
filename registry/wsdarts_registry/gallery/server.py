"""A gallery, served to this machine alone."""

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from wsdarts_registry.errors import RegistryError
from wsdarts_registry.gallery.site import is_gallery

HOST = "127.0.0.1"
_NAMES = (HOST, "localhost")


class GalleryHandler(SimpleHTTPRequestHandler):
    """Files of the gallery, to requests that mean this machine; no list of a directory."""

    extensions_map = {  # noqa: RUF012 - as the base class has it
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".md": "text/plain; charset=utf-8",
        ".safetensors": "application/octet-stream",
    }

    def send_head(self) -> Any:
        """Refuse names that some other site may have given this machine."""
        name = self.headers.get("Host", HOST).rpartition(":")
        if (name[0] or name[2]) not in _NAMES:
            self.send_error(HTTPStatus.FORBIDDEN)
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> None:  # noqa: ARG002
        """Answer that there is no such page."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        """Send what a page cannot say of itself."""
        self.send_header("Content-Security-Policy", "frame-ancestors 'none'")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


def serve_gallery(
    directory: str | Path, *, port: int = 8000, started: Callable[[str], object] = print
) -> None:
    """Serve a gallery to this machine until Ctrl-C.

    Args:
        directory: What ``build_gallery`` wrote.
        port: Port to listen at; 0 takes a free one.
        started: Is told the address.

    Raises:
        RegistryError: The directory is no gallery, or the port is taken.
    """
    root = Path(directory)
    if not is_gallery(root):
        raise RegistryError(
            f"{root} is no gallery; make one with `wsdarts-hub gallery build --out {root}`"
        )
    handler = partial(GalleryHandler, directory=str(root.absolute()))
    try:
        server = ThreadingHTTPServer((HOST, port), handler)
    except (OSError, OverflowError) as error:
        raise RegistryError(
            f"cannot listen at port {port} ({error}); name another one with --port, or 0 for any"
        ) from error
    with server:
        started(f"http://{HOST}:{server.server_address[1]}/")
        server.serve_forever()
