"""Commands of the documentation, each in a process that is forked from one with torch loaded.

Loading torch takes longer than most blocks need for everything else, and there are many. A program
``wsdarts-hub`` or ``python`` on the path of a block (`client.py`) hands its arguments, directory,
environment and streams to this process, which forks: the fork does what the real program does,
in the same modules. Where the environment differs in what libraries read when they are loaded, the
client becomes the real program instead. In the directory that ``DOCUMENTATION_FORKS`` names, each
fork writes its number into a file with its client's number as its name. It imports the module that
``DOCUMENTATION_IMPORT`` names first.

Pages show how commands are used, not what a search finds: where ``DOCUMENTATION_STEPS`` is ``few``,
presets ``tiny`` and ``small`` take a few steps, and those of ``medium`` are small.

    python -m tests.documentation.preloaded SOCKET
"""

import gc
import json
import os
import runpy
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from PIL import Image

from tests.few_steps import few_steps
from wsdarts_registry._files import write_atomically
from wsdarts_sdk import presets

_LOADED = ("wsdarts_hub.cli", "wsdarts_sdk.pipelines.warm_start", "wsdarts_sdk.pipelines.train")
_LOADED += (
    "wsdarts_sdk.pipelines.starting_points",
    "wsdarts_sdk.artifacts.loading",
    "torch",
    "timm",
)
_LOADED += ("torchvision", "wsdarts_registry.stores.huggingface.store", "sklearn")
_LOADED += ("wsdarts_registry.publishing.publication", "wsdarts_registry.gallery", "wsdarts_cards")
_LOADED += ("torchmetrics", "rich.console", "rich.table")
_PREFIXES = ("HF_", "HUGGING", "OMP_", "CUDA_", "WSDARTS_HUB_KERNELS", "PYTHON", "TRITON", "TORCH")
_READ_LATER = ("TORCHELASTIC_", "TORCH_NCCL_", "TORCH_DISABLE_SHARE_RDZV", "CUDA_VISIBLE_DEVICES")


def main(path: str) -> None:
    """Answer until the standard input is closed, which tells that the tests have ended."""
    threading.Thread(target=_end_with_the_tests, daemon=True).start()
    own = _read_at_import(dict(os.environ))  # before libraries add to it
    for module in _LOADED:
        import_module(module)
    Image.init()  # imports what reads each format
    gc.freeze()  # else collections in the forks would copy the memory that they share
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            connection, _ = listening.accept()
            with connection:
                text, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
                if not text:  # the client was killed before it could ask
                    continue
                asked = json.loads(text)
                if _read_at_import(asked["environment"]) != own:
                    connection.sendall(b"differs\n")
                elif os.fork() == 0:
                    listening.close()
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    os._exit(_serve(connection, asked, streams))
                for stream in streams:
                    os.close(stream)


def _read_at_import(environment: dict[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(_PREFIXES) and not name.startswith(_READ_LATER)
    }


def _serve(connection: socket.socket, asked: dict[str, object], streams: list[int]) -> int:
    """Do in this fork what was asked, and tell the exit code."""
    try:
        connection.sendall(f"{os.getpid()}\n".encode())
    except BrokenPipeError:  # the client was killed before its work began
        return 1
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", buffering=1)
    os.chdir(str(asked["directory"]))
    os.environ.clear()
    os.environ.update(asked["environment"])  # type: ignore[call-overload]
    if forks := os.environ.get("DOCUMENTATION_FORKS"):
        write_atomically(Path(forks) / str(asked["client"]), str(os.getpid()).encode())
    if wanted := os.environ.get("DOCUMENTATION_IMPORT"):
        import_module(wanted)
    sys.argv = list(asked["arguments"])  # type: ignore[call-overload]
    if os.environ.get("DOCUMENTATION_STEPS") == "few":
        for name in ("tiny", "small"):
            presets.PRESETS[name] = few_steps(presets.PRESETS[name])
        presets.TINY = presets.PRESETS["tiny"]
        # Only the time that it would take is asked for, by steps that are measured.
        presets.PRESETS["medium"] = presets.MEDIUM.with_training(image_size=32, batch_size=8)
    code = _run(str(asked["program"]))
    for output in (sys.stdout, sys.stderr):
        output.flush()
    connection.sendall(f"{code}\n".encode())
    return code


def _end_with_the_tests() -> None:
    """End this process and its forks, which are a group, however the tests ended."""
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)


def _end_with(connection: socket.socket) -> None:
    """End this fork when its client was killed: nobody waits for it any more."""
    with suppress(ConnectionError):
        connection.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


def _run(program: str) -> int:
    try:
        if program == "python" and sys.argv[0] == "-m":
            module = sys.argv[1]
            del sys.argv[0]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        elif program == "python":
            sys.path.insert(0, str(Path(sys.argv[0]).parent))
            runpy.run_path(sys.argv[0], run_name="__main__")
        else:
            # The program says so in its environment, which was read when the client was loaded.
            sys.modules["huggingface_hub.utils"].disable_progress_bars()
            sys.modules["wsdarts_hub.cli"].main()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    except BaseException:  # noqa: BLE001 - as Python itself does at the end of a script
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    main(sys.argv[1])
