"""Processes that work on one registry and are stopped, or killed, at exact points.

A point is an audit event of the interpreter, such as the opening of a file, so that it is the same
on every machine however fast it is.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_PRELUDE = """
import os, signal, sys, time
from pathlib import Path
import wsdarts_registry.artifact.reader
import wsdarts_registry._files  # so that the events are a push's own
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.errors import WsdartsError

def wait_for(*paths):
    end = time.monotonic() + 120
    while not all(map(os.path.exists, paths)):
        if time.monotonic() > end:
            os._exit(3)  # the test has failed
        time.sleep(0.002)

def before(event, root, part, action):
    # Act once, just before the first such event on a path that contains both.
    done = []
    def hook(found, arguments):
        where = str(arguments[0]) if found == event else ""
        if found == event and not done and root in where and part in where:
            done.append(True)
            action()
    sys.addaudithook(hook)

def stop_at(path):
    Path(path + ".reached").touch()
    wait_for(path)
"""
_OWN_NAMES = ("unshare", "--pid", "--fork", "--mount-proc", "--uts")


def start(
    code: str, *arguments: str | Path, command: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    """Start a process that runs some code; ``sys.argv[1:]`` are the arguments."""
    return subprocess.Popen(
        [*command, sys.executable, "-c", _PRELUDE + code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a process that has to succeed, and return what it printed."""
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return output


def container(host: str, processes: int) -> tuple[str, ...]:
    """A command prefix: a PID namespace with that host name in which processes have run before.

    Skips the test where namespaces cannot be made.
    """
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare command here")
    tried = subprocess.run([*_OWN_NAMES, "true"], check=False, capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"namespaces cannot be made here: {tried.stderr.strip()}")
    spent = "/bin/true; " * processes
    return (*_OWN_NAMES, "sh", "-c", f'hostname {host}; {spent}"$@"; exit $?', "sh")
