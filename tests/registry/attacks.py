"""Files as an attacker would write them, and a process in which they must stay cheap."""

import json
import subprocess
import sys
from typing import Any

# Room for a reader beside what Python, numpy and the registry take themselves.
_ROOM = 192 * 2**20

# JSON that a strict reader refuses, and what it says.
BAD_JSON = {
    "deep lists": (b"[" * 100_000, "not valid JSON"),
    "deep objects": (b'{"a":' * 100_000, "not valid JSON"),
    "closed deep lists": (b"[" * 33 + b"]" * 33, "nested deeper than 32 levels"),
    "a key twice": (b'{"a":1,"a":2}', "a key stands twice"),
    "a key twice by escape": (b'{"a":1,"\\u0061":2}', "a key stands twice"),
    "NaN": (b"[NaN]", "NaN is no JSON number"),
    "infinity": (b"[-Infinity]", "Infinity is no JSON number"),
    "1e999": (b"[1e999]", "a number is too large"),
    "10^10000": (b"[1" + b"0" * 10_000 + b"]", "more than 63 bits"),
    "2^63": (b"[9223372036854775808]", "more than 63 bits"),
    "lone surrogate": (b'["\\ud800"]', "not valid JSON"),
    "lone surrogate as a key": (b'{"\\udc00":1}', "not valid JSON"),
    "byte order mark": (b"\xef\xbb\xbf{}", "not valid JSON"),
    "UTF-16": ('{"a":1}'.encode("utf-16"), "not valid JSON"),
    "overlong UTF-8": (b'"\xc0\xaf"', "not valid JSON"),
    "two values": (b"{} {}", "not valid JSON"),
    "empty": (b"", "not valid JSON"),
    "a zero byte": (b'{"a":"\0"}', "not valid JSON"),
    "a comment": (b"{} // x", "not valid JSON"),
    "a comma at the end": (b"[1,]", "not valid JSON"),
    "a leading zero": (b"[01]", "not valid JSON"),
    "too long": (b'"' + b"x" * (4 * 2**20) + b'"', "expected at most"),
}


def safetensors(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A file with any header, and any claim of its length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    claimed = len(text) if length is None else length
    return claimed.to_bytes(8, "little") + text + data


def tensor(dtype: str = "U8", shape: Any = (2,), offsets: Any = (0, 2)) -> dict[str, Any]:
    """An entry of a header."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def run_in_little_memory(code: str, *arguments: str) -> str:
    """Run code in a process that can claim little more memory than its imports took.

    The code has ``sys``, ``Path``, and everything that reads; what it prints is returned.
    """
    script = f"""
import resource, sys
from pathlib import Path
import numpy as np
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.embedding.ranking import read_matrix
from wsdarts_registry.errors import WsdartsError
pages = int(Path("/proc/self/statm").read_text().split()[0])
most = pages * resource.getpagesize() + {_ROOM}
resource.setrlimit(resource.RLIMIT_AS, (most, most))
{code}
"""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
