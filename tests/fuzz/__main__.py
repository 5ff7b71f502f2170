"""`python -m tests.fuzz --inputs 100000 --seed 1`, which is what `make fuzz` runs."""

import argparse
import hashlib
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.fuzz.campaign import Outcome, check_input, memory_limit, run
from tests.fuzz.readers import make_readers

_FAILURES = Path("fuzz-failures")
_MOST_SAVED = 20


def main() -> int:
    """Fuzz, or read one input again; the exit code says whether anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="how many, for all readers")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same inputs")
    parser.add_argument("--reader", action="append", help="only this reader; may be repeated")
    parser.add_argument("--input", type=Path, help="read this file with --reader instead")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, memory_limit():
        readers = make_readers(Path(folder))
        unknown = set(chosen.reader or ()) - set(readers)
        if unknown or (chosen.input and len(chosen.reader or ()) != 1):
            parser.error(f"--reader is one of {', '.join(readers)}")
        if chosen.reader:
            readers = {name: readers[name] for name in chosen.reader}
        if chosen.input:
            (reader,) = readers.values()
            accepted = check_input(reader, chosen.input.read_bytes())
            print("read" if accepted else "refused, as it should be")
            return 0
        outcome = run(readers, chosen.inputs, chosen.seed, Progress(chosen.inputs))
    return report(outcome)


class Progress:
    """Says once a second how far it is and how long it will take."""

    def __init__(self, inputs: int) -> None:
        self._inputs = inputs
        self._start = self._last = time.monotonic()

    def __call__(self, outcome: Outcome) -> None:
        """Count one more input."""
        now = time.monotonic()
        if now - self._last < 1:
            return
        self._last = now
        left = (now - self._start) * (self._inputs / outcome.inputs - 1)
        print(
            f"\r{outcome.inputs:,} of {self._inputs:,} inputs, {len(outcome.failures)} failed, "
            f"about {left:.0f} s left ",
            end="",
            file=sys.stderr,
            flush=True,
        )


def report(outcome: Outcome) -> int:
    """Print what happened, and keep the inputs that failed."""
    print(file=sys.stderr)
    failed = [name for name, _, _ in outcome.failures]
    print(f"{'reader':<12}{'read':>8}{'refused':>9}{'failed':>8}")
    for name in sorted({*outcome.read, *outcome.refused, *failed}):
        counts = outcome.read[name], outcome.refused[name], failed.count(name)
        print(f"{name:<12}{counts[0]:>8,}{counts[1]:>9,}{counts[2]:>8,}")
    for name, content, problem in outcome.failures[:_MOST_SAVED]:
        _FAILURES.mkdir(exist_ok=True)
        path = _FAILURES / f"{name}-{hashlib.sha256(content).hexdigest()[:12]}"
        path.write_bytes(content)
        last = traceback.extract_tb(problem.__traceback__)[-1]
        print(f"\n{type(problem).__name__}: {str(problem)[:200]!r} in {last.name}, {last.lineno}")
        print(f"  python -m tests.fuzz --reader {name} --input {path}")
    print(f"\n{outcome.inputs:,} inputs, {len(outcome.failures)} failed")
    return 1 if outcome.failures else 0


if __name__ == "__main__":
    sys.exit(main())
