"""Random and inherited weights at equal steps, on six image sets.

Sources are the artifacts of the shipped zoo, one of each set, and none is asked about the set that
it was searched on: leave-one-out. A warm start from a source's weights gives a genotype and a
supernet; the genotype's network is then trained for a stated number of steps, whatever the set's
size. The pairs share genotype, seed, order of images and all settings but where weights begin.

* ``alpha-…`` is judged on the alpha half, after a training on the weights half: the transfer matrix
  (each source for each set that it had not seen), from which the default's source is to be chosen,
  and ways to inherit.
* All others are trained on the whole train part and evaluated once, on the validation third: three
  seeds from the source whose weights gained most, which is the one that ``warm_start`` takes.
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
from six_sets import META, SETS, SHARED

from wsdarts_hub import SMALL, ImageTask, warm_start
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.stores.opening import ShippedZoo
from wsdarts_registry.stores.records import shipped_zoo
from wsdarts_sdk.artifacts.loading import find_genotype, find_supernet
from wsdarts_sdk.models.settings import TrainingSettings
from wsdarts_sdk.models.training import Training, TrainingResult
from wsdarts_sdk.runs.checkpoints import FileJournal
from wsdarts_sdk.runs.directory import ARTIFACT_FOLDER, SEARCH_JOURNAL, TRAINING_JOURNAL
from wsdarts_sdk.schedule import cosine_learning_rate
from wsdarts_sdk.search.derivation import masked_softmax
from wsdarts_sdk.supernet.operation_plan import reduction_positions

DATA = SHARED / "data"
STEPS = (150, 300, 600, 1200)
LONGER = (2400, 4800)
BATCH, MOST_STEPS = 64, 30
PRESET = SMALL.with_choice(candidates=1)  # α decides
ORDER = tuple(SETS)
BROADEST = "tiny_imagenet_100"  # most images, and the zoo's highest transfer gain
SECOND = "flowers102"  # the second highest, for the set of the first
JOINT = "meta_flowers_birds_textures"  # the zoo's λ_meta
OPEN = "noto_emoji"  # the zoo's artifact of an open set, which is a source alone
CHOICE_SETS = ("dtd_10", "bird_groups", "cifar10_1000")  # on which ways to inherit are compared
OWN = "own"  # the supernet that was searched on the set itself


@cache
def load(name: str) -> ImageTask:
    """Load one of the six tasks."""
    return ImageTask.load(DATA / SETS[name], name=name)


@cache
def nearest_other() -> dict[str, str]:
    """Return of each set the nearest other one, as measured by an ImageNet probe."""
    measured = json.loads((RESULTS / "task_distances_mobilenetv2_100.json").read_bytes())
    return {name: row["nearest"] for name, row in measured["whole"]["nearest_other"].items()}


def artifact_of(name: str) -> Path:
    """Return the directory of the artifact that the zoo has of a set."""
    store = ShippedZoo()
    entry = store.resolve(name.replace("_", "-"))
    return store.path(entry.name, entry.version)


def run_start(name: str, source: str, seed: int, state: Path) -> dict[str, Any]:
    """Warm-start a search of one set from another one's weights."""
    found = warm_start(
        load(name),
        out=state / "run",
        registry=shipped_zoo(),
        source=source.replace("_", "-"),
        mode="meta" if source == JOINT else "trained",
        preset=PRESET,
        seed=seed,
        resume=True,
        progress=Lines(f"{name} from {source} {seed}"),
    )
    genotype = found.genotype.to_darts()
    return {"artifact": found.source, "genotype": genotype, "took": found.seconds}


def start_name(name: str, source: str, seed: int) -> str:
    """Return the cell of a warm start."""
    return f"start-{name}-from-{source}-{seed}"


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
    source: str,
    way: Mapping[str, Any],
    state: Path,
    *,
    selection: bool,
) -> dict[str, Any]:
    """Train the network of the genotype that a warm start found.

    Args:
        name: The set.
        source: Set of the artifact that it was started from; ``OWN`` for the set's own artifact.
        way: ``steps``, ``seed`` and ``weights``; perhaps ``channels``, ``learning_rate``,
            ``warm_up`` (share of the steps), ``scale`` and ``head``, see ``begin``.
        state: Where it keeps its place.
        selection: Whether it is judged on the alpha half.
    """
    changes = {key: way[key] for key in ("seed", "channels", "learning_rate") if key in way}
    settings = settings_for(name, way["steps"], selection=selection, **changes)
    if source == OWN:
        where = artifact_of(name)
    else:
        where = state.parent / start_name(name, source, way["seed"]) / "run"
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
    return figures(result, training)


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


def figures(result: TrainingResult, training: Training) -> dict[str, Any]:
    """Return what is kept of a training, as JSON data."""
    return {
        "genotype": training.genotype.to_darts(),
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


def _starts(pairs: Sequence[tuple[str, str]], seed: int) -> list[Cell]:
    return [
        Cell(
            name=start_name(name, source, seed),
            asked={"set": name, "source": source, "seed": seed},
            work=partial(run_start, name, source, seed),
        )
        for name, source in pairs
    ]


def _training(name: str, source: str, way: Mapping[str, Any], *, selection: bool = False) -> Cell:
    arm = "-".join(
        str(value) if key in ("weights", "seed", "steps") else f"{key}{value}"
        for key, value in way.items()
    )
    return Cell(
        name=f"{'alpha-' if selection else ''}{name}-from-{source}-{arm}",
        asked={
            "set": name,
            "source": source,
            "way": dict(way),
            "judged_on": "alpha" if selection else "validation",
        },
        work=partial(run_training, name, source, way, selection=selection),
        needs=[] if source == OWN else [start_name(name, source, way["seed"])],
    )


def _matrix() -> list[Cell]:
    """Each source for each set that it had not seen, 300 steps, judged on the alpha half.

    First the set's own cold search, with random weights and with those of its own supernet.
    """
    own = [
        _training(name, OWN, {"weights": weights, "steps": 300, "seed": 0}, selection=True)
        for name in ORDER
        for weights in ("random", "inherited")
    ]
    return own + [
        _training(name, source, {"weights": weights, "steps": 300, "seed": 0}, selection=True)
        for name, source in _all_pairs()
        for weights in ("inherited", "random")
    ]


def _pairs(seed: int, pairs: Sequence[tuple[str, str]]) -> list[Cell]:
    """Random and inherited weights at equal steps, judged on the validation third."""
    return [
        _training(name, source, {"weights": weights, "steps": count, "seed": seed})
        for count in STEPS
        for name, source in pairs
        for weights in ("random", "inherited")
    ]


def _all_pairs() -> list[tuple[str, str]]:
    pairs = [(name, source) for name in ORDER for source in ORDER if source != name]
    pairs += [(name, JOINT) for name in ORDER if name not in META]
    return pairs + [(name, OPEN) for name in ORDER]


def source_of(name: str) -> str:
    """Return the source that ``warm_start`` takes from a zoo without a set's own artifact."""
    return SECOND if name == BROADEST else BROADEST


def _default_pairs() -> list[tuple[str, str]]:
    return [(name, source_of(name)) for name in ORDER]


def _longer(steps: int) -> list[Cell]:
    """Random weights trained longer, until they no longer gain."""
    return [
        _training(name, source, {"weights": "random", "steps": steps, "seed": 0})
        for name, source in _default_pairs()
    ]


def _own() -> list[Cell]:
    """The weights of the set's own supernet, from the zoo's search on it."""
    return [
        _training(name, OWN, {"weights": weights, "steps": steps, "seed": 0})
        for steps in (300, 1200)
        for name in ORDER
        for weights in ("random", "inherited")
    ]


def _wide() -> list[Cell]:
    """Twice the width, which takes more than twice the time, from random weights."""
    return [
        _training(name, source, {"weights": "random", "steps": steps, "seed": 0, "channels": 16})
        for steps in (150, 300, 600)
        for name, source in _default_pairs()
    ]


def _choices() -> list[Cell]:
    """Ways to inherit at 300 steps, on three sets and two seeds, judged on the alpha half."""
    ways: list[dict[str, Any]] = [
        {"weights": weights, "learning_rate": rate}
        for rate in (0.05, 0.0125, 0.1)
        for weights in ("random", "inherited")
    ]
    ways += [
        {"weights": "inherited", "scale": "mixture"},
        {"weights": "inherited", "warm_up": 0.1},
        {"weights": "inherited", "head": True},
        {"weights": "inherited", "learning_rate": 0.05, "warm_up": 0.1},
        {"weights": "random", "learning_rate": 0.05, "warm_up": 0.1},
    ]
    return [
        _training(name, BROADEST, {**way, "steps": 300, "seed": seed}, selection=True)
        for seed in range(2)
        for way in ways
        for name in CHOICE_SETS
    ]


def _budgets() -> list[Cell]:
    """Twice the steps, and twice the width, judged on the alpha half."""
    arms: list[dict[str, Any]] = [
        {"weights": "random", "steps": 150, "seed": 0, "channels": 16},
        {"weights": "random", "steps": 300, "seed": 0, "channels": 16},
        {"weights": "inherited", "steps": 600, "seed": 0},
        {"weights": "random", "steps": 600, "seed": 0},
        {"weights": "random", "steps": 600, "seed": 0, "channels": 16},
    ]
    return [
        _training(name, BROADEST, arm, selection=True)
        for arm in arms
        for name in ORDER
        if name != BROADEST
    ]


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the means of every arm, and the paired gains of inheritance."""
    chosen = [row for row in rows if row.get("judged_on") == "alpha"]
    trained = [row for row in rows if row.get("judged_on") == "validation"]
    return {
        "ways_to_inherit": means(chosen),
        "accuracy": means(trained),
        "gain_on_alpha": gains(chosen),
        "gain": gains(trained),
        "half_the_steps": gains(trained, half=True),
    }


def _arm(row: Mapping[str, Any], *, weights: bool = True) -> str:
    way = row["way"]
    rest = [f"{k} {v}" for k, v in way.items() if k not in ("weights", "steps", "seed")]
    start = f"from {row['source']}"
    return ", ".join([row["set"], start, *([way["weights"]] if weights else []), *rest])


def means(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return mean and deviation over the seeds of each set, arm and number of steps."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        groups.setdefault(f"{_arm(row)}, {row['way']['steps']}", []).append(row["accuracy"])
    return {
        key: {
            "mean": round(statistics.fmean(values), 4),
            "sd": round(statistics.stdev(values), 4) if len(values) > 1 else None,
            "seeds": len(values),
        }
        for key, values in groups.items()
    }


def gains(rows: Sequence[Mapping[str, Any]], *, half: bool = False) -> dict[str, Any]:
    """Return inherited weights less random ones, pair by pair: same genotype, seed and settings.

    The interval is that of Student's t at 95 % over the seeds of a set.

    Args:
        rows: Results of trainings.
        half: Whether the inherited weights get half of the steps of the random ones.
    """
    inherited: dict[tuple[Any, ...], float] = {}
    for row in rows:
        if row["way"]["weights"] == "inherited":
            inherited[_pair_key(row, row["way"]["steps"])] = row["accuracy"]
    found: dict[str, list[float]] = {}
    for row in rows:
        steps = row["way"]["steps"]
        taken = steps // 2 if half else steps
        if row["way"]["weights"] == "random" and _pair_key(row, taken) in inherited:
            key = f"{_arm(row, weights=False)}, {f'{taken} for ' if half else ''}{steps}"
            gain = inherited[_pair_key(row, taken)] - row["accuracy"]
            found.setdefault(key, []).append(gain)
    return {key: with_interval(values) for key, values in found.items()}


def _pair_key(row: Mapping[str, Any], steps: int) -> tuple[Any, ...]:
    return (_arm(row, weights=False), row["way"]["seed"], row["genotype"], steps)


def with_interval(values: Sequence[float]) -> dict[str, Any]:
    """Return the mean of paired differences with the half-width of its 95 % interval."""
    count = len(values)
    width = None
    if count > 1:
        quantile = float(t.ppf(0.975, count - 1))
        width = round(quantile * statistics.stdev(values) / count**0.5, 4)
    return {"mean": round(statistics.fmean(values), 4), "half_width": width, "pairs": count}


INHERITANCE = Experiment(
    name="inheritance",
    cells=[
        *_starts(_all_pairs(), 0),
        *_pairs(0, _default_pairs()),
        *_starts(_default_pairs(), 1),
        *_pairs(1, _default_pairs()),
        *_starts(_default_pairs(), 2),
        *_pairs(2, _default_pairs()),
        *_longer(LONGER[0]),
        *_own(),
        *_longer(LONGER[1]),
        *_matrix(),
        *_budgets(),
        *_choices(),
        *_wide(),
    ],
    summary=summarise,
)
