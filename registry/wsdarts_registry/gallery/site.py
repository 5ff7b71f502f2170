"""The gallery as a site: written to a directory, whole or not at all, and served locally."""

import json
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from wsdarts_registry._arguments import check_text
from wsdarts_registry._files import (
    as_path,
    discarded_on_error,
    entries,
    inside,
    is_directory,
    is_file,
    is_vacant,
    move_into_place,
)
from wsdarts_registry._json import MAX_RECORD_BYTES
from wsdarts_registry.artifact.checked_files import read_limited
from wsdarts_registry.artifact.manifest import CHECKSUM, MANIFEST
from wsdarts_registry.drawing.cells import cell_drawings, masks_drawing
from wsdarts_registry.errors import RegistryError
from wsdarts_registry.gallery._items import GalleryItem
from wsdarts_registry.gallery._pages import Collection, Pages, Progress, read_collection
from wsdarts_registry.gallery._scripts import (
    assets,
    comparison_data,
    data_script,
    distances_data,
    embeddings_shards,
    list_shards,
    spaces_data,
)
from wsdarts_registry.stores.opening import open_registry
from wsdarts_registry.stores.store import Store

MARKER = "gallery.json"
_FORMAT = 1
_ADDRESS = re.compile(r"https?://[!-~]{1,500}")
_TOP = {MARKER, "artifacts", "assets", "data", "list"}
_PAGES = ("index.html", "nearest.html", "compare.html", "distances.html")


def build_gallery(
    registry: str | Path | Store | None = None,
    *,
    out: str | Path,
    docs: str | None = None,
    progress: Progress = lambda *_: None,
) -> Path:
    """Write a registry as a static site.

    Args:
        registry: A registry or its location; by default the one that commands look into.
        out: A new or empty directory, or an older gallery, which is replaced.
        docs: Address of the documentation, for a link on each page; none by default.
        progress: Called with what is being done.

    Returns:
        The start page.

    Raises:
        RegistryError: ``out`` holds something else than a gallery, or cannot be written.
    """
    target = as_path(out, "out")
    _check_target(target)
    _check_docs(docs)
    collection = read_collection(open_registry(registry), progress)
    try:
        new = target.absolute().parent / f".{target.name}.{uuid.uuid4().hex}"
        with discarded_on_error(new):
            for path, content in _files(collection, docs, progress):
                _write(inside(new, path), content)
            _replace(new, target)
    except OSError as error:
        raise RegistryError(
            f"cannot write the gallery {target}: {error.strerror}", hint="name another directory"
        ) from error
    return target / "index.html"


def is_gallery(directory: Path) -> bool:
    """Return whether a directory holds a gallery."""
    return is_file(directory / MARKER) and is_file(directory / "index.html")


def _check_docs(docs: str | None) -> None:
    check_text(docs, "docs", optional=True)
    if docs is not None and not _ADDRESS.fullmatch(docs):
        raise RegistryError(
            f"documentation {docs[:80]!r}", expected="an address such as https://example.org/docs/"
        )


def _check_target(target: Path) -> None:
    try:
        if is_vacant(target):
            return
        known = is_directory(target, follow_links=False) and is_gallery(target)
        foreign = {path.name for path in entries(target)} - _TOP - {*_PAGES} if known else set()
    except OSError as error:
        raise RegistryError(f"cannot read {target}: {error.strerror}") from error
    if not known:
        raise RegistryError(
            f"{target} is not empty and is no gallery",
            hint="name a new directory, or an older gallery to replace",
        )
    if foreign:
        raise RegistryError(
            f"{target} also holds {min(foreign)!r}, which no gallery has and which would be lost",
            hint="move it away, or name another directory",
        )


def _files(
    collection: Collection, docs: str | None, progress: Progress
) -> Iterator[tuple[str, bytes]]:
    """Yield every file by its path."""
    pages = Pages(collection, docs)
    for done, item in enumerate(collection.items):
        progress("writing pages", done, len(collection.items))
        cells, masks = (
            cell_drawings(item.artifact.genotype),
            masks_drawing(item.artifact.masks),
        )
        yield item.page, pages.artifact(item, cells, masks)
        for drawing in (*cells, masks):
            yield f"{item.folder}/{drawing.name}", drawing.svg.encode()
        data = comparison_data(item, cells, masks, collection.spaces)
        yield f"{item.folder}/compared.js", data_script(item.reference, data)
        if pages.divided and item.entry.yanked is None:
            yield f"{item.folder}/card.js", data_script(f"card:{item.reference}", pages.card(item))
        yield from _raw(item)
    yield "index.html", pages.start()
    yield from pages.further()
    if pages.divided:
        for number, rows in enumerate(list_shards(collection.listed, pages.operations)):
            yield f"data/list-{number}.js", data_script(f"list-{number}", rows)
    yield "nearest.html", pages.nearest()
    yield "compare.html", pages.compare()
    yield "distances.html", pages.distances()
    yield from _space_files(collection)
    yield from assets()
    marker = {"format": _FORMAT, "registry": collection.name, "versions": len(collection.items)}
    yield MARKER, json.dumps(marker).encode() + b"\n"


def _space_files(collection: Collection) -> Iterator[tuple[str, bytes]]:
    option = collection.option or ("" if collection.shipped else " --registry DIR")
    spaces = spaces_data(collection.name, collection.spaces, option)
    yield "data/spaces.js", data_script("spaces", spaces)
    for space in collection.spaces:
        key = f"distances-{space.key}"
        yield f"data/{key}.js", data_script(key, distances_data(space))
        for number, data in enumerate(embeddings_shards(space)):
            key = f"embeddings-{space.key}-{number}"
            yield f"data/{key}.js", data_script(key, data)


def _raw(item: GalleryItem) -> Iterator[tuple[str, bytes]]:
    """Yield the files of the artifact itself, unchanged."""
    for path in item.raw_files:
        if path in (MANIFEST, CHECKSUM):
            content = read_limited(item.artifact.directory, path, MAX_RECORD_BYTES)
        else:
            content = item.artifact.read(path)
        yield f"{item.folder}/{path}", content


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content)


def _replace(new: Path, target: Path) -> None:
    """Move a gallery to its place, where an older one may be."""
    if is_vacant(target):
        move_into_place(new, target)
        return
    old = target.absolute().parent / f".{target.name}.{uuid.uuid4().hex}"
    target.rename(old)
    try:
        move_into_place(new, target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


HOST = "127.0.0.1"
_NAMES = (HOST, "localhost")


class GalleryHandler(SimpleHTTPRequestHandler):
    """Request handler that serves the files of a gallery to this machine; lists no directory."""

    extensions_map = {  # noqa: RUF012 - as the base class has it
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".md": "text/plain; charset=utf-8",
        ".safetensors": "application/octet-stream",
    }

    def send_head(self) -> Any:
        """Refuse requests for other host names, which another site may have pointed here."""
        name = self.headers.get("Host", HOST).rpartition(":")
        if (name[0] or name[2]) not in _NAMES:
            self.send_error(HTTPStatus.FORBIDDEN)
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> None:  # noqa: ARG002
        """Answer that there is no such page."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        """Send the headers that a page cannot set itself."""
        self.send_header("Content-Security-Policy", "frame-ancestors 'none'")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing."""


def serve_gallery(
    directory: str | Path, *, port: int = 8000, started: Callable[[str], object] = print
) -> None:
    """Serve a gallery to this machine until Ctrl-C.

    Args:
        directory: A directory that ``build_gallery`` wrote.
        port: Port to listen at; 0 takes a free one.
        started: Called with the address.

    Raises:
        RegistryError: The directory is no gallery, or the port is taken.
    """
    root = Path(directory)
    if not is_gallery(root):
        raise RegistryError(
            f"{root} is no gallery", hint=f"make one with `wsdarts-hub gallery build --out {root}`"
        )
    handler = partial(GalleryHandler, directory=str(root.absolute()))
    try:
        server = ThreadingHTTPServer((HOST, port), handler)
    except (OSError, OverflowError) as error:
        raise RegistryError(
            f"cannot listen at port {port} ({error})",
            hint="name another one with --port, or 0 for any",
        ) from error
    with server:
        started(f"http://{HOST}:{server.server_address[1]}/")
        server.serve_forever()
