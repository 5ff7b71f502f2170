"""What is killed: commands, each with what it leaves behind when it ends.

A job is one command, which is given again after each kill, as a user would. Each begins in a copy
of the directory that ``tests/documentation/beginning.py`` makes, beside a Hub of its own.
"""

import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.documentation.workplace import Programs
from tests.hub_server.server import HubServer

Found = dict[str, str]
HUB = "hf://lab"
_FEW = ("--preset", "tiny", "--set", "search.steps_per_epoch=2")
_SHORT = ("--set", "training.steps_per_epoch=4", "--set", "training.epochs=4")
_OF_A_RUN = ("genotype.json", "*.safetensors", "artifact/*.safetensors", "artifact/embeddings/*")
_LEFT = ("*.tmp", ".new-*", "*.partial")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A command that may be killed.

    Attributes:
        name: Short name.
        command: Its arguments.
        found: What it left behind, by name: digests, or what other commands say of it.
        before: Commands that go before it, which are not killed.
        again: What a repetition may say when the command had ended before it was killed; nothing
            where it then says what it said before.
        uses: Directories of its place that it reads or writes and that may vanish under it;
            besides its cache.
    """

    name: str
    command: tuple[str, ...]
    found: Callable[["Place"], Found]
    before: tuple[tuple[str, ...], ...] = ()
    again: str = ""
    uses: tuple[str, ...] = ()


class Place:
    """A directory in which one job works.

    Args:
        directory: A new directory.
        beginning: What it is a copy of.
        programs: Runs the commands.
        port: Port of its Hub.
    """

    def __init__(self, directory: Path, beginning: Path, programs: Programs, port: int) -> None:
        self.directory, self.fault_happened = directory / "work", directory / "happened"
        shutil.copytree(beginning, self.directory)
        self.hub = HubServer(directory / "hub", port=port)
        # Nothing is kept from one job to the next but what was compiled.
        kernels = Path(programs.environment["WSDARTS_HUB_CACHE"]) / "kernels"
        self.cache = directory / "cache"
        self.cache.mkdir()
        (self.cache / "kernels").symlink_to(kernels.resolve())
        self._environment = {**programs.environment, "WSDARTS_HUB_CACHE": str(self.cache)}

    def start(self, command: tuple[str, ...], **variables: str) -> "subprocess.Popen[bytes]":
        """Start a command, with variables of its own; its output ends when it has."""
        return subprocess.Popen(
            ["wsdarts-hub", *command],
            cwd=self.directory,
            env=self._environment | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            executable=shutil.which("wsdarts-hub", path=self._environment["PATH"]),
        )

    def run(self, *command: str) -> str:
        """Run a command that has to work, and return its output without progress."""
        done = subprocess.run(
            ["wsdarts-hub", *command],
            cwd=self.directory,
            env=self._environment,
            capture_output=True,
            check=False,
            text=True,
            executable=shutil.which("wsdarts-hub", path=self._environment["PATH"]),
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def left_behind(self) -> list[str]:
        """Return temporary files that nobody will remove."""
        found = [path for pattern in _LEFT for path in self.directory.rglob(pattern)]
        return sorted(str(path.relative_to(self.directory)) for path in found)

    def in_parts(self) -> bool:
        """Return whether a search computed batches in parts that fit, with norms of their own."""
        rows = [
            json.loads(line)
            for file in self.directory.glob("out/**/*.metrics.jsonl")
            for line in file.read_text().splitlines()
        ]
        return any(row.get("batch_parts", 1) > 1 for row in rows)

    def close(self) -> None:
        """End its Hub."""
        self.hub.close()


def digests(root: Path, *patterns: str) -> Found:
    """Return the sha256 of files by their path."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in patterns
        for path in sorted(root.glob(pattern))
        if not path.name.endswith(".checkpoint.safetensors")
    }


def _of_run(place: Place) -> Found:
    return digests(place.directory / "out", *_OF_A_RUN)


def _of_tree(place: Place) -> Found:
    return digests(place.directory / "out", "**/*.*")


def _of_registry(registry: str) -> Callable[[Place], Found]:
    def found(place: Place) -> Found:
        listed = json.loads(place.run("list", "--registry", registry, "--json"))
        names = [str(each["reference"]) for each in listed]
        pulled = {n: json.dumps(_pulled(place, n, registry)) for n in names}
        nearest = json.loads(place.run("nearest", "photos", "--registry", registry, "--json"))
        return {**pulled, "nearest": json.dumps(nearest["neighbours"])}

    return found


def _pulled(place: Place, name: str, registry: str) -> Found:
    """Return the digests of a version's files; the day on its card is that of the clock."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        place.run("pull", name, "--registry", registry, "--out", str(out), "--quiet")
        card = out / "README.md"
        card.write_text(re.sub(r"\bon \d{4}-\d\d-\d\d\b", "on DAY", card.read_text()))
        manifest = json.loads((out / "artifact.json").read_bytes())
        del manifest["files"]["README.md"]
        (out / "artifact.json").write_text(json.dumps(manifest))
        (out / "artifact.sha256").unlink()
        return digests(out, "**/*.*")


def all_jobs() -> Mapping[str, Job]:
    """Return the jobs by name."""
    local, hub = ("--registry", "registry"), ("--registry", HUB)
    out = ("--out", "out", "--quiet")
    jobs = (
        Job(
            name="search",
            command=("search", "photos", *_FEW, *out, "--resume"),
            found=_of_run,
            uses=("out", "photos"),
        ),
        Job(
            name="warm start",
            command=("warm-start", "photos", *_FEW, *local, *out, "--resume"),
            found=_of_run,
            uses=("out", "photos", "registry"),
        ),
        Job(
            name="sweep",
            command=("warm-start", "photos", "--sweep", *_FEW, *local, *out, "--resume"),
            found=_of_run,
            uses=("out", "photos", "registry"),
        ),
        Job(
            name="training",
            command=("train", "run", "photos", "--preset", "tiny", *_SHORT, *out, "--resume"),
            found=_of_run,
            uses=("out", "photos", "run"),
        ),
        Job(
            name="push",
            command=("push", "run", "squares", *local, "--quiet"),
            found=_of_registry("registry"),
            uses=("registry", "run"),
        ),
        Job(
            name="pull",
            command=("pull", "digits", *local, "--out", "out", "--quiet"),
            found=_of_tree,
            again="out",
            uses=("registry",),
        ),
        Job(
            name="gallery",
            command=("gallery", "build", *local, *out),
            found=_of_tree,
            uses=("registry",),
        ),
        Job(
            name="push to a Hub",
            command=("push", "run", "squares", *hub, "--quiet"),
            found=_of_registry(HUB),
            before=(("push", "tas", "digits", *hub, "--quiet"),),
        ),
        Job(
            name="pull from a Hub",
            command=("pull", "digits", *hub, "--out", "out", "--quiet"),
            found=_of_tree,
            before=(("push", "tas", "digits", *hub, "--quiet"),),
            again="out",
        ),
        Job(
            name="index of a Hub",
            command=("index", "rebuild", *hub, "--quiet"),
            found=_of_registry(HUB),
            before=(("push", "tas", "digits", *hub, "--quiet"),),
        ),
    )
    return {job.name: job for job in jobs}
