"""Recording of the main job in a terminal: ``python -m docs.pictures.recording`` makes it anew.

It runs the commands of the quick start on the digits of scikit-learn, in a terminal of 92 columns,
and keeps what they print: as text in ``main-job.txt``, and as the picture made of that. Left out
are costs, which depend on how busy the machine is, the second ranking, and most of the cells.
"""

import os
import pty
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from docs.pictures.canvas import SIZE
from wsdarts_registry._files import write_atomically
from wsdarts_registry.drawing.svg import MONO, Picture, element, text

FOLDER = Path(__file__).resolve().parents[1] / "images"
TRANSCRIPT, PICTURE = FOLDER / "main-job.txt", FOLDER / "main-job.svg"
COLUMNS = 92
_COMMANDS = (
    ("nearest", "photos"),
    ("warm-start", "photos", "--preset", "tiny", "--no-flip", "--out", "run"),
    ("train", "run", "photos", "--preset", "tiny", "--no-flip", "--epochs", "30", "--out", "net"),
)
_CUT = "  …"
_CELL, _CELL_LINES = "normal cell", 4  # so many are shown below that heading
# Headings, with whether what stands below them is shown.
_SECTIONS = {
    "start": True,
    "genotype": True,
    _CELL: True,
    **dict.fromkeys(("nearest artifacts", "reduction cell", "cost", "next"), False),
}
_LETTER, _LINE, _LEFT, _TOP = 7.6, 18.0, 20.0, 62.0
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_DIGITS = """
from pathlib import Path
from PIL import Image
from sklearn.datasets import load_digits
digits = load_digits()
for number in range(600):
    folder = Path("photos", str(digits.target[number]))
    folder.mkdir(parents=True, exist_ok=True)
    pixels = (digits.images[number] * 15).astype("uint8")
    Image.fromarray(pixels).save(folder / f"{number:04}.png")
"""


def record(settings: Sequence[Sequence[str]] = ((), (), ())) -> str:
    """Run the commands and return what they print, with the commands.

    Args:
        settings: Further arguments of each command, which are not shown.
    """
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        subprocess.run([sys.executable, "-c", _DIGITS], cwd=place, check=True)  # noqa: S603
        for words, more in zip(_COMMANDS, settings, strict=True):
            lines.append(f"$ wsdarts-hub {' '.join(words)}")
            lines += [*_shortened(_printed([*words, *more], Path(place))), ""]
    return "\n".join(lines)


def _printed(arguments: Sequence[str], place: Path) -> list[str]:
    """Run one command; return the lines of its result, and of its warnings."""
    terminal, inside = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "TERM": "xterm", "NO_COLOR": "1"}
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "wsdarts_hub", *arguments],
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=inside,
            stderr=told,
        )
        os.close(inside)
        printed = b"".join(_read(terminal)).decode()
        os.close(terminal)
        code = process.wait()
        told.seek(0)
        said = told.read().decode()
    if code:
        raise RuntimeError(said)
    warnings = [line for line in said.splitlines() if line.startswith("warning:")]
    return [*_ESCAPES.sub("", printed).replace("\r", "").splitlines(), *warnings]


def _read(terminal: int) -> Iterator[bytes]:
    try:
        while part := os.read(terminal, 2**16):
            yield part
    except OSError:  # nobody writes to it any more
        return


def _shortened(lines: Sequence[str]) -> list[str]:
    """Leave out the sections that are not shown, and most of a cell."""
    found: list[str] = []
    section, rows = "", 0
    for line in filter(str.strip, lines):
        if line in _SECTIONS:
            section, rows = line, -1
        rows += 1
        whole = section != _CELL or rows <= _CELL_LINES
        if not _SECTIONS.get(section, True):
            continue
        if whole:
            found.append(line.rstrip())
        elif found[-1] != _CUT:
            found.append(_CUT)
    return found


def draw(transcript: str) -> str:
    """Draw a transcript as a window with light and dark colours."""
    lines = transcript.strip("\n").split("\n")
    dots = ("dil-full", "pool-full", "sep-full")
    body = [
        element("circle", style, cx=_LEFT + 6 + 20 * place, cy=22, r=6)
        for place, style in enumerate(dots)
    ]
    for row, line in enumerate(lines):
        body += _drawn(line, _TOP + row * _LINE)
    commands = [line[2:] for line in lines if line.startswith("$ ")]
    return Picture(
        body="\n".join(body),
        width=2 * _LEFT + COLUMNS * _LETTER,
        height=_TOP + len(lines) * _LINE,
        title="The main job in a terminal",
        description=f"{', then '.join(commands)}, with what they print: {' / '.join(lines)}",
    ).framed("wsd-main-job")


def _drawn(line: str, y: float) -> Iterator[str]:
    """Draw the words of a line, each column of a table at its place."""
    style, bold = "ink", line.startswith("$ ")
    if line.startswith("warning:"):
        style = "dil-ink"
    elif line == _CUT:
        style = "soft"
    for chunk in re.finditer(r"\S+(?: \S+)*", line):
        weight: dict[str, str | float] = {"font_weight": "700"} if bold else {}
        x = _LEFT + chunk.start() * _LETTER
        yield element(
            "text",
            style,
            text(chunk[0]),
            x=x,
            y=y,
            font_size=SIZE - 0.5,
            font_family=MONO,
            **weight,
        )


def main() -> None:
    """Record, and write text and picture."""
    transcript = record()
    write_atomically(TRANSCRIPT, transcript.encode())
    write_atomically(PICTURE, draw(transcript).encode())


if __name__ == "__main__":
    main()
