"""``wsdarts-hub`` and ``python`` on the path of a block: see `preloaded.py`."""

import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress

SOCKET = os.environ.get("DOCUMENTATION_SOCKET", "")
PROGRAM = os.path.basename(sys.argv[1])  # noqa: PTH119 - pathlib is slow to load
REAL = {"python": [sys.executable], "wsdarts-hub": [sys.executable, "-m", "wsdarts_hub"]}[PROGRAM]


def main() -> None:
    """Let the preloaded process do it, or become the real program."""
    arguments = sys.argv[2:]
    options = bool(arguments) and arguments[0].startswith("-") and arguments[0] != "-m"
    if PROGRAM == "python" and (not arguments or options):
        become_real(arguments)
    asked = {
        "client": os.getpid(),
        "program": PROGRAM,
        "arguments": arguments if PROGRAM == "python" else [PROGRAM, *arguments],
        "directory": os.getcwd(),  # noqa: PTH109
        "environment": dict(os.environ),
    }
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(SOCKET)
        socket.send_fds(connection, [json.dumps(asked).encode()], [0, 1, 2])
        answers = connection.makefile()
        first = answers.readline().strip()
        if first == "differs":
            become_real(arguments)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda received, _: os.kill(int(first), received))
        code = answers.readline()
    if not code:  # the fork was killed, and may not have closed all its files yet
        with suppress(ProcessLookupError):
            select.select([os.pidfd_open(int(first))], [], [])
        os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit(int(code))


def become_real(arguments: list[str]) -> None:
    """Replace this process by the real program."""
    os.execv(REAL[0], [*REAL, *arguments])  # noqa: S606


main()
