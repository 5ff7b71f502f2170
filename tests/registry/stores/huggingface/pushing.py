"""Pushes in processes of their own, which may be many, or be killed.

``python pushing.py ENDPOINT GATE NAME… -- DIRECTORY…``: for each pair of a name and a directory,
wait for the file GATE and push; say on a line of its own what came of it.
"""

import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

from tests.hub_server import ALICE
from wsdarts_registry.errors import WsdartsError
from wsdarts_registry.stores.huggingface.store import HubStore


def start(
    endpoint: str, gate: Path, pairs: list[tuple[str, Path]], *, version: int | None = None
) -> "subprocess.Popen[str]":
    """Start a process that pushes directories under names, once the gate is there."""
    command = [sys.executable, __file__, endpoint, str(gate), str(version or "")]
    command += [f"{name}={directory}" for name, directory in pairs]
    root = Path(__file__).parents[4]
    path = [str(root), *(p for p in sys.path if p)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "HF_TOKEN": ALICE.token}
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=root,
    )


def main() -> None:
    """Push what the command line says."""
    endpoint, gate, version, *pairs = sys.argv[1:]
    warnings.simplefilter("ignore", DeprecationWarning)
    store = HubStore("hf://acme", endpoint=endpoint)
    print("ready", flush=True)
    while not Path(gate).exists():
        time.sleep(0.001)
    for pair in pairs:
        name, _, directory = pair.partition("=")
        try:
            entry = store.publish(directory, name, int(version) if version else None)
            print("won", entry.reference, entry.digest, flush=True)
        except WsdartsError as error:
            print("lost", str(error), flush=True)


if __name__ == "__main__":
    main()
