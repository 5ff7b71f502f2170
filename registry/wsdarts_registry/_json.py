"""Strict JSON, and the base of every JSON document on disk.

Reading refuses what readers disagree about: duplicate keys, NaN, bottomless nesting. Writing is
canonical, so that equal data has equal bytes and an equal digest. The limits here are part of the
format, see ``docs/format.md``.
"""

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from wsdarts_registry._libraries import UPDATE
from wsdarts_registry._text import is_plain_line, is_plain_text, sanitize
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
            f"data cannot be written as JSON ({_one_line(error)})",
            expected="text, finite numbers, booleans, null, lists and objects with text keys",
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
        raise error(f"{what} has {len(content)} bytes", expected=f"at most {max_bytes}")
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
        raise error(f"{what} is not valid JSON ({_one_line(problem)})", hint=remedy) from problem
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
            if isinstance(value, str):
                if not value.isascii():
                    value.encode()  # an unpaired surrogate raises UnicodeEncodeError, a ValueError
            elif isinstance(value, dict):
                below.extend(value.keys())
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
        level = below


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


FORMAT: Final = 1
MAX_RECORD_BYTES = 2**20
SUFFIXES = (".json", ".md", ".safetensors", ".svg")
_PATH_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_MAX_PARTS = 4
_MOMENT = "%Y-%m-%dT%H:%M:%SZ"
# Windows opens a device under these names, whatever the suffix.
_DEVICES = {"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(10))}


def _line(text: str) -> str:
    if not is_plain_line(text, len(text)):
        raise ValueError("expected one line without control or invisible characters")
    return text


def _text(text: str) -> str:
    if not is_plain_text(text, len(text)):
        raise ValueError("expected text without control or invisible characters")
    return text


def _path(path: str) -> str:
    parts = path.split("/")
    plain = all(_PATH_PART.fullmatch(part) and not part.endswith(".") for part in parts)
    device = any(part.split(".")[0].lower() in _DEVICES for part in parts)
    if not plain or device or len(parts) > _MAX_PARTS or not path.endswith(SUFFIXES):
        raise ValueError(
            f"path {path!r} is not allowed; expected up to {_MAX_PARTS} parts of letters, "
            f"digits, '.', '_' and '-', joined by '/', ending in one of {', '.join(SUFFIXES)}"
        )
    return path


def _moment(text: str) -> str:
    datetime.strptime(text, _MOMENT)
    return text


def flattened(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted keys; entries of a list of mappings are numbered from 1.

    >>> flattened({"alpha": {"rate": 0.1}, "stages": [{"cells": 5}, {"cells": 8}], "seeds": [1]})
    {'alpha.rate': 0.1, 'stages.1.cells': 5, 'stages.2.cells': 8, 'seeds': [1]}

    Args:
        data: Settings as JSON data.
        prefix: What goes before each key.
    """
    found: dict[str, Any] = {}
    for name, value in data.items():
        key = f"{prefix}{name}"
        parts: Mapping[str, Any] = {}
        if isinstance(value, dict):
            parts = value
        elif isinstance(value, list) and all(isinstance(part, dict) for part in value):
            parts = {str(number): part for number, part in enumerate(value, start=1)}
        found |= flattened(parts, f"{key}.") if parts else {key: value}
    return found


def now() -> str:
    """Return date and time, UTC, as documents hold them (``Moment``)."""
    return datetime.now(UTC).strftime(_MOMENT)


Line = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_line)]
ShortText = Annotated[str, Field(max_length=200), AfterValidator(_text)]
Text = Annotated[str, Field(max_length=10_000), AfterValidator(_text)]
FilePath = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_path)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Key = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_./-]{0,63}$")]
Count = Annotated[int, Field(ge=1, le=2**53)]
Moment = Annotated[
    str,
    Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"),
    AfterValidator(_moment),
]


class Record(BaseModel):
    """Base of everything on disk: no unknown keys, no conversions, no changes, no NaN."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )


class Document(Record):
    """A JSON file of its own, with a format version.

    Laws: ``type(d).from_bytes(d.to_bytes()) == d``; equal documents have equal bytes, and so
    equal digests.

    Attributes:
        MAX_BYTES: Longest file that is read.
    """

    MAX_BYTES: ClassVar[int] = MAX_RECORD_BYTES

    def to_bytes(self) -> bytes:
        """Write canonical JSON."""
        return dump(self.model_dump(mode="json"))

    @classmethod
    def from_bytes(
        cls, content: bytes, *, what: str, error: type[WsdartsError] = ArtifactError
    ) -> Self:
        """Read what ``to_bytes`` wrote.

        Args:
            content: The whole file.
            what: Name of the file, for the message.
            error: Class of the error to raise.

        Raises:
            WsdartsError: Of class ``error``; an unknown format version (the fix is named),
                or anything that the format does not allow.
        """
        data = load(content, what=what, error=error, max_bytes=cls.MAX_BYTES)
        version = data.get("format") if isinstance(data, dict) else None
        if type(version) is not int:
            raise error(
                f"{what} has no format version", expected=f'an object with "format": {FORMAT}'
            )
        if version != FORMAT:
            raise error(
                f"{what} has format {version}",
                hint=f"this version reads format {FORMAT}: update with {UPDATE}",
            )
        try:
            return cls.model_validate_json(content)
        except ValidationError as problem:
            raise error(f"{what} is not valid: {explain(problem)}") from problem


def explain(problem: ValidationError) -> str:
    """Return the first problems that pydantic found, each with its place, on one line."""
    errors = problem.errors(include_url=False, include_input=False, include_context=False)
    places = [
        f"{'.'.join(str(part)[:60] for part in e['loc']) or 'document'}: {e['msg']}" for e in errors
    ]
    more = f" (and {len(places) - 3} more)" if len(places) > 3 else ""
    return sanitize("; ".join(places[:3]) + more, 1000)
