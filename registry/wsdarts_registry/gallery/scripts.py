"""Data for the gallery's scripts, as files that a page can load from a disk.

A page that was opened from a disk may not fetch files, but may load scripts. So data are scripts
of one call, whose argument is JSON.

What a page of the gallery may do: a Content-Security-Policy that holds from a disk, too.

A page without scripts may run none. One with scripts may run one short loader, named by its hash,
and what that loads, and only from where the page is from. No page may send or fetch anything.

Style sheet and scripts of the gallery.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import numpy as np

from wsdarts_registry._text import sanitize
from wsdarts_registry.architecture.space import CELL_KINDS
from wsdarts_registry.drawing.documents import Drawing
from wsdarts_registry.drawing.svg import FAMILIES, Shades, dark_styles
from wsdarts_registry.gallery import items
from wsdarts_registry.gallery.distances import RankedSpace
from wsdarts_registry.gallery.items import Exhibit

# What would end a script or a line of one within HTML or JavaScript; JSON knows them as escapes.
_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def script_json(data: Any) -> str:
    """JSON that is inert within HTML and JavaScript: ASCII, without ``<``, ``>`` and ``&``."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).translate(_ESCAPES)


def data_script(key: str, data: Any) -> bytes:
    """A script that hands data to the page under a key."""
    return f"wsdarts.receive({script_json(key)},{script_json(data)});\n".encode()


def spaces_data(name: str, spaces: tuple[RankedSpace, ...]) -> Any:
    """What there is to rank by: each embedding space with its threshold."""
    return {
        "registry": sanitize(name),
        "spaces": [
            {
                "key": space.key,
                "space": space.space.to_json(),
                "text": str(space.space),
                "filters": len(space.embeddings[0].values),
                "threshold": space.threshold and space.threshold.distance,
                "measured": space.threshold and space.threshold.measured,
            }
            for space in spaces
        ],
    }


def embeddings_data(space: RankedSpace) -> Any:
    """The members of a space and their embeddings: float32, little-endian, row by row."""
    values = np.stack([e.values for e in space.embeddings]).astype("<f4")
    return {
        "members": [
            {
                "reference": member.reference,
                "kind": member.entry.manifest.kind,
                "task": sanitize(embedding.task_name),
                "images": embedding.images,
                "classes": embedding.classes,
                "page": member.page,
            }
            for member, embedding in zip(space.members, space.embeddings, strict=True)
        ],
        "values": base64.b64encode(values.tobytes()).decode(),
    }


def distances_data(space: RankedSpace) -> Any:
    """The distances as a heat map shows them: in its order, the upper triangle as 16 bits."""
    order = np.array(space.order)
    ordered = space.distances[np.ix_(order, order)]
    upper = ordered[np.triu_indices(len(order), 1)]
    return {
        "references": [space.members[i].reference for i in space.order],
        "distances": base64.b64encode(np.rint(65_535 * upper).astype("<u2").tobytes()).decode(),
    }


def comparison_data(exhibit: Exhibit, cells: tuple[Drawing, ...], masks: Drawing) -> Any:
    """What the comparison shows of one version; all text is inert already."""
    artifact = exhibit.artifact
    return {
        "reference": exhibit.reference,
        "page": exhibit.page,
        "pictures": [
            {
                "name": title,
                "file": f"{exhibit.folder}/{drawing.name}",
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
        "facts": [
            [sanitize(name), sanitize(value, 1000)] for name, value in items.compared(exhibit)
        ],
    }


# Where the page is from; browsers differ in whether "self" means that on a disk.
_HERE = "'self' file:"
_ALWAYS = (
    f"default-src 'none'; style-src {_HERE}; img-src {_HERE} data:; base-uri 'none'; "
    "form-action 'none'"
)


def loader(scripts: tuple[str, ...]) -> str:
    """The script that loads others from ``assets``, in order."""
    return (
        f"for(const name of {script_json(list(scripts))})"
        '{const script=document.createElement("script");'
        'script.async=false;script.src="assets/"+name+".js";document.head.append(script)}'
    )


def policies(scripts: tuple[str, ...]) -> tuple[str, ...]:
    """The policies of a page with these scripts; all of them must allow what happens."""
    if not scripts:
        return (_ALWAYS,)
    digest = hashlib.sha256(loader(scripts).encode()).digest()
    own = f"'sha256-{base64.b64encode(digest).decode()}'"
    return (
        f"{_ALWAYS}; script-src {own} 'strict-dynamic'",
        # "strict-dynamic" trusts what the loader loads wherever it is from; this does not.
        f"script-src {_HERE} {own}",
    )


def assets() -> Iterator[tuple[str, bytes]]:
    """Each file by its path in the gallery."""
    package = files("wsdarts_cards")
    report = package.joinpath("templates", "report.css").read_text(encoding="utf-8")
    own = package.joinpath("gallery", "gallery.css").read_text(encoding="utf-8")
    sheet = "\n".join([report, own, _families(), dark_styles()])
    yield "assets/gallery.css", sheet.encode()
    for script in package.joinpath("gallery", "scripts").iterdir():
        yield f"assets/{script.name}", script.read_bytes()


def _families() -> str:
    """The colours of operations, by family, on light and on dark ground."""

    def rule(key: str, shades: Shades) -> str:
        return (
            f".op-{key}{{background:{shades.tint};border-color:{shades.line};color:{shades.ink}}}"
        )

    light = "".join(rule(family.key, family.light) for family in FAMILIES)
    dark = "".join(rule(family.key, family.dark) for family in FAMILIES)
    return f"{light}\n@media(prefers-color-scheme:dark){{{dark}}}"
