"""Push and pull of a large artifact through a hub on this machine, beside the plain client.

What is compared moves the same bytes: `HubStore.publish` beside `HfApi.upload_folder`, and
`HubStore.pull` beside `HfApi.snapshot_download`. The registry reads and verifies more, and keeps
an index; the plain client checks nothing. Each push goes to a repository of its own, with content
of its own, and each pull begins with empty caches. The hub is that of the tests, in a process of
its own.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import Lines, interleaved, save, spread

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
_MEGABYTES = 50


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--repeats", type=int, default=7)
    options.add_argument("--megabytes", type=int, default=_MEGABYTES)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        os.environ |= {
            "HF_HOME": str(root / "huggingface"),
            "WSDARTS_HUB_CACHE": str(root / "cache"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        command = [sys.executable, "-m", "tests.hub_server", str(root / "hub")]
        with subprocess.Popen(
            [*command, "--while-stdin-is-open"],
            cwd=Path(__file__).resolve().parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as hub:
            assert hub.stdout is not None
            _measure(hub.stdout.readline().strip(), root, chosen.repeats, chosen.megabytes)


def _measure(url: str, root: Path, repeats: int, megabytes: int) -> None:
    from huggingface_hub import HfApi, constants  # noqa: PLC0415 - reads the environment

    from tests.hub_server import ALICE  # noqa: PLC0415
    from wsdarts_registry.stores.huggingface.store import HubStore  # noqa: PLC0415

    tell = Lines()
    total = 2 * (repeats + 1)
    artifacts = iter(_artifacts(root, total, megabytes, tell))
    api = HfApi(endpoint=url, token=ALICE.token)
    store = HubStore("hf://acme", endpoint=url, token=ALICE.token)
    numbers = iter(range(total))

    def upload() -> None:
        name = f"acme/plain{next(numbers)}"
        api.create_repo(name)
        api.upload_folder(repo_id=name, folder_path=next(artifacts))

    tell("pushing", 1, 2)
    pushes = interleaved(
        {
            "upload_folder": upload,
            "publish": lambda: store.publish(next(artifacts), f"name{next(numbers)}"),
        },
        repeats=repeats,
    )

    name = store.names()[0]

    def emptied(work: Callable[[], object]) -> Callable[[], object]:
        def do() -> None:
            for cache in (Path(constants.HF_HUB_CACHE), root / "cache"):
                shutil.rmtree(cache, ignore_errors=True)
            work()

        return do

    tell("pulling", 2, 2)
    pulls = interleaved(
        {
            "snapshot_download": emptied(lambda: api.snapshot_download(f"acme/{name}")),
            "pull": emptied(lambda: store.pull(name)),
        },
        repeats=repeats,
    )
    _save({**pushes, **pulls}, megabytes, repeats)


def _artifacts(root: Path, count: int, megabytes: int, tell: Lines) -> list[Path]:
    """Artifacts whose weights are noise, each another."""
    from tests.registry.factories import make_artifact, make_weights  # noqa: PLC0415

    made = []
    for number in range(count):
        tell("making artifacts", number, count)
        noise = np.random.default_rng(number).random(megabytes * 250_000, dtype=np.float32)
        directory = root / "made" / str(number)
        make_artifact(directory, weights={**make_weights(), "noise": noise})
        made.append(directory)
    return made


def _save(seconds: dict[str, list[float]], megabytes: int, repeats: int) -> None:
    from importlib.metadata import version  # noqa: PLC0415

    medians = {name: spread(found)["median"] for name, found in seconds.items()}
    results: dict[str, Any] = {
        "megabytes": megabytes,
        "repeats": repeats,
        "client": version("huggingface_hub"),
        "seconds": {name: spread(found) for name, found in seconds.items()},
        "ratio": {
            "push": round(medians["publish"] / medians["upload_folder"], 3),
            "pull": round(medians["pull"] / medians["snapshot_download"], 3),
        },
    }
    print(results["seconds"], results["ratio"])
    save("hub_transfer", results, threads=1)


if __name__ == "__main__":
    main()
