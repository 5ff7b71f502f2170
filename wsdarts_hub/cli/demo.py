"""The command ``demo``: a warm start and a training, step by step."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol, TypeVar

import typer

from wsdarts_hub.cli.embeddings import show_ranking
from wsdarts_hub.cli.models import show_training
from wsdarts_hub.cli.searches import show_decision, show_genotype
from wsdarts_hub.cli.shared import display, options
from wsdarts_hub.cli.shared.long_work import working
from wsdarts_registry._files import exists
from wsdarts_registry._format import count, duration, percent, pluralize
from wsdarts_sdk.progress import Progress, TimeSpent, counting_from, session_began

if TYPE_CHECKING:
    from wsdarts_registry.embedding.ranking import Ranking
    from wsdarts_sdk.data.task import ImageTask
    from wsdarts_sdk.pipelines.search import SearchRun
    from wsdarts_sdk.pipelines.train import TrainingRun
    from wsdarts_sdk.pipelines.warm_start import WarmStart

_Result_co = TypeVar("_Result_co", covariant=True)
_Shown = TypeVar("_Shown")
_NEXT = (
    "wsdarts-hub warm-start path/to/images --preset small --out runs/mine",
    "wsdarts-hub train runs/mine path/to/images --preset small --out runs/mine/training",
    "wsdarts-hub push runs/mine mine --registry my-zoo",
)


class _Step(Protocol[_Result_co]):
    """A step of the demo, all of whose other arguments are bound."""

    def __call__(self, *, progress: Progress) -> _Result_co: ...


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
    from wsdarts_sdk.pipelines.demo import RUNS, Demo, digits  # noqa: PLC0415
    from wsdarts_sdk.reports.report_files import seconds_spent  # noqa: PLC0415

    steps = Demo(out)
    before = sum(seconds_spent(out / name) for name in RUNS)
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
    from wsdarts_sdk.pipelines.demo import COMPARED  # noqa: PLC0415

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
    display.sentence(COMPARED)


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
