"""Scripts, data files, style sheet and Content-Security-Policies of the gallery.

A page that was opened from a disk may load scripts but not fetch files, so data are scripts of one
call, whose argument is JSON. A page with scripts may run one short loader, named by its hash, and
what that loads from the gallery itself; other pages may run none, and no page may send anything.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from wsdarts_registry._text import sanitize
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.drawing.cells import Drawing
from wsdarts_registry.drawing.svg import FAMILIES, Shades, dark_styles
from wsdarts_registry.gallery import _items as items
from wsdarts_registry.gallery._distances import RankedSpace
from wsdarts_registry.gallery._items import GalleryItem

ROWS_A_SHARD = 2_000  # of the list, some 300 bytes each
_SHARD_VALUES = 2**20  # of embeddings: 5.6 MB as base64
_SEARCHED = 1_000  # characters of an artifact that a search looks at
# What would end a script or a line of one within HTML or JavaScript; JSON knows them as escapes.
_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def script_json(data: Any) -> str:
    """Write JSON that is safe within HTML and JavaScript: ASCII, without ``<``, ``>`` and ``&``."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).translate(_ESCAPES)


def data_script(key: str, data: Any) -> bytes:
    """Write a script that hands data to the page under a key."""
    return f"wsdarts.receive({script_json(key)},{script_json(data)});\n".encode()


def spaces_data(name: str, spaces: tuple[RankedSpace, ...], option: str = "") -> Any:
    """Return the embedding spaces with their thresholds, and the option of the registry."""
    return {
        "registry": sanitize(name),
        "option": sanitize(option.strip()),
        "spaces": [
            {
                "key": space.key,
                "space": space.space.to_json(),
                "text": str(space.space),
                "filters": len(space.embeddings[0].values),
                "shards": -(-len(space.members) // _members_a_shard(space)),
                "whole": space.whole,
                "threshold": space.threshold and space.threshold.distance,
                "measured": space.threshold and space.threshold.measured,
            }
            for space in spaces
        ],
    }


def embeddings_shards(space: RankedSpace) -> Iterator[Any]:
    """Yield the members of a space and their embeddings, part by part: float32, row by row."""
    step = _members_a_shard(space)
    for start in range(0, len(space.members), step):
        these = slice(start, start + step)
        yield {
            "members": [
                {
                    "reference": member.reference,
                    "kind": member.entry.manifest.kind,
                    "task": sanitize(embedding.task_name),
                    "images": embedding.images,
                    "classes": embedding.classes,
                    "page": member.page,
                }
                for member, embedding in zip(
                    space.members[these], space.embeddings[these], strict=True
                )
            ],
            "values": _base64(space.rows[these]),
        }


def _members_a_shard(space: RankedSpace) -> int:
    return max(1, _SHARD_VALUES // len(space.embeddings[0].values))


def _base64(values: Any) -> str:
    """Return float32 numbers, little-endian."""
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def list_shards(listed: Sequence[GalleryItem], operations: Sequence[str]) -> Iterator[Any]:
    """Yield what the list filters and orders by, in parts; each artifact is an array.

    Args:
        listed: The artifacts by name and version.
        operations: The operations by the numbers that the list's filter gives them.
    """
    for start in range(0, len(listed), ROWS_A_SHARD):
        yield [_list_row(item, operations) for item in listed[start : start + ROWS_A_SHARD]]


def _list_row(item: GalleryItem, operations: Sequence[str]) -> list[Any]:
    """Return a row; ``list.js`` reads it in this order."""
    manifest, result = item.entry.manifest, item.result
    words = [item.reference, *(task.name for task in manifest.tasks[:3]), item.kind_title]
    words += [manifest.provenance.hardware, manifest.license or "licence not stated"]
    words += [result.verdict] if result else []
    return [
        item.reference,
        item.sort,
        item.images,
        item.classes,
        manifest.provenance.seconds,
        manifest.provenance.created,
        result and result.difference,
        result and result.accuracy,
        item.parameters,
        item.transfer and item.transfer.gain,
        [number for number, name in enumerate(operations) if name in item.operations],
        sanitize(" ".join(words), _SEARCHED).lower(),
    ]


def distances_data(space: RankedSpace) -> Any:
    """Return the distances in the order of the heat map: the upper triangle, 16 bits each."""
    order = np.array(space.order)
    ordered = space.distances[np.ix_(order, order)]
    upper = ordered[np.triu_indices(len(order), 1)]
    return {
        "references": [space.mapped[i].reference for i in space.order],
        "distances": base64.b64encode(np.rint(65_535 * upper).astype("<u2").tobytes()).decode(),
    }


def comparison_data(
    item: GalleryItem,
    cells: tuple[Drawing, ...],
    masks: Drawing,
    spaces: Sequence[RankedSpace],
) -> Any:
    """Return the data of one version for the comparison, its text sanitized.

    It holds the item's embeddings in those spaces whose distances are not all in one file.
    """
    artifact = item.artifact
    return {
        "embeddings": {
            space.key: _base64(space.rows[space.places[item]])
            for space in spaces
            if not space.whole and item in space.places
        },
        "reference": item.reference,
        "page": item.page,
        "pictures": [
            {
                "name": title,
                "file": f"{item.folder}/{drawing.name}",
                "width": drawing.size[0],
                "height": drawing.size[1],
                "words": drawing.description,
            }
            for title, drawing in zip(
                ("normal cell", "reduction cell", "surviving operations"),
                (*cells, masks),
                strict=True,
            )
        ],
        "space": str(artifact.masks.space),
        "masks": "".join(
            "1" if kept else "0"
            for kind in CELL_KINDS
            for row in artifact.masks.rows(kind)
            for kept in row
        ),
        "worth": [[sanitize(name), sanitize(value)] for name, value in items.worth(item)],
        "facts": [[sanitize(name), sanitize(value, 1000)] for name, value in items.compared(item)],
    }


# Where the page is from; browsers differ in whether "self" means that on a disk.
_HERE = "'self' file:"
_ALWAYS = (
    f"default-src 'none'; style-src {_HERE}; img-src {_HERE} data:; base-uri 'none'; "
    "form-action 'none'"
)


def loader(scripts: tuple[str, ...], root: str = "") -> str:
    """Return the script that loads others from ``assets`` below ``root``, in order."""
    return (
        f"for(const name of {script_json(list(scripts))})"
        '{const script=document.createElement("script");script.async=false;'
        f'script.src="{root}assets/"+name+".js";document.head.append(script)}}'
    )


def policies(scripts: tuple[str, ...], root: str = "") -> tuple[str, ...]:
    """Return the policies of a page with these scripts; a browser enforces all of them."""
    if not scripts:
        return (_ALWAYS,)
    digest = hashlib.sha256(loader(scripts, root).encode()).digest()
    own = f"'sha256-{base64.b64encode(digest).decode()}'"
    return (
        f"{_ALWAYS}; script-src {own} 'strict-dynamic'",
        # "strict-dynamic" trusts what the loader loads wherever it is from; this does not.
        f"script-src {_HERE} {own}",
    )


def assets() -> Iterator[tuple[str, bytes]]:
    """Yield style sheet and scripts by their path in the gallery."""
    package = files("wsdarts_cards")
    report = package.joinpath("templates", "report.css").read_text(encoding="utf-8")
    own = package.joinpath("gallery", "gallery.css").read_text(encoding="utf-8")
    sheet = "\n".join([report, own, _families(), dark_styles()])
    yield "assets/gallery.css", sheet.encode()
    for script in package.joinpath("gallery", "scripts").iterdir():
        yield f"assets/{script.name}", script.read_bytes()


def _families() -> str:
    """Return style rules of the operation families, on light and on dark ground."""

    def rule(key: str, shades: Shades) -> str:
        return (
            f".op-{key}{{background:{shades.tint};border-color:{shades.line};color:{shades.ink}}}"
        )

    light = "".join(rule(family.key, family.light) for family in FAMILIES)
    dark = "".join(rule(family.key, family.dark) for family in FAMILIES)
    return f"{light}\n@media(prefers-color-scheme:dark){{{dark}}}"
