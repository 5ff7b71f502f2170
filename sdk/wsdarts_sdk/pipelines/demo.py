"""Demo on scikit-learn's digits: all steps of a warm start, and a cold search to compare with."""

from pathlib import Path
from typing import Any

import numpy as np

from wsdarts_registry._files import entries
from wsdarts_registry._libraries import install_extra, naming_hidden_libraries
from wsdarts_registry.embedding.ranking import Ranking
from wsdarts_registry.errors import RunError, TaskError
from wsdarts_registry.stores.opening import ShippedZoo
from wsdarts_registry.stores.store import Store
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.pipelines.embed import nearest
from wsdarts_sdk.pipelines.search import SearchRun, search
from wsdarts_sdk.pipelines.train import TrainingRun
from wsdarts_sdk.pipelines.warm_start import WarmStart, warm_start
from wsdarts_sdk.presets import TINY, Preset
from wsdarts_sdk.progress import Progress, silent

_GREYS = 16
_PRESET = TINY.without_flips()  # a mirrored digit is of no class
RUNS = ("warm-start", "cold", "training")
COMPARED = "Both were measured by this demo, on this machine, when they ran first."


class Demo:
    """The steps of the demo, in the order of the methods.

    Each step has its run in the demo's directory. A step that was stopped goes on there when
    it is called again; of one that is finished result and cost are read again.

    Args:
        out: The demo's directory.
        registry: Where to look for artifacts; the shipped zoo by default.
        preset: Settings of all steps.

    Raises:
        RunError: The directory holds something else.
    """

    def __init__(
        self, out: str | Path, *, registry: Store | None = None, preset: Preset = _PRESET
    ) -> None:
        self.out, self.preset = Path(out), preset
        there = entries(self.out)
        others = sorted(p.name for p in there if p.name not in RUNS and not p.name.startswith("."))
        if others:
            raise RunError(
                f"{self.out} holds other files ({others[0]})", hint="choose another --out"
            )
        self.registry = registry or ShippedZoo()

    def nearest(self, task: ImageTask, *, progress: Progress = silent) -> Ranking | None:
        """Return the nearest artifacts; None if the registry has none."""
        if not any(self.registry.catalogue().iter_versions()):
            return None
        return nearest(task, registry=self.registry, progress=progress)

    def warm_start(self, task: ImageTask, *, progress: Progress = silent) -> WarmStart:
        """Search from what the rules of mode ``auto`` choose."""
        return warm_start(
            task,
            out=self.out / "warm-start",
            registry=self.registry,
            preset=self.preset,
            resume=True,
            progress=progress,
        )

    def search_cold(self, warm: WarmStart, *, progress: Progress = silent) -> SearchRun:
        """Search from cold with the same preset; the warm start's report shows its cost, too."""
        cold = search(
            warm.task, out=self.out / "cold", preset=self.preset, resume=True, progress=progress
        )
        warm.compare(cold, COMPARED)
        return cold

    def train(self, warm: WarmStart, *, progress: Progress = silent) -> TrainingRun:
        """Train what the warm start found briefly, and evaluate it on the held-out third."""
        return warm.train(
            preset=self.preset, out=self.out / "training", resume=True, progress=progress
        )


def digits(*, progress: Progress = silent) -> ImageTask:
    """Return scikit-learn's 1,797 handwritten digits, 8×8 pixels, as a task.

    Raises:
        TaskError: scikit-learn is not installed.
    """
    try:
        with naming_hidden_libraries():
            from sklearn.datasets import load_digits  # noqa: PLC0415
    except ImportError as error:
        raise TaskError(
            "the demo's images come with scikit-learn, which is not installed",
            hint=f"install it with {install_extra('demo')}",
        ) from error
    found: Any = load_digits()
    images = np.round(found.images * 255 / _GREYS).astype(np.uint8)
    names = [str(name) for name in found.target_names]
    return ImageTask.load((images, found.target, names), name="digits", progress=progress)
