"""Progress of long work on a terminal and elsewhere."""

import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wsdarts_hub.cli.shared.long_work import _spent, shown_progress
from wsdarts_sdk.progress import TimeSpent

pytestmark = pytest.mark.processes

WHAT = "stage 1/3, epoch 2/4, batches in 12 parts to fit into memory"


class Terminal(io.StringIO):
    """Takes what would be shown."""

    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, *, width: int, **environment: str) -> str:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    for name, value in {"TERM": "xterm", "COLUMNS": str(width), **environment}.items():
        monkeypatch.setenv(name, value)
    with shown_progress(quiet=False, spent=TimeSpent(3 * 3600 + 65)) as progress:
        progress(WHAT, 0, 1000)
        progress(WHAT, 410, 1000)
    return terminal.getvalue()


@pytest.mark.parametrize("width", [60, 80, 160])
def test_one_line_that_leaves_room_for_control_c(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown(monkeypatch, width=width))
    lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
    assert all(line.startswith(("starting", "stage 1/3, epoch")) for line in lines), lines
    # A line that "^C" breaks would stay on the screen.
    assert max(map(len, lines)) <= width - 3
    assert re.search(r"^stage 1/3, .* 41% .*3 h 01 min", lines[-1])
    assert ("━" in lines[-1]) == (width >= 80)


def test_lines_where_there_is_no_such_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, width=60, TERM="dumb").splitlines() == [
        f"{WHAT}: 0 %, 3 h 01 min so far"
    ]


def test_a_run_that_is_none_has_cost_nothing(tmp_path: Path) -> None:
    assert _spent(None, resume=True).before == 0
    assert _spent(tmp_path, resume=True).before == 0


HELD_PHASES = Path(__file__).parent.parent / "held_phases"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("held", "said"),
    [("import", r"embed: working, [0-9]+ s"), ("compiler", r"compiling .*: 0 %, working for")],
)
def test_a_phase_that_reports_nothing_is_told_of(
    held: str, said: str, images: Path, tmp_path: Path
) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text("#!/bin/sh\nexec sleep 3600\n")
    compiler.chmod(0o700)
    place = {"CXX": str(compiler)} if held == "compiler" else {"HELD_IMPORT": "torch"}
    environment = {
        **os.environ,
        **place,
        "WSDARTS_HUB_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": str(HELD_PHASES),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "wsdarts_hub", "embed", images, "--out", tmp_path / "out"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stderr is not None
        lines = list[str]()
        try:
            for line in process.stderr:
                lines.append(line)
                if re.match(said, line):
                    process.send_signal(signal.SIGINT)  # it ends its compiler
        except BaseException:  # such as that of a time limit: nothing else would end the program
            process.kill()
            raise
    assert any(re.match(said, line) for line in lines), lines
    assert process.returncode == 130, lines
