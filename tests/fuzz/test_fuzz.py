"""A short share of `make fuzz`, and that it notices what it is there for."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fuzz.campaign import TooSlowError, check_input, run
from tests.fuzz.mutation import mutate_bytes
from tests.fuzz.readers import Reader, make_readers
from wsdarts_registry.errors import WsdartsError

pytestmark = pytest.mark.processes


def test_a_share_of_all_inputs(tmp_path: Path) -> None:
    outcome = run(make_readers(tmp_path), 2000, 7, lambda outcome: None)
    assert [(name, repr(problem)) for name, _, problem in outcome.failures] == []
    assert outcome.inputs == 2000
    # Mutants that are never read would test the first check alone.
    assert outcome.read.total() > 100
    assert outcome.refused.total() > 1000


def test_every_seed_is_read(tmp_path: Path) -> None:
    for reader in make_readers(tmp_path).values():
        assert all(check_input(reader, seed) for seed in reader.seeds)


def test_the_same_seed_gives_the_same_inputs() -> None:
    def inputs(seed: int) -> list[bytes]:
        found: list[bytes] = []
        run({"x": _reader(found.append)}, 200, seed, lambda outcome: None)
        return found

    assert inputs(1) == inputs(1)
    assert inputs(1) != inputs(2)


def test_what_is_no_error_of_ours_is_a_failure() -> None:
    def read(content: bytes) -> None:
        if content.startswith(b"seed"):
            return
        raise WsdartsError("refused") if len(content) % 2 else KeyError("x")

    outcome = run({"x": _reader(read)}, 200, 1, lambda outcome: None)
    assert {type(problem) for _, _, problem in outcome.failures} == {KeyError}
    assert outcome.refused["x"]


def test_a_hang_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def compute(content: bytes) -> None:
        while True:
            pass

    monkeypatch.setattr("tests.fuzz.campaign._CPU_SECONDS", 0.05)
    with pytest.raises(TooSlowError):
        check_input(_reader(compute), b"")
    monkeypatch.setattr("tests.fuzz.campaign._SECONDS", 0.05)
    with pytest.raises(TooSlowError):
        check_input(_reader(lambda content: time.sleep(30)), b"")


def test_an_input_is_read_again_by_the_command_that_is_printed(tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"../x")
    command = [sys.executable, "-m", "tests.fuzz", "--reader", "reference", "--input"]
    done = subprocess.run(
        [*command, str(tmp_path / "input")], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("refused")


def _reader(read: object) -> Reader:
    return Reader(read=read, seeds=[b"seed"], mutate=mutate_bytes)  # type: ignore[arg-type]
