"""Random and inherited weights at equal steps, on six image sets.

Sources are cold searches of each set (one seed). Of each target, the source is the artifact of the
nearest other set (``task_distances_mobilenetv2_100.json``), and of no set that holds its images:
leave-one-out. A warm start from its weights gives a genotype and a supernet; the genotype's network
is then trained for a stated number of steps, whatever the set's size. The pairs share genotype,
seed, order of images and all settings but where their weights begin.

Cells named ``alpha-…`` rank ways to inherit: trained on the weights half, judged on the alpha half.
All others are evaluated once, on the validation third.
"""

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from cells import Cell, Experiment
from measure import RESULTS, Lines
from scipy.stats import t
from six_sets import SETS, SHARED

from wsdarts_hub import SMALL, ImageTask, Preset, push, search, warm_start
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_sdk.artifacts.supernet_weights import find_supernet
from wsdarts_sdk.models.loading import find_genotype
from wsdarts_sdk.models.settings import TrainingSettings
from wsdarts_sdk.models.training import Training, TrainingResult
from wsdarts_sdk.runs.file_names import ARTIFACT_FOLDER, SEARCH_JOURNAL, TRAINING_JOURNAL
from wsdarts_sdk.runs.journal import FileJournal
from wsdarts_sdk.schedule import cosine_learning_rate
from wsdarts_sdk.search.derivation import masked_softmax
from wsdarts_sdk.supernet import reduction_positions

DATA = SHARED / "data"
STEPS = (150, 300, 600, 1200)
LONGER = (2400, 4800)
SEEDS = (0, 1, 2)
BATCH, MOST_STEPS = 64, 30
# The sets that are the nearest of another one come first: their searches are what all waits for.
ORDER = (
    "flowers102",
    "dtd_10",
    "cifar10_1000",
    "bird_groups",
    "aircraft_edges",
    "tiny_imagenet_100",
)


def _source_search() -> Any:
    """Preset ``small`` with 1,680 steps of the weights instead of 480, most in the last stage."""
    stages = [
        dataclasses.replace(stage, epochs=4, weights_only_epochs=1) for stage in SMALL.search.stages
    ]
    stages[-1] = dataclasses.replace(SMALL.search.stages[-1], epochs=20, weights_only_epochs=5)
    return dataclasses.replace(SMALL.search, stages=tuple(stages), steps_per_epoch=60)


SOURCE = Preset(
    name="small-long", search=_source_search(), training=SMALL.training, selection=SMALL.selection
)
WARM = SMALL


@cache
def load(name: str) -> ImageTask:
    """Load one of the six tasks."""
    return ImageTask.load(DATA / SETS[name], name=name)


@cache
def nearest_other() -> dict[str, str]:
    """Return of each set the nearest other one, as measured by an ImageNet probe."""
    measured = json.loads((RESULTS / "task_distances_mobilenetv2_100.json").read_bytes())
    return {name: row["nearest"] for name, row in measured["whole"]["nearest_other"].items()}


def run_source(name: str, state: Path) -> dict[str, Any]:
    """Search one set from cold."""
    found = search(load(name), out=state / "run", preset=SOURCE, resume=True, progress=Lines(name))
    return {"genotype": found.genotype.to_darts(), "seconds": found.seconds}


def run_start(name: str, seed: int, state: Path) -> dict[str, Any]:
    """Warm-start a search of one set from the nearest other one's weights."""
    source = nearest_other()[name]
    store = DirectoryStore(state / "registry", create=True)
    if not store.entries():
        push(state.parent / f"source-{source}" / "run", source, registry=store)
    found = warm_start(
        load(name),
        out=state / "run",
        registry=store,
        source=source,
        mode="trained",
        preset=WARM,
        seed=seed,
        resume=True,
        progress=Lines(f"{name} {seed}"),
    )
    return {"source": source, "genotype": found.genotype.to_darts(), "seconds": found.seconds}


def settings_for(name: str, steps: int, *, selection: bool, **changes: Any) -> TrainingSettings:
    """Return settings of a training of so many steps, whatever the size of the set."""
    task = load(name)
    images = len(task.train_indices) // (2 if selection else 1)
    each = min(MOST_STEPS, images // BATCH)
    basis = dataclasses.replace(
        SMALL.training,
        channels=8,
        batch_size=BATCH,
        steps_per_epoch=each,
        epochs=round(steps / each),
    )
    return dataclasses.replace(basis, **changes)


def run_training(
    name: str,
    run: str,
    way: Mapping[str, Any],
    state: Path,
    *,
    selection: bool,
) -> dict[str, Any]:
    """Train the network of a run's genotype.

    Args:
        name: The set.
        run: Cell of the search whose genotype is trained.
        way: ``steps``, ``seed`` and ``weights``; perhaps ``channels``, ``learning_rate``,
            ``warm_up`` (share of the steps), ``scale`` and ``head``, see ``begin``.
        state: Where it keeps its place.
        selection: Whether it is judged on the alpha half.
    """
    changes = {key: way[key] for key in ("seed", "channels", "learning_rate") if key in way}
    settings = settings_for(name, way["steps"], selection=selection, **changes)
    where = state.parent / run / "run"
    supernet = find_supernet(where) if way["weights"] == "inherited" else None
    training = Training(
        find_genotype(where),
        load(name),
        settings,
        supernet=supernet,
        selection=selection,
        device=None,
    )
    begin(training, where, way)
    result = training.run(FileJournal(state, TRAINING_JOURNAL), Lines(state.name))
    return _figures(result, training)


def begin(training: Training, where: Path, way: Mapping[str, Any]) -> None:
    """Change how a training begins: the norms' scale, the head, a warm-up of the learning rate."""
    if way.get("scale") or way.get("head"):
        checkpoint = FileJournal(where, SEARCH_JOURNAL).restore()
        assert checkpoint is not None
        with torch.no_grad():
            if way.get("head"):
                for part in ("weight", "bias"):
                    getattr(training.net.classifier, part).copy_(
                        checkpoint.tensors[f"net.heads.0.{part}"]
                    )
            if way.get("scale"):
                masks = read_artifact(where / ARTIFACT_FOLDER).masks
                _scale_by_mixture(training, masks, checkpoint.tensors)
    if way.get("warm_up"):
        _warm_up(training, way["warm_up"])


def _scale_by_mixture(
    training: Training, masks: OperationMasks, tensors: Mapping[str, torch.Tensor]
) -> None:
    """Set the last norm of a kept operation to its share of the node's greatest mixture weight."""
    space = training.genotype.space
    edges = {edge: number for number, edge in enumerate(space.edges)}
    reductions = reduction_positions(len(training.net.cells))
    for place, cell in enumerate(training.net.cells):
        kind = "reduction" if place in reductions else "normal"
        mixture = masked_softmax(tensors[f"net.alpha.{kind}"].double().numpy(), masks.array(kind))
        for node, connections in enumerate(training.genotype.cell(kind)):
            shares = [
                mixture[edges[c.source, node + 2], space.candidate_index(c.operation)]
                for c in connections
            ]
            for operation, share in zip(cell.nodes[node], shares, strict=True):
                norms = [m for m in operation.modules() if isinstance(m, torch.nn.BatchNorm2d)]
                if norms:
                    norms[-1].weight.fill_(float(share / max(shares)))


def _warm_up(training: Training, share: float) -> None:
    """Let the learning rate grow linearly over the first steps, on top of its schedule."""
    settings, taken = training.settings, [training.epoch * training.steps]
    rising = max(1, round(share * settings.epochs * training.steps))

    def scale(sgd: torch.optim.Optimizer, *_: Any) -> None:
        epoch = min(taken[0] // training.steps, settings.epochs - 1)
        rate = cosine_learning_rate(
            first=settings.learning_rate, last=0.0, epoch=epoch, epochs=settings.epochs
        )
        taken[0] += 1
        for group in sgd.param_groups:
            group["lr"] = rate * min(1.0, taken[0] / rising)

    training.sgd.register_step_pre_hook(scale)


def _figures(result: TrainingResult, training: Training) -> dict[str, Any]:
    return {
        "accuracy": result.accuracy,
        "loss": result.loss,
        "held_out": result.held_out,
        "images": result.images,
        "classes": training.task.classes,
        "steps_taken": training.steps * training.settings.epochs,
        "share_inherited": None if result.inherited is None else result.inherited.weights,
        "parameters": result.parameters,
        "seconds": result.seconds,
        "losses": [round(row["loss"], 4) for row in result.rows],
    }


def _sources() -> list[Cell]:
    return [
        Cell(name=f"source-{name}", asked={"set": name}, work=partial(run_source, name))
        for name in ORDER
    ]


def _starts(seeds: Sequence[int]) -> list[Cell]:
    return [
        Cell(
            name=f"start-{name}-{seed}",
            asked={"set": name, "seed": seed},
            work=partial(run_start, name, seed),
            needs=[f"source-{nearest_other()[name]}"],
        )
        for seed in seeds
        for name in ORDER
    ]


def _training(name: str, run: str, way: Mapping[str, Any], *, selection: bool = False) -> Cell:
    arm = "-".join(
        str(value) if key in ("weights", "seed", "steps") else f"{key}{value}"
        for key, value in way.items()
    )
    return Cell(
        name=f"{'alpha-' if selection else ''}{name}-{run.partition('-')[0]}-{arm}",
        asked={
            "set": name,
            "run": run,
            "way": dict(way),
            "judged_on": "alpha" if selection else "validation",
        },
        work=partial(run_training, name, run, way, selection=selection),
        needs=[run],
    )


def _pairs(seed: int, steps: Sequence[int]) -> list[Cell]:
    return [
        _training(name, f"start-{name}-{seed}", {"weights": weights, "steps": count, "seed": seed})
        for name in ORDER
        for count in steps
        for weights in ("random", "inherited")
    ]


def _controls() -> list[Cell]:
    """Random weights trained longer, a wider network, and a cold search's own weights."""
    longer = [
        _training(name, f"start-{name}-0", {"weights": "random", "steps": steps, "seed": 0})
        for steps in LONGER
        for name in ORDER
    ]
    wide = [
        _training(
            name,
            f"start-{name}-{seed}",
            {"weights": "random", "steps": steps, "seed": seed, "channels": 16},
        )
        for seed in SEEDS
        for name in ORDER
        for steps in (150, 300, 600)
    ]
    own = [
        _training(name, f"source-{name}", {"weights": weights, "steps": steps, "seed": 0})
        for name in ORDER
        for steps in (300, 1200)
        for weights in ("random", "inherited")
    ]
    return [*wide, *own, *longer]


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the means of every arm, and the paired gains of inheritance."""
    chosen = [row for row in rows if row.get("judged_on") == "alpha"]
    trained = [row for row in rows if row.get("judged_on") == "validation"]
    return {
        "ways_to_inherit": means(chosen),
        "accuracy": means(trained),
        "half_the_steps": half_the_steps(trained),
    }


def means(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return mean and deviation over the seeds of each set, arm and number of steps."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        way = row["way"]
        rest = [f"{k} {v}" for k, v in way.items() if k not in ("weights", "steps", "seed")]
        run = "" if row["run"].startswith("start") else "own supernet"
        arm = ", ".join(filter(None, (way["weights"], run, *rest)))
        groups.setdefault(f"{row['set']} | {arm} | {way['steps']}", []).append(row["accuracy"])
    return {
        key: {
            "mean": round(statistics.fmean(values), 4),
            "sd": round(statistics.stdev(values), 4) if len(values) > 1 else None,
            "seeds": len(values),
        }
        for key, values in groups.items()
    }


def half_the_steps(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Inherited weights at half of the steps less random ones at all of them, pair by pair.

    The interval is that of Student's t at 95 % over the seeds of a set.
    """
    found = {
        (row["set"], row["way"]["seed"], row["way"]["weights"], row["way"]["steps"]): row[
            "accuracy"
        ]
        for row in rows
        if row["run"].startswith("start") and "channels" not in row["way"]
    }
    gains: dict[str, Any] = {}
    for name in ORDER:
        for steps in (300, 600, 1200):
            pairs = [
                (
                    found.get((name, seed, "inherited", steps // 2)),
                    found.get((name, seed, "random", steps)),
                )
                for seed in SEEDS
            ]
            values = [a - b for a, b in pairs if a is not None and b is not None]
            if values:
                gains[f"{name} | {steps // 2} for {steps}"] = with_interval(values)
    return gains


def with_interval(values: Sequence[float]) -> dict[str, Any]:
    """Return the mean of paired differences with the half-width of its 95 % interval."""
    count = len(values)
    width = None
    if count > 1:
        quantile = float(t.ppf(0.975, count - 1))
        width = round(quantile * statistics.stdev(values) / count**0.5, 4)
    return {"mean": round(statistics.fmean(values), 4), "half_width": width, "pairs": count}


def _choices() -> list[Cell]:
    """Ways to inherit at 300 steps, on three sets and two seeds, judged on the alpha half."""
    ways: list[dict[str, Any]] = [
        {"weights": weights, "learning_rate": rate}
        for rate in (0.025, 0.05, 0.1, 0.0125)
        for weights in ("random", "inherited")
    ]
    ways += [
        {"weights": "inherited", "learning_rate": 0.025, "scale": "mixture"},
        {"weights": "inherited", "learning_rate": 0.025, "warm_up": 0.1},
        {"weights": "inherited", "learning_rate": 0.025, "head": True},
        {"weights": "inherited", "learning_rate": 0.05, "warm_up": 0.1},
        {"weights": "random", "learning_rate": 0.05, "warm_up": 0.1},
    ]
    return [
        _training(name, f"start-{name}-{seed}", {**way, "steps": 300, "seed": seed}, selection=True)
        for seed in SEEDS[:2]
        for way in ways
        for name in ("dtd_10", "bird_groups", "cifar10_1000")
    ]


INHERITANCE = Experiment(
    name="inheritance",
    cells=[
        *_sources(),
        *_starts(SEEDS[:2]),
        *_choices(),
        *_pairs(0, STEPS),
        *_starts(SEEDS[2:]),
        *_pairs(1, STEPS),
        *_pairs(2, STEPS),
        *_controls(),
    ],
    summary=summarise,
)
