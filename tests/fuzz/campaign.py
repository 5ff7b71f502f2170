"""Many inputs for every reader: only our own errors, no hang, no memory beyond the limit."""

import resource
import signal
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.mutation import mutate
from tests.fuzz.readers import Reader
from wsdarts_registry import _json
from wsdarts_registry.errors import ArtifactError, WsdartsError

_CPU_SECONDS = 2.0
_SECONDS = 60.0  # for what waits instead of computing
_ROOM = 512 * 2**20
_FROM_HYPOTHESIS = 5  # every so many inputs
_LONGEST_ERROR = 4000

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _TEXTS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(_TEXTS | st.just("format"), inner, max_size=4)
    ),
    max_leaves=12,
)


class TooSlowError(BaseException):
    """An input took too long; no reader can catch this by accident."""


@dataclass(kw_only=True)
class Outcome:
    """What happened.

    Attributes:
        read: How many inputs each reader accepted.
        refused: How many it refused.
        failures: Reader, input and problem of each failure.
    """

    read: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, bytes, BaseException]] = field(default_factory=list)

    @property
    def inputs(self) -> int:
        """How many inputs there were."""
        return self.read.total() + self.refused.total() + len(self.failures)


def run(
    readers: dict[str, Reader], inputs: int, seed_: int, step: Callable[[Outcome], None]
) -> Outcome:
    """Give each reader its share of the inputs; the same seed gives the same inputs."""
    outcome = Outcome()
    for number, (name, reader) in enumerate(readers.items()):
        share = inputs * (number + 1) // len(readers) - inputs * number // len(readers)
        generated = share // _FROM_HYPOTHESIS

        def check(content: bytes, name: str = name, reader: Reader = reader) -> None:
            _count(outcome, name, reader, content)
            step(outcome)

        _generate(check, generated, seed_)
        done = outcome.read[name] + outcome.refused[name]
        done += sum(failed == name for failed, _, _ in outcome.failures)
        for index in range(share - done):
            random = Random(f"{seed_}/{name}/{index}")
            check(mutate(reader.seeds, random, reader.mutate))
    return outcome


def check_input(reader: Reader, content: bytes) -> bool:
    """Whether the reader accepts an input; whatever is no error of ours is raised."""
    with _time_limit(), warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            reader.read(content)
        except WsdartsError as error:
            text = str(error)
            assert text.isprintable(), f"the error is not one harmless line: {text!r}"
            assert len(text) <= _LONGEST_ERROR
            return False
    return True


@contextmanager
def memory_limit() -> Iterator[None]:
    """Let this process claim little more than it holds; a reader that does fails."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * resource.getpagesize() + _ROOM
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _count(outcome: Outcome, name: str, reader: Reader, content: bytes) -> None:
    try:
        (outcome.read if check_input(reader, content) else outcome.refused)[name] += 1
    except (Exception, TooSlowError) as problem:  # noqa: BLE001
        outcome.failures.append((name, content, problem))


def _generate(check: Callable[[bytes], None], count: int, seed_: int) -> None:
    """Inputs by hypothesis: any bytes, any JSON, and tensors with any header."""

    def dumped(data: object) -> bytes:
        try:
            return _json.dump(data)
        except ArtifactError:
            return b"[]"

    json_ = _JSON.map(dumped)
    tensors = st.builds(
        lambda header, data: len(header).to_bytes(8, "little") + header + data,
        json_,
        st.binary(max_size=30),
    )

    @seed(seed_)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.binary(max_size=300) | json_ | tensors)
    def generated(content: bytes) -> None:
        check(content)

    if count:
        generated()


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlowError(f"took over {_CPU_SECONDS:g} s of computing or {_SECONDS:g} s in all")

    before = signal.signal(signal.SIGVTALRM, stop), signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, _CPU_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGVTALRM, before[0])
        signal.signal(signal.SIGALRM, before[1])
