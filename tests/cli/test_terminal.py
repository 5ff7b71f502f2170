"""Output on a terminal, and into a pipe whose other end is gone."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import without_signs_of_life
from tests.conftest import SHORT_PAUSES
from tests.registry.factories import make_artifact, make_embedding
from wsdarts_registry.artifact.manifest import Lineage, Parent
from wsdarts_registry.stores.directory import DirectoryStore

pytestmark = pytest.mark.processes

PROGRAM = (sys.executable, "-m", "wsdarts_hub")


def on_terminal(*arguments: str, width: int, **environment: str) -> str:
    """Stdout and stderr of a command that runs on a terminal of that width."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    inherited = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS")}
    process = subprocess.Popen(
        [*PROGRAM, *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**inherited, "TERM": "xterm-256color", **environment},
    )
    os.close(slave)
    chunks = []
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not chunk:
            break
        chunks.append(chunk)
    os.close(master)
    process.wait()
    return b"".join(chunks).decode()


def test_a_table_fits_the_terminal(zoo: Path) -> None:
    shown = on_terminal("list", "--registry", str(zoo), width=60, NO_COLOR="1")
    lines = shown.splitlines()
    assert all(len(line) <= 60 for line in lines)
    assert len(lines) > 4  # some cells wrapped
    assert "\x1b" not in shown


def test_what_show_says_fits_and_paths_stay_whole(zoo: Path) -> None:
    shown = on_terminal("show", "flowers", "--registry", str(zoo), width=60, NO_COLOR="1")
    lines = shown.splitlines()
    wide = [line for line in lines if len(line) > 60]
    # What is copied is not broken: the digest, the directory.
    assert all(line.startswith(("digest ", "directory ")) for line in wide), wide
    first, second = (line for line in lines if "operations an edge" in line)
    assert re.match(r"masks +after stage 1: ", first)
    assert re.match(r" +after stage 2: ", second)
    assert "(no room for sha256)" in lines


def test_references_are_not_broken_while_other_cells_can_be(zoo: Path, tmp_path: Path) -> None:
    name = "a-name-that-is-rather-long-and-allowed"
    DirectoryStore(zoo).publish(tmp_path / "drafts" / "flowers-textures", name)
    for words in (("list",), ("nearest", query(tmp_path))):
        shown = on_terminal(*words, "--registry", str(zoo), width=60, NO_COLOR="1")
        assert all(len(line) <= 60 for line in shown.splitlines())
        assert any(line.startswith(f"{name}@1 ") for line in shown.splitlines()), shown


def test_a_task_of_a_ranking_stays_on_its_line(zoo: Path, tmp_path: Path) -> None:
    name = "a task of which the name has many words and does not fit"
    make_artifact(tmp_path / "named", name)
    DirectoryStore(zoo).publish(tmp_path / "named", "named")
    arguments = ("nearest", query(tmp_path), "--registry", str(zoo))
    lines = on_terminal(*arguments, width=70, NO_COLOR="1").splitlines()
    rows = lines[1 : lines.index("")]
    assert all("@" in row for row in rows if not row.startswith("(no room"))
    assert sum(re.search(r"^named@1 .*  a task .*…", row) is not None for row in rows) == 1
    whole = subprocess.run([*PROGRAM, *arguments], capture_output=True, check=True, text=True)
    assert name in whole.stdout


def query(path: Path) -> str:
    return str(make_embedding("query").save(path / "query.safetensors"))


def test_branches_of_a_tree_go_on_below_themselves(zoo: Path, tmp_path: Path) -> None:
    store = DirectoryStore(zoo)
    digest = store.resolve("flowers").digest
    for number in (1, 2):
        lineage = Lineage(mode="topology", parents=(Parent(reference="flowers@1", digest=digest),))
        directory = tmp_path / f"child-{number}"
        make_artifact(directory, description=str(number), lineage=lineage)
        store.publish(directory, "child-with-a-rather-long-name")
    reason = "the-labels-of-two-classes-were swapped in this version"
    store.yank("child-with-a-rather-long-name@1", reason)
    arguments = ("lineage", "flowers", "--registry", str(zoo))
    lines = on_terminal(*arguments, width=60, NO_COLOR="1").splitlines()
    assert all(len(line) <= 60 for line in lines)
    first, second = (store.resolve(CHILD.format(n)).digest[:19] for n in (1, 2))
    assert lines[3:] == [
        f"├─ child-with-a-rather-long-name@2  {second}",
        "│     topology",
        f"└─ child-with-a-rather-long-name@1  {first}",
        "      topology  yanked: the-labels-of-two-classes-were",
        "      swapped in this version",
    ]
    assert on_terminal(*arguments, width=60).startswith("\x1b[1mflowers@1")


CHILD = "child-with-a-rather-long-name@{}"


def test_colour_on_a_terminal_only(zoo: Path) -> None:
    arguments = ("show", "flowers", "--registry", str(zoo))
    assert "\x1b[1m" in on_terminal(*arguments, width=100)
    assert "\x1b" not in on_terminal(*arguments, width=100, NO_COLOR="1")
    assert "\x1b" not in on_terminal(*arguments, width=100, TERM="dumb")
    done = subprocess.run([*PROGRAM, *arguments], capture_output=True, check=True)
    assert b"\x1b" not in done.stdout


def test_spaces_in_the_name_of_a_directory_stay(zoo: Path) -> None:
    moved = zoo.rename(zoo.with_name("my  zoo"))
    arguments = ("pull", "flowers", "--registry", str(moved), "-q")
    done = subprocess.run([*PROGRAM, *arguments], capture_output=True, check=True, text=True)
    assert done.stdout == f"{moved / 'artifacts' / 'flowers' / 'v1'}\n"


def test_a_closed_pipe_is_quiet(zoo: Path) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "show", "flowers", "--registry", str(zoo)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert without_signs_of_life(process.stderr.read().decode()) == ""
    process.stderr.close()
    process.wait()


def test_text_from_outside_does_not_act_on_the_terminal(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(6):
            pixels = random.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / name / f"{number}.png")
    (tmp_path / "set" / "a" / "\x1b[31mred.png").write_bytes(b"no image")
    done = subprocess.run(
        [*PROGRAM, "nearest", str(tmp_path / "set")], capture_output=True, check=False
    )
    assert done.returncode == 1
    assert b"\x1b" not in done.stderr + done.stdout
    assert "�[31mred.png".encode() in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_any_encoding_of_stdout_will_do(zoo: Path, encoding: str) -> None:
    done = subprocess.run(
        [*PROGRAM, "show", "flowers", "--registry", str(zoo)],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert b"reduction cell" in done.stdout
    # Cells can still be read; of a table and of drawings every line keeps its width.
    assert b"  c_{k-2} -- sep_conv_3x3 --+-> 0" in done.stdout.splitlines()
    assert b"  c_{k-1} -- sep_conv_3x3 --+" in done.stdout.splitlines()
    assert b"weights    yes (lambda^)" in done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("options", [("hf:nosuch/set",), ("IMAGES", "--probe", "timm:resnet18")])
def test_a_hub_that_cannot_be_reached_is_an_error_of_one_line(
    options: tuple[str, ...], images: Path, tmp_path: Path
) -> None:
    words = [str(images) if word == "IMAGES" else word for word in options]
    done = subprocess.run(
        [*PROGRAM, "embed", *words, "-q"],
        capture_output=True,
        check=False,
        text=True,
        env={
            **os.environ,
            "HF_ENDPOINT": "http://127.0.0.1:9",
            "HF_HOME": str(tmp_path / "hf"),
            "PYTHONPATH": str(SHORT_PAUSES),
        },
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_libraries_are_heard_by_whoever_asks() -> None:
    code = (
        "import sys, logging; sys.argv = ['wsdarts-hub', '--version']\n"
        "from wsdarts_hub.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    pass\n"
        "import datasets, huggingface_hub\n"
        "for name in ('datasets', 'huggingface_hub', 'timm', 'httpx'):\n"
        "    print(logging.getLevelName(logging.getLogger(name).level))\n"
    )
    for verbosity, level in (({}, "ERROR"), ({"HF_HUB_VERBOSITY": "info"}, "INFO")):
        inherited = {k: v for k, v in os.environ.items() if not k.endswith("_VERBOSITY")}
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            check=True,
            text=True,
            env={**inherited, **verbosity},
        )
        assert done.stdout.splitlines()[1:] == ["ERROR", level, "ERROR", "ERROR"]
