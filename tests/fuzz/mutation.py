"""Valid files, spoilt in the ways in which files are spoilt and forged."""

import copy
import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

_MARK = "\ue000"
# JSON as text that json.dumps would not write; some of it no JSON at all.
_RAW = (
    "NaN",
    "-Infinity",
    "1e999",
    "-1e-999",
    "1" + "0" * 10_000,
    "9223372036854775808",
    "-9223372036854775808",
    "0.1" * 2,
    "01",
    "1.0",
    "true",
    "null",
    '"\\ud800"',
    '"\\u0000"',
    '"\\u202e"',
    '"' + "x" * 10_000 + '"',
    "[" * 40 + "]" * 40,
    "[" * 2000 + "]" * 2000,
    '{"a":' * 2000 + "1" + "}" * 2000,
    '{"a":1,"a":2}',
    "{}",
    "[]",
    "[[]]",
    '""',
    "-1",
    "0",
    "2",
    "64",
    "4611686018427387904",
    "281474976710656",
)
_TEXTS = (
    "",
    " ",
    "..",
    "../x.md",
    "/etc/passwd",
    "C:\\x.md",
    "con.md",
    "README.md",
    "readme.md",
    "artifact.json",
    "a" * 201,
    "\x1b[2J",
    "\u2028",
    "sha256:" + "0" * 64,
    "sha256:" + "0" * 63,
    "latest",
    "none",
    "é",
    "e\u0301",
    "1",
)
_BYTES = (b"", b"\0", b"\xff", b"{", b"}", b'"', b"[", b"]", b",", b":", b"\xef\xbb\xbf", b"\\u")

Mutate = Callable[[bytes, Random], bytes]


def mutate(seeds: Sequence[bytes], random: Random, structured: Mutate) -> bytes:
    """One input: a seed, spoilt once or a few times."""
    content = random.choice(seeds)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        kind = random.randrange(8)
        if kind >= 4:
            content = structured(content, random)
        elif kind == 0:
            content = _flip(content, random)
        elif kind == 1:
            content = content[: random.randint(0, len(content))]
        elif kind == 2:
            content = _splice(content, random.choice(seeds), random)
        else:
            content = _overwrite(content, random)
    return content


def mutate_bytes(content: bytes, random: Random) -> bytes:
    """For what has no structure that is known here."""
    return _overwrite(_flip(content, random), random)


def mutate_json(content: bytes, random: Random) -> bytes:
    """Change a node of a JSON document; what is no JSON is changed as bytes."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return mutate_bytes(content, random)
    return _dump(_changed(data, random), random)


def mutate_tensors(content: bytes, random: Random) -> bytes:
    """Change the header, its metadata, its claimed length or the data of a safetensors file."""
    length = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + length], content[8 + length :]
    kind = random.randrange(6)
    if kind == 0:
        claim = random.choice((0, 1, length - 1, length + 1, 2**31, 2**32, 2**63, 2**64 - 1))
        return (claim % 2**64).to_bytes(8, "little") + content[8:]
    if kind == 1:
        data = _flip(data, random) if random.random() < 0.5 else _floats(data, random)
    elif kind == 2:
        data = data + b"\0" * random.randint(1, 9)
    elif kind == 3:
        header = _mutate_metadata(header, random)
    else:
        header = mutate_json(header, random)
    return len(header).to_bytes(8, "little") + header + data


def _mutate_metadata(header: bytes, random: Random) -> bytes:
    try:
        data = json.loads(header)
        text = data["__metadata__"]["wsdarts"]
        data["__metadata__"]["wsdarts"] = mutate_json(text.encode(), random).decode()
        return json.dumps(data).encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return mutate_json(header, random)


def _flip(content: bytes, random: Random) -> bytes:
    if not content:
        return content
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 8))):
        position = random.randrange(8 * len(content))
        changed[position // 8] ^= 1 << position % 8
    return bytes(changed)


def _splice(content: bytes, other: bytes, random: Random) -> bytes:
    start = random.randint(0, len(other))
    piece = other[start : start + random.choice((1, 4, 16, 64, 1024))]
    at = random.randint(0, len(content))
    return content[:at] + piece + content[at + random.choice((0, len(piece))) :]


def _overwrite(content: bytes, random: Random) -> bytes:
    at = random.randint(0, len(content))
    piece = random.choice(_BYTES) * random.choice((1, 1, 1, 8, 3000))
    return content[:at] + piece + content[at + random.choice((0, 1, len(piece))) :]


def _floats(data: bytes, random: Random) -> bytes:
    """NaN, infinity, -1 or the smallest number somewhere, as float32."""
    pieces = (b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xbf", b"\1\0\0\0", b"\0\0\0\0")
    at = random.randrange(0, max(1, len(data) - 3), 4)
    return data[:at] + random.choice(pieces) + data[at + 4 :] if len(data) >= 4 else data


def _changed(data: Any, random: Random) -> Any:
    """A copy of the data with one node changed."""
    data = copy.deepcopy(data)
    places = _places(data)
    if not places:
        return _value(random)
    holder, key = random.choice(places)
    kind = random.randrange(6)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[_text(random)] = holder.pop(key)
    elif kind == 2:
        other, name = random.choice(places)
        holder[key] = copy.deepcopy(other[name])
    elif kind == 3 and isinstance(holder, list):
        holder.extend(copy.deepcopy(holder[key]) for _ in range(random.choice((1, 2, 70))))
    elif kind == 3:
        holder[_text(random)] = copy.deepcopy(holder[key])
    elif kind == 4 and isinstance(holder[key], (int, float)):
        holder[key] += random.choice((-1, 1, 2**31, 2**53, 2**63, 0.5))
    else:
        holder[key] = _value(random)
    return data


def _places(data: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    waiting = [data]
    while waiting:
        holder = waiting.pop()
        keys = holder if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            found.append((holder, key))
            if isinstance(holder[key], (dict, list)):
                waiting.append(holder[key])
    return found


def _value(random: Random) -> Any:
    if random.random() < 0.4:
        return random.choice((_text(random), [], {}, [_text(random)], {_text(random): 1}, True))
    return f"{_MARK}{random.randrange(len(_RAW))}{_MARK}"


def _text(random: Random) -> str:
    return random.choice(_TEXTS)


def _dump(data: Any, random: Random) -> bytes:
    text = json.dumps(data, ensure_ascii=random.random() < 0.5)
    for number, raw in enumerate(_RAW):
        for mark in (_MARK, "\\ue000"):
            text = text.replace(f'"{mark}{number}{mark}"', raw)
    return text.encode("utf-8", "surrogatepass")
