"""JSON without its traps: no duplicate keys, no NaN, no bottomless nesting.

Writing is canonical, so that equal data has equal bytes and an equal digest.
"""

import json
import math
from typing import Any

from wsdarts_registry.errors import ArtifactError, WsdartsError

MAX_DEPTH = 32
MAX_BYTES = 4 * 2**20


def dump(data: Any) -> bytes:
    """Write canonical JSON: sorted keys, no spare whitespace, UTF-8, one final line feed.

    Raises:
        ArtifactError: The data is no JSON: NaN, an unpaired surrogate, an object.
    """
    try:
        text = json.dumps(
            data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return text.encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise ArtifactError(
            f"data cannot be written as JSON ({_one_line(error)}); expected text, finite numbers, "
            "booleans, null, lists and objects with text keys"
        ) from error


def load(
    content: bytes,
    *,
    what: str,
    error: type[WsdartsError] = ArtifactError,
    max_bytes: int = MAX_BYTES,
    remedy: str = "it is damaged or was not written by wsdarts-hub: fetch or make it again",
) -> Any:
    """Read JSON and refuse what readers disagree about.

    Args:
        content: UTF-8 bytes.
        what: Name of the document, for the message.
        error: Class of the error to raise.
        max_bytes: Longest document that is parsed.
        remedy: What was expected of a document that others wrote, and what to do.

    Raises:
        WsdartsError: Of class ``error``; the document is too long or too deep, is not UTF-8
            or not JSON, names a key twice, or holds a number that is not finite or an
            integer of more than 63 bits.
    """
    if len(content) > max_bytes:
        raise error(f"{what} has {len(content)} bytes; expected at most {max_bytes}")
    try:
        data = json.loads(
            content.decode(),
            object_pairs_hook=_unique,
            parse_float=_finite,
            parse_int=_bounded,
            parse_constant=_refuse_constant,
        )
        _check_tree(data)
    except (ValueError, RecursionError) as problem:
        raise error(f"{what} is not valid JSON ({_one_line(problem)}); {remedy}") from problem
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return data


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _bounded(text: str) -> int:
    if len(text) > 20 or abs(int(text)) >= 2**63:
        raise ValueError("an integer has more than 63 bits")
    return int(text)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _check_tree(data: Any) -> None:
    """Check depth and text level by level, so that depth costs no stack."""
    level, depth = [data], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value.keys())
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
            elif isinstance(value, str):
                value.encode()  # an unpaired surrogate raises UnicodeEncodeError, a ValueError
        level = below


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
