"""Environment of the blocks of the documentation: programs, and one shell for each page."""

import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.documentation.pages import ROOT, Block
from tests.hub_server.accounts import DORA
from wsdarts_sdk.compiler import compiler_reads

_HERE = Path(__file__).parent
_NOBODY = "http://127.0.0.1:9"
_SECONDS = 800


def fork_of(client: int, forks: Path) -> int | None:
    """Return the number of the fork that works for a client, if it has begun.

    Args:
        client: Number of a process of ``wsdarts-hub`` or ``python``.
        forks: The directory that its variable ``DOCUMENTATION_FORKS`` names.
    """
    file = forks / str(client)
    return int(file.read_text()) if file.exists() else None


def kill(client: int, forks: Path) -> None:
    """Kill a client and its fork; return when both hold nothing any more."""
    for each in (client, fork_of(client, forks)):
        if each is not None:
            with suppress(ProcessLookupError):
                ended = os.pidfd_open(each)
                os.kill(each, signal.SIGKILL)
                select.select([ended], [], [])
                os.close(ended)


class Programs:
    """``wsdarts-hub`` and ``python`` as blocks find them, and an environment off the network.

    Args:
        directory: A new directory, for programs, home and caches.
        kernels: Where kernels that were compiled before are kept.
        endpoint: The address of the Hub of this machine.
        preload: A library that the programs load before all others.
    """

    def __init__(
        self, directory: Path, *, kernels: Path, endpoint: str, preload: Path | None = None
    ) -> None:
        self._socket, self._cache = directory / "s", directory / "cache"
        self._bin = directory / "bin"
        self.environment = _environment(directory, endpoint)
        self.environment["DOCUMENTATION_SOCKET"] = str(self._socket)
        self.environment["DOCUMENTATION_STEPS"] = "few"
        for name in ("bin", "home", "cache"):
            (directory / name).mkdir()
        (self._cache / "kernels").symlink_to(kernels)
        for name in ("python", "wsdarts-hub"):
            client = shlex.join([sys.executable, "-ISE", str(_HERE / "client.py"), name])
            program = self.path(name)
            program.write_text(f'#!/bin/sh\nexec {client} "$@"\n')
            program.chmod(0o755)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.documentation.preloaded", str(self._socket)],
            cwd=ROOT,
            env=self.environment | ({"LD_PRELOAD": str(preload)} if preload else {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def path(self, name: str) -> Path:
        """Return the path of ``wsdarts-hub`` or ``python``."""
        return self._bin / name

    def forget_registries(self) -> None:
        """Forget what was seen of registries: the Hub of the next page is another one."""
        shutil.rmtree(self._cache / "seen", ignore_errors=True)

    def close(self) -> None:
        """End the preloaded process and what it forked."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with self._process:
            pass


class Shell:
    """The shell of one page: directory and exported variables stay from block to block.

    Args:
        directory: The page's directory, where the first block begins.
        scratch: A new directory for what the shell keeps.
        programs: What its blocks find.
    """

    def __init__(self, directory: Path, scratch: Path, programs: Programs) -> None:
        self._directory, self._scratch, self._programs = directory, scratch, programs
        self._state = scratch / "state"
        self._state.write_text("")
        programs.forget_registries()

    def run(self, block: Block) -> str:
        """Run a block exactly as it is written; what it printed, on both streams.

        Raises:
            AssertionError: It failed, or took too long.
        """
        code = self._scratch / f"line_{block.line}.{block.language}"
        code.write_text(block.code, encoding="utf-8")
        state = shlex.quote(str(self._state))
        start = "source" if block.language == "bash" else "python"
        script = (
            f"source {state}\n{start} {shlex.quote(str(code))}\n"
            f'{{ export -p; printf "cd %q\\n" "$PWD"; }} > {state}\n'
        )
        # A file and not a pipe: what goes on in the background would hold a pipe open.
        with (self._scratch / "printed").open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=self._directory,
                env=self._programs.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            process.wait(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"took more than {_SECONDS} s\n{block.code}") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        printed = (self._scratch / "printed").read_text(encoding="utf-8", errors="replace")
        assert process.returncode == 0, f"exit code {process.returncode}\n{block.code}\n{printed}"
        return printed


def _environment(directory: Path, endpoint: str) -> dict[str, str]:
    """Variables for a block: no network, no configuration or cache of whoever runs the tests."""
    home = directory / "home"
    paths = [str(directory / "bin"), str(Path(sys.executable).parent), "/usr/bin", "/bin"]
    sources = [ROOT, ROOT / "registry", ROOT / "sdk", ROOT / "cards", ROOT / "tests"]
    compiler = {name: v for name, v in os.environ.items() if compiler_reads(name)}
    return {
        **compiler,  # else the same kernels were compiled again, under another name
        "PATH": os.pathsep.join(paths),
        "PYTHONPATH": os.pathsep.join(map(str, sources)),
        "PYTHONWARNINGS": os.environ.get("PYTHONWARNINGS", ""),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "OMP_NUM_THREADS": "1",
        "WSDARTS_HUB_CACHE": str(directory / "cache"),
        "HF_HOME": str(home / "huggingface"),
        "HF_ENDPOINT": endpoint,
        "HF_TOKEN": DORA.token,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PIP_NO_INDEX": "1",
        "HTTP_PROXY": _NOBODY,
        "HTTPS_PROXY": _NOBODY,
        "NO_PROXY": "127.0.0.1,localhost",
    }
