"""The command ``demo``: a warm start and a training of scikit-learn's digits, step by step.

It takes its steps by the public names, and a cold search to compare with.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

import typer

import wsdarts_hub as hub
from wsdarts_hub.cli.embeddings import show_ranking
from wsdarts_hub.cli.models import show_training
from wsdarts_hub.cli.searches import show_decision, show_genotype
from wsdarts_hub.cli.shared import display, options
from wsdarts_hub.cli.shared.long_work import working
from wsdarts_registry._files import entries, exists
from wsdarts_registry._format import count, duration, percent, pluralize
from wsdarts_registry._libraries import install_extra, naming_hidden_libraries
from wsdarts_registry.errors import RunError, TaskError
from wsdarts_sdk.progress import Progress, TimeSpent, counting_from, session_began, silent

if TYPE_CHECKING:
    from wsdarts_registry.embedding.ranking import Ranking
    from wsdarts_registry.stores.store import Store
    from wsdarts_sdk.data.task import ImageTask
    from wsdarts_sdk.pipelines.search import SearchRun
    from wsdarts_sdk.pipelines.train import TrainingRun
    from wsdarts_sdk.pipelines.warm_start import WarmStart
    from wsdarts_sdk.presets import Preset

_Result_co = TypeVar("_Result_co", covariant=True)
_Shown = TypeVar("_Shown")
_GREYS = 16
_RUNS = ("warm-start", "cold", "training")
_COMPARED = "Both were measured by this demo, on this machine, when they ran first."
_NEXT = (
    "wsdarts-hub warm-start path/to/images --preset small --out runs/mine",
    "wsdarts-hub train runs/mine path/to/images --preset small --out runs/mine/training",
    "wsdarts-hub push runs/mine mine --registry my-zoo",
)


class _Step(Protocol[_Result_co]):
    """A step of the demo, all of whose other arguments are bound."""

    def __call__(self, *, progress: Progress) -> _Result_co: ...


class Demo:
    """The steps of the demo, in the order of the methods.

    Each step has its run in the demo's directory. A step that was stopped goes on there when
    it is called again; of one that is finished result and cost are read again.

    Args:
        out: The demo's directory.
        registry: Where to look for artifacts; the shipped zoo by default.
        preset: Settings of all steps; ``tiny`` by default.

    Raises:
        RunError: The directory holds something else, or cannot be written.
    """

    def __init__(
        self,
        out: str | Path,
        *,
        registry: "Store | None" = None,
        preset: "Preset | None" = None,
    ) -> None:
        from wsdarts_registry.stores.opening import ShippedZoo  # noqa: PLC0415
        from wsdarts_sdk.runs.directory import check_run  # noqa: PLC0415

        self.out = Path(out)
        self.preset = preset or hub.TINY.without_flips()  # a mirrored digit is of no class
        there = entries(self.out)
        others = sorted(p.name for p in there if p.name not in _RUNS and not p.name.startswith("."))
        if others:
            raise RunError(
                f"{self.out} holds other files ({others[0]})", hint="choose another --out"
            )
        for name in _RUNS:
            check_run(self.out / name, {}, resume=True)
        self.registry = registry or ShippedZoo()

    def nearest(self, task: "ImageTask", *, progress: Progress = silent) -> "Ranking | None":
        """Return the nearest artifacts; None if the registry has none."""
        if not any(self.registry.catalogue().iter_versions()):
            return None
        return hub.nearest(task, registry=self.registry, progress=progress)

    def warm_start(self, task: "ImageTask", *, progress: Progress = silent) -> "WarmStart":
        """Search from what the rules of mode ``auto`` choose."""
        return hub.warm_start(
            task,
            out=self.out / "warm-start",
            registry=self.registry,
            preset=self.preset,
            resume=True,
            progress=progress,
        )

    def search_cold(self, warm: "WarmStart", *, progress: Progress = silent) -> "SearchRun":
        """Search from cold with the same preset; the warm start's report shows its cost, too."""
        cold = hub.search(
            warm.task, out=self.out / "cold", preset=self.preset, resume=True, progress=progress
        )
        warm.compare(cold, _COMPARED)
        return cold

    def train(self, warm: "WarmStart", *, progress: Progress = silent) -> "TrainingRun":
        """Train what the warm start found briefly, and evaluate it on the held-out third."""
        return warm.train(
            preset=self.preset, out=self.out / "training", resume=True, progress=progress
        )


def digits(*, progress: Progress = silent) -> "ImageTask":
    """Return scikit-learn's 1,797 handwritten digits, 8×8 pixels, as a task.

    Raises:
        TaskError: scikit-learn is not installed.
    """
    import numpy as np  # noqa: PLC0415

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
    return hub.ImageTask.load((images, found.target, names), name="digits", progress=progress)


def demo(
    *,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Directory of its runs. A demo that is there is continued."
        ),
    ] = Path("runs/demo"),
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Warm-start and train on a small dataset, in a few minutes.

    Embeds the digits that come with scikit-learn, finds the nearest artifacts of the shipped zoo,
    warm-starts a search, runs a cold search to compare the cost, and trains the network that was
    found.

    JSON:
        directory: the directory of its runs
        source: starting point of the warm start
        mode: its mode
        accuracy: accuracy of the trained network on the held-out images
        model: its file
        report: its report

    Example:
        wsdarts-hub demo

    Python:
        from wsdarts_hub import warm_start
        result = warm_start("path/to/images", preset="tiny")
        print(result.train(preset="tiny").accuracy)
    """
    from wsdarts_sdk.reports.report_files import seconds_spent  # noqa: PLC0415

    steps = Demo(out)
    before = sum(seconds_spent(out / name) for name in _RUNS)
    spent = TimeSpent(before, began=session_began())
    if not (quiet or as_json):
        begun = "going on" if exists(out) else "working"
        display.line(f"{begun} in {out}, preset {steps.preset.name}")

    def take(step: _Step[_Shown], show: Callable[[_Shown], None]) -> _Shown:
        hint = f"the same command goes on in {out}"
        with working(quiet=quiet, hint=hint, spent=spent) as work, counting_from(None):
            result = step(progress=work.progress)
        if not (quiet or as_json):
            show(result)
        return result

    task = take(digits, _show_task)
    take(partial(steps.nearest, task), _show_nearest)
    warm = take(partial(steps.warm_start, task), _show_warm_start)
    take(partial(steps.search_cold, warm), partial(_show_costs, warm))
    training = take(partial(steps.train, warm), _show_training)
    if as_json:
        display.json_data(
            {
                "directory": out,
                "source": warm.source,
                "mode": warm.mode,
                "accuracy": training.accuracy,
                "model": training.model_file,
                "report": training.report,
            }
        )
        return
    if quiet:
        show_training(training, quiet=True)
        return
    display.heading("next, with images of your own")
    for command in _NEXT:
        display.line(command)


def _show_task(task: "ImageTask") -> None:
    display.heading("1. the dataset")
    display.line(f"{task.name}: {pluralize(len(task), 'image')} of {count(task.classes)} classes")


def _show_nearest(ranking: "Ranking | None") -> None:
    display.heading("2. the nearest artifacts of the zoo")
    if ranking is None:
        display.line("the zoo has no artifacts")
    else:
        show_ranking(ranking)


def _show_warm_start(warm: "WarmStart") -> None:
    display.heading("3. the warm start")
    show_decision(warm)
    display.sentence(_IN_PLAIN_WORDS[warm.mode])
    show_genotype(warm.genotype, warm.path, rows=warm.result.rows)
    display.line(f"report: {warm.report}")


def _show_costs(warm: "WarmStart", cold: "SearchRun") -> None:
    display.heading("4. what the search cost, beside a cold search of the same preset")
    seconds = warm.seconds["search"], cold.seconds["search"]
    # The step before has computed it; the warm start has found it in the cache.
    embedding = warm.cached.get("embedding", warm.seconds["embedding"])
    display.facts(
        [
            ("warm start", duration(seconds[0])),
            ("embedding", f"{duration(embedding)}, once for a task"),
            ("cold search", duration(seconds[1])),
        ]
    )
    display.sentence(
        "Both are cold searches here, so they differ by chance alone."
        if warm.mode == "cold"
        else f"The warm start took {percent(seconds[0] / seconds[1])} of the cold search's time, "
        f"its embedding {percent(embedding / seconds[1])} more."
    )
    display.sentence(_COMPARED)


def _show_training(training: "TrainingRun") -> None:
    display.heading("5. what was found, after a brief training")
    show_training(training, quiet=False)


_IN_PLAIN_WORDS = {
    "trained": "The search goes on from the masks, the weights and α of a near task.",
    "topology": "The search chooses only among operations that survived a search on a near task.",
    "union": "The search chooses among operations that survived a search on any near task.",
    "meta": "No single task of the zoo is near enough to trust, so the search chooses among "
    "operations that survived a search over several tasks together.",
    "cold": "Nothing in the zoo is near and it has no joint search of several tasks, so the "
    "search chooses among all operations.",
}
