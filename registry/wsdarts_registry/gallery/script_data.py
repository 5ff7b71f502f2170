"""Data for the gallery's scripts, as files that a page can load from a disk.

A page that was opened from a disk may not fetch files, but may load scripts. So data are scripts
of one call, whose argument is JSON.
"""

import base64
import json
from typing import Any

import numpy as np

from wsdarts_registry.gallery import facts
from wsdarts_registry.gallery.exhibit import Exhibit
from wsdarts_registry.gallery.pictures import Drawing
from wsdarts_registry.gallery.ranked_space import RankedSpace
from wsdarts_registry.inert import plain_text
from wsdarts_registry.space import CELL_KINDS

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
        "registry": plain_text(name),
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
                "task": plain_text(embedding.task_name),
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
            [plain_text(name), plain_text(value, 1000)] for name, value in facts.compared(exhibit)
        ],
    }
