"""Whole sessions with a Hub that answers wrongly: each ends in a right result or one line.

A session opens a registry with an empty cache, does one thing, and meets answers of which some are
spoilt: in their JSON, headers, status, length or end. The same seed spoils the same way, as far as
requests come in the same order.

`python -m tests.fuzz.hub_sessions --sessions 2000 --seed 1` is a part of what `make fuzz` runs.
"""

import argparse
import itertools
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any
from unittest import mock

from huggingface_hub import constants

from tests.fuzz.campaign import TooSlowError
from tests.hub_server import ALICE, HubServer
from tests.registry.factories import make_artifact, make_embedding
from tests.registry.stores.huggingface.hostile_hub import HostileHub, Request, Response
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.errors import WsdartsError
from wsdarts_registry.stores.huggingface import _retries, _transport
from wsdarts_registry.stores.huggingface.store import HubStore

_SECONDS = 60.0
# What a session may make a Hub send, at most: one endless answer and what was on its way.
_MOST_SENT = 4 * _transport.MAX_RESPONSE_BYTES
_LONGEST_ERROR = 4000
# What the library writes into its cache.
_CACHED = re.compile(
    r"hub/[0-9a-f]{64}\.json|hub/files/[0-9a-f]{64}"
    r"|(artifacts|outlines)/[0-9a-f]{64}/[A-Za-z0-9_./-]+|nearest/[0-9a-f]+\.npy"
    r"|seen/[0-9a-f]{32}\.((jsonl|signatures)(\.lock)?|own\.lock)"
)
_ENDLESS_PAGES = itertools.count()

Work = Callable[[HubStore, Path], object]


class Campaign:
    """Sessions with one hostile hub.

    Args:
        folder: An empty directory: the hub, what is pushed, and the caches of the sessions.
    """

    def __init__(self, folder: Path) -> None:
        self._world = folder / "world"
        self._made = folder / "made"
        self._honest = HubServer(folder / "hub")
        self._hub = HostileHub(self._honest)
        self.read: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.failures: list[tuple[int, str, BaseException]] = []
        (self._world / "elsewhere").mkdir(parents=True)
        (self._world / "elsewhere" / "precious").write_text("mine")
        self.work = _work()
        for word in ("first", "second", "third"):
            make_artifact(self._made / word, "flowers", description=word)
        self._digests = {read_artifact(self._made / w).digest for w in ("first", "second", "third")}
        with self._cache("preparation"):
            store = HubStore("hf://acme", endpoint=self._honest.url)
            store.publish(self._made / "first", "flowers")
            store.publish(self._made / "second", "flowers")
            store.publish(self._made / "third", "birds")
            store.set_alias("flowers", "stable", 1)

    def close(self) -> None:
        """Close both hubs."""
        self._hub.close()
        self._honest.close()

    def session(self, number: int, seed: int) -> None:
        """Run one session, and count what came of it."""
        name = Random(f"{seed}/{number}").choice(sorted(self.work))
        spoiler = self.spoiler(number, seed)
        self._hub.sent, self._hub.spoil = 0, spoiler
        before = _everything(self._world)
        try:
            with self._cache(str(number)) as cache, _time_limit():
                ended = self._do(name)
            (self.read if ended else self.refused)[name] += 1
            assert _everything(self._world) == before, "something outside the cache changed"
            assert self._hub.sent <= _MOST_SENT, f"{self._hub.sent} bytes were taken"
            strange = [path for path in _files(cache) if not _CACHED.fullmatch(path)]
            assert not strange, f"the cache holds {strange}"
        except (Exception, TooSlowError) as problem:  # noqa: BLE001
            self.failures.append((number, f"{name}: {spoiler.done}", problem))
        finally:
            shutil.rmtree(self._world.parent / "caches", ignore_errors=True)

    def spoiler(self, number: int, seed: int) -> "Spoiler":
        """What spoils the answers of a session."""
        return Spoiler(Random(f"{seed}/{number}/spoil"), str(self._world / "elsewhere"))

    def _do(self, name: str) -> bool:
        """Whether a session ended in a result, which then is right."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                store = HubStore("hf://acme", endpoint=self._hub.url)
                found = self.work[name](store, self._made)
            except WsdartsError as error:
                text = str(error)
                assert text.isprintable(), f"the error is not one harmless line: {text!r}"
                assert len(text) <= _LONGEST_ERROR
                assert ALICE.token not in text
                return False
        digests = [item.digest for item in found] if isinstance(found, tuple) else []
        assert set(digests) <= self._digests, "it is not what was published"
        return True

    @contextmanager
    def _cache(self, name: str) -> Iterator[Path]:
        """An empty cache, a login, and no retry."""
        cache = self._world.parent / "caches" / name
        places = {"WSDARTS_HUB_CACHE": str(cache), "HF_TOKEN": ALICE.token, "NO_PROXY": "*"}
        with (
            mock.patch.dict(os.environ, places),
            mock.patch.object(constants, "HF_HUB_CACHE", str(self._world / "huggingface")),
            mock.patch.object(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1.0),
            mock.patch.object(_transport, "TIMEOUT", 1.0),
            mock.patch.object(_transport, "MAX_PAGES", 30),
            mock.patch.object(_retries, "FIRST_PAUSE", 0.001),
            mock.patch.object(_retries, "FIRST_CONFLICT_PAUSE", 0.001),
            mock.patch.object(_retries, "LONGEST_PAUSE", 0.002),
            mock.patch.object(_retries, "LONGEST_CONFLICT_PAUSE", 0.002),
            mock.patch.object(_retries, "CONFLICT_SECONDS", 1.0),
        ):
            yield cache


def _work() -> dict[str, Work]:
    def pull(store: HubStore, made: Path) -> object:
        artifact = store.pull("flowers")
        assert read_artifact(artifact.directory).digest == artifact.digest
        return (artifact,)

    def rank(store: HubStore, made: Path) -> object:
        return store.nearest(make_embedding("query"))

    def alias(store: HubStore, made: Path) -> object:
        store.set_alias("flowers", "stable", 2)
        return None

    return {
        "pull": pull,
        "look": lambda store, made: (store.pull_without_weights("flowers@stable"),),
        "list": lambda store, made: store.entries(),
        "rank": rank,
        "push": lambda store, made: (store.publish(made / "third", "cars"),),
        "push again": lambda store, made: (store.publish(made / "first", "flowers"),),
        "alias": alias,
        "rebuild": lambda store, made: bool(store.rebuild_index()),
    }


class Spoiler:
    """Spoils some of the answers of one session.

    Args:
        random: Decides which and how.
        outside: A directory that a hostile path may lead to.
    """

    def __init__(self, random: Random, outside: str) -> None:
        self._random = random
        self._outside = outside
        # Some sessions meet one wrong answer, some hardly a right one.
        self._share = random.choice([0.05, 0.2, 0.5, 1.0])
        self._lock = threading.Lock()
        self._endless = 1  # of one session, so that it ends
        self.done: list[str] = []

    def __call__(self, request: Request, response: Response) -> None:
        """Change an answer, or leave it."""
        with self._lock:
            if self._random.random() >= self._share:
                return
            way = self._random.choice(
                [self._json, self._json, self._json, self._header, self._status, self._body]
            )
            self.done.append(f"{way.__name__} {request.path[:60]}")
            way(response)

    def _json(self, response: Response) -> None:
        if not response.is_json or not isinstance(response.body, bytes):
            self._header(response)
            return
        data = json.loads(response.body)
        for _ in range(self._random.choice([1, 1, 3])):
            data = self._mutated(data)
        try:
            response.body = json.dumps(data).encode("utf-8", "surrogatepass")
        except (ValueError, RecursionError):
            response.body = b"[" * 100_000

    def _mutated(self, data: Any) -> Any:
        inner = isinstance(data, (dict, list)) and bool(data)
        if not inner or self._random.random() < 0.15:
            return self._value()
        data = data.copy()
        key = self._random.choice(sorted(data) if isinstance(data, dict) else range(len(data)))
        if self._random.random() < 0.1:
            del data[key]
        else:
            data[key] = self._mutated(data[key])
        return data

    def _value(self) -> Any:
        outside = f"{self._outside}/{self._random.randrange(100)}"
        return self._random.choice(
            [
                *(None, True, 0, -1, 2**70, 1e300, float("nan"), "", [], {}, [[]], {"": {}}),
                *(
                    outside,
                    f"{'../' * 30}{outside[1:]}",
                    f"{self._outside}/precious",
                    "..",
                    "a/../b",
                ),
                *("a\0b", "a\nb", "\x1b[2J", "\ud800", "x" * 100_000, "v1", "main", "-"),
                *("a" * 40, "A" * 40, "f" * 64, "a" * 41, "http://[x", "file:///etc/passwd"),
                *(f"http://localhost:9/{outside}", ["x"] * 1000, {str(n): n for n in range(1000)}),
                *("README.md", "registry.json", "../registry.json", "artifact.json/../../x"),
            ]
        )

    def _header(self, response: Response) -> None:
        outside = f"{self._outside}/{self._random.randrange(100)}"
        name, value = self._random.choice(
            [
                *[
                    (n, v)
                    for n in ("X-Repo-Commit", "ETag", "X-Linked-ETag")
                    for v in (outside, "")
                ],
                *[
                    ("Location", v)
                    for v in (outside, "/x", "http://[x", "http://192.0.2.1/", "//x")
                ],
                ("Link", f'</api/models?page={next(_ENDLESS_PAGES)}>; rel="next"'),
                ("Link", '<http://192.0.2.1/api/models>; rel="next"'),
                ("Link", "<<<<<<" * 1000),
                *[("Retry-After", v) for v in ("9" * 9, "9" * 5000, "-1", "x", "\u0663")],
                *[("Content-Encoding", v) for v in ("gzip", "br", "x")],
                ("X-Error-Code", self._random.choice(["GatedRepo", "RepoNotFound", "x"])),
                ("X-Error-Message", f"\x1b[2J{ALICE.token} http://x/y"),
                ("X-Huge", "x" * 200_000),
                ("X-Xet-Hash", "a" * 64),
                ("Set-Cookie", "a=b"),
                ("Content-Type", "text/html"),
            ]
        )
        response.set(name, value)
        if self._random.random() < 0.3:
            response.headers += [(f"X-{n}", "x") for n in range(500)]

    def _status(self, response: Response) -> None:
        response.status = self._random.choice(
            [
                *(101, 201, 204, 206, 301, 302, 304, 307, 308, 400, 401, 403, 404, 409, 412, 416),
                *(418, 429, 500, 503, 599, 999),
            ]
        )
        if self._random.random() < 0.5:
            self._header(response)
        if self._random.random() < 0.1:
            response.before = b"HTTP/1.1 100 Continue\r\n\r\n" * 1000

    def _body(self, response: Response) -> None:
        content = response.body if isinstance(response.body, bytes) else b""
        kind = self._random.choice(
            ["cut", "empty", "html", "noise", "length", "chunks", "deep", "endless", "flip"]
        )
        if kind == "endless":
            if not self._endless:
                kind = "noise"
            else:
                self._endless -= 1
                response.body = itertools.repeat(self._random.choice([b"x", b" ", b"["]) * 2**16)
                response.length = self._random.choice(["", None, "489000000"])
        if kind == "cut":
            response.body, response.length = content[: len(content) // 2], str(len(content) + 1)
        elif kind == "length":
            response.length = self._random.choice(["-1", "9" * 30, "x", "3", "0"])
        elif kind == "chunks":
            response.length = None
        elif kind == "flip" and content:
            at = self._random.randrange(len(content))
            response.body = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        elif kind in ("empty", "html", "noise", "deep"):
            response.body = {
                "empty": b"",
                "html": b"<html>Log in to this network</html>",
                "noise": self._random.randbytes(self._random.randrange(1, 5000)),
                "deep": self._random.choice([b"[", b'{"a":']) * 100_000,
            }[kind]


def _everything(world: Path) -> dict[str, tuple[float, bytes]]:
    return {
        path: (file.lstat().st_mtime_ns, file.read_bytes())
        for path in _files(world)
        if (file := world / path)
    }


def _files(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if not p.is_dir())


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlowError(f"took over {_SECONDS:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def main() -> int:
    """Run sessions; the exit code says whether anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.hub_sessions", description=__doc__)
    parser.add_argument("--sessions", type=int, default=2000, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="the same seed spoils the same way")
    parser.add_argument("--session", type=int, help="run this one alone")
    chosen = parser.parse_args()
    numbers = range(chosen.sessions) if chosen.session is None else [chosen.session]
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder))
        for number in numbers:
            campaign.session(number, chosen.seed)
            if number % 50 == 49:
                failed = len(campaign.failures)
                print(f"\r{number + 1:,} sessions, {failed} failed ", end="", file=sys.stderr)
        campaign.close()
    print(file=sys.stderr)
    for name in sorted({*campaign.read, *campaign.refused}):
        print(f"{name:<12}{campaign.read[name]:>8,}{campaign.refused[name]:>9,}")
    for number, what, problem in campaign.failures[:20]:
        print(f"\n{number}, {what[:1000]}\n{''.join(traceback.format_exception(problem))[-3000:]}")
        print(f"  python -m tests.fuzz.hub_sessions --seed {chosen.seed} --session {number}")
    print(f"\n{len(numbers):,} sessions, {len(campaign.failures)} failed")
    return 1 if campaign.failures else 0


if __name__ == "__main__":
    sys.exit(main())
