import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.test_start_up import TORCH, loaded_by

pytestmark = pytest.mark.processes

SERVE = (
    "import sys; from wsdarts_hub.cli import main; sys.argv[1:] = ['gallery', 'serve', "
    "*sys.argv[1:]]; main()"
)


def test_build_says_where_the_start_page_is(run: Run, zoo: Path, tmp_path: Path) -> None:
    done = run("gallery", "build", "--registry", zoo, "--out", tmp_path / "site")
    assert done.code == 0
    assert done.lines == [str(tmp_path / "site" / "index.html")]
    start = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert all(f"artifacts/{n}/v1.html" in start for n in ("flowers", "textures"))


def test_what_is_no_gallery_is_refused_in_a_line(run: Run, zoo: Path, tmp_path: Path) -> None:
    done = run("gallery", "build", "--registry", zoo, "--out", zoo)
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1].startswith(f"error: {zoo} is not empty")
    done = run("gallery", "serve", zoo)
    assert (done.code, done.out) == (1, "")
    assert "`wsdarts-hub gallery build" in done.err


def test_a_gallery_or_a_registry(run: Run, zoo: Path, tmp_path: Path) -> None:
    done = run("gallery", "serve", tmp_path, "--registry", zoo)
    assert done.code == 2
    assert "a gallery or a registry" in done.err


def test_a_gallery_is_built_without_torch(zoo: Path, tmp_path: Path) -> None:
    arguments = ("gallery", "build", "--registry", str(zoo), "--out", str(tmp_path / "site"))
    assert not loaded_by(*arguments) & TORCH


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is sent as a signal")
def test_serve_builds_says_the_address_and_ends_with_ctrl_c(zoo: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, "--registry", str(zoo), "--port", "0", "--quiet"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "TMPDIR": str(tmp_path)},
        # A job in the background of a shell inherits that SIGINT is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert address.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(address, timeout=600) as answer:  # noqa: S310 - our own address
        assert b"flowers" in answer.read()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=600)
    assert (process.returncode, out, err) == (0, "", "")
    assert list(tmp_path.glob("wsdarts-gallery-*")) == []
