"""A hub as a process of its own: ``python -m tests.hub_server DIRECTORY [--port N] …``.

It prints its address on one line and answers until it is killed or its standard input is closed
with ``--while-stdin-is-open``, so that none is left behind when its starter dies.
"""

import argparse
import sys
import threading
from pathlib import Path

from .hub import Settings
from .server import HubServer


def main() -> None:
    """Run a hub."""
    parser = argparse.ArgumentParser(prog="python -m tests.hub_server")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--page-size", type=int, default=Settings.page_size)
    parser.add_argument("--lfs-size", type=int, default=Settings.lfs_size)
    parser.add_argument("--while-stdin-is-open", action="store_true")
    asked = parser.parse_args()
    settings = Settings(page_size=asked.page_size, lfs_size=asked.lfs_size)
    server = HubServer(asked.directory, settings, port=asked.port)
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()
    try:
        if asked.while_stdin_is_open:
            sys.stdin.read()
        else:
            threading.Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.close()
    if server.failures:
        raise SystemExit("\n".join(server.failures))


if __name__ == "__main__":
    main()
