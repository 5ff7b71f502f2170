"""Criteria by which a genotype can be chosen after a warm start, against what its network is worth.

Of each set, a warm start from the weights of the nearest other one gives masks λ, α and a supernet.
The candidates are 20 cells drawn evenly within the masks, and α's own, which counts apart. Criteria
see the train part alone: the weights half trains, the alpha half judges. What a cell is worth is
the accuracy on the validation third after ``FINAL`` steps on the whole train part, from inherited
and from random weights; a second seed of some says how well anything can predict it.

Sources are the artifacts of the shipped zoo, one of each set.
"""

import dataclasses
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cells import Cell, Experiment
from inheritance import ORDER, PRESET, load, nearest_other, run_start, settings_for
from measure import Lines
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import nn
from torch.nn import functional as F

from wsdarts_hub import count
from wsdarts_registry._files import write_atomically
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_sdk.artifacts.loading import find_genotype, find_supernet
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.models.inheritance import SupernetWeights
from wsdarts_sdk.models.settings import TrainingSettings
from wsdarts_sdk.models.training import Training
from wsdarts_sdk.pipelines.genotype_choice import candidate_training
from wsdarts_sdk.runs.checkpoints import Checkpoint, FileJournal
from wsdarts_sdk.runs.directory import ARTIFACT_FOLDER, SEARCH_JOURNAL
from wsdarts_sdk.search.derivation import draw_candidates, log_probability
from wsdarts_sdk.search.state import SearchState

CELLS = 20
FINAL = 240
BRIEF = {"brief30": (30, False), "brief30-head": (30, True), "brief120-head": (120, True)}
"""Steps of brief trainings from inherited weights, and whether the head is inherited, too."""
REPEATED = 10
PERTURBATION_IMAGES = 512
NORM_BATCHES = 10
BATCH = 64
AMONG = 5  # as many as preset `small` has
_SAMPLES = 2000


def candidates(run: Path) -> list[Genotype]:
    """Return α's own cell, and cells that are drawn evenly within the masks."""
    masks = read_artifact(run / ARTIFACT_FOLDER).masks
    level = {kind: np.zeros(masks.space.shape) for kind in CELL_KINDS}
    limit = PRESET.search.last_stage_only().skip_connects
    own = find_genotype(run)
    drawn = draw_candidates(masks, level, CELLS + 2, skip_connects=limit, seed=1)
    # The first is the one of equal shares, which is no draw.
    return [own, *[each for each in drawn[1:] if each != own][:CELLS]]


def checkpoint_of(run: Path) -> Checkpoint:
    """Return the end of a run's search."""
    checkpoint = FileJournal(run, SEARCH_JOURNAL).restore()
    assert checkpoint is not None
    return checkpoint


def supernet_of(run: Path, *, head: bool) -> SupernetWeights:
    """Return the weights of a run's supernet, perhaps with the head of the task."""
    supernet = find_supernet(run)
    if not head:
        return supernet
    tensors = checkpoint_of(run).tensors
    own = {f"classifier.{part}": tensors[f"net.heads.0.{part}"] for part in ("weight", "bias")}
    return dataclasses.replace(supernet, tensors={**supernet.tensors, **own})


class Rows:
    """Rows of a job by key, kept on the disk as they come."""

    def __init__(self, state: Path) -> None:
        self._file = state / "rows.json"
        self.found: dict[str, Any] = {}
        if self._file.exists():
            self.found = json.loads(self._file.read_bytes())

    def measured(self, key: str, work: Callable[[], Any]) -> Any:
        """Return the row of a key, measured if it is not there."""
        if key not in self.found:
            self.found[key] = work()
            write_atomically(self._file, json.dumps(self.found).encode())
        return self.found[key]


def run_trainings(
    name: str, way: Mapping[str, Any], places: Sequence[int], state: Path
) -> dict[str, Any]:
    """Train candidates one after the other.

    Args:
        name: The set.
        way: ``steps``, ``seed``, ``weights``, ``head``, and ``judged_on``: ``alpha``, which is a
            candidate's training as a choice has it, or ``validation``, the final one.
        places: Which candidates.
        state: Where they keep their places.
    """
    run = state.parent / f"start-{name}" / "run"
    genotypes, rows = candidates(run), Rows(state)
    selection = way["judged_on"] == "alpha"
    supernet = supernet_of(run, head=way["head"]) if way["weights"] == "inherited" else None

    def trained(place: int) -> dict[str, Any]:
        training = Training(
            genotypes[place],
            load(name),
            training_settings(name, way),
            supernet=supernet,
            selection=selection,
            device=None,
        )
        journal = FileJournal(state, f"training-{place}")
        result = training.run(journal, Lines(f"{state.name} {place}"))
        return {
            "place": place,
            "accuracy": result.accuracy,
            "loss": result.loss,
            "images": result.images,
            "parameters": result.parameters,
            "steps_taken": training.steps * training.settings.epochs,
            "seconds": round(result.seconds, 1),
        }

    measured = [rows.measured(str(place), partial(trained, place)) for place in places]
    return {"rows": measured, "seconds": sum(row["seconds"] for row in measured)}


def training_settings(name: str, way: Mapping[str, Any]) -> TrainingSettings:
    """Return the settings of a brief or of a final training."""
    if way["judged_on"] == "alpha":
        preset = PRESET.with_choice(candidates=2, steps=way["steps"])
        brief = candidate_training(load(name), preset, preset.search.from_trained())
        return dataclasses.replace(brief, seed=way["seed"])
    settings = settings_for(name, way["steps"], selection=False, seed=way["seed"])
    return dataclasses.replace(settings, weights=way["weights"])


def run_untrained(name: str, state: Path) -> dict[str, Any]:
    """Measure what costs no training: α, sizes, inherited weights as they are, perturbations."""
    run = state.parent / f"start-{name}" / "run"
    artifact, checkpoint, rows = (
        read_artifact(run / ARTIFACT_FOLDER),
        checkpoint_of(run),
        Rows(state),
    )
    alpha = {k: checkpoint.tensors[f"net.alpha.{k}"].double().numpy() for k in CELL_KINDS}
    supernet = supernet_of(run, head=True)
    task = load(name)
    way = {"judged_on": "alpha", "steps": 30, "seed": 0}

    def measured(place: int, genotype: Genotype) -> dict[str, Any]:
        training = Training(
            genotype, task, training_settings(name, way), supernet=supernet, selection=True,
            device=None,
        )  # fmt: skip
        size = count(training.net, training.settings.image_size)
        copied = _judged(training)
        _estimate_norms(training)
        return {
            "place": place,
            "genotype": genotype.to_darts(),
            "alpha": log_probability(artifact.masks, alpha, genotype),
            "parameters": size.parameters,
            "multiply_adds": size.multiply_adds,
            "untrained": copied,
            "untrained_norms": _judged(training),
        }

    genotypes = candidates(run)
    found = [
        rows.measured(str(place), partial(measured, place, genotype))
        for place, genotype in enumerate(genotypes)
    ]
    costs = rows.measured("perturbation", partial(_perturbation, name, genotypes[0], checkpoint))
    scores = [_perturbation_score(genotype, costs) for genotype in genotypes]
    both = [{**row, "perturbation": score} for row, score in zip(found, scores, strict=True)]
    return {"rows": both, "perturbation": costs}


def _batches(training: Training, indices: NDArray[np.int64]) -> Any:
    """Yield normalised images of the task and their labels."""
    task, size = training.task, training.settings.image_size
    pixels = task.pixels(size, resize=training.settings.resize)
    for start in range(0, len(indices), BATCH):
        chosen = indices[start : start + BATCH]
        images = training.augmentation.normalise(torch.from_numpy(pixels[chosen]))
        yield images, torch.from_numpy(training.labels[chosen])


def _alpha_half(training: Training) -> NDArray[np.int64]:
    return training.task.in_canonical_order(training.task.indices(Part.ALPHA))


@torch.no_grad()
def _judged(training: Training) -> dict[str, float]:
    """Return accuracy and loss on the alpha half."""
    net, right, loss = training.net.eval(), 0, 0.0
    indices = _alpha_half(training)
    for images, labels in _batches(training, indices):
        logits = net(images)
        right += int((logits.argmax(1) == labels).sum())
        loss += float(F.cross_entropy(logits, labels, reduction="sum"))
    return {"accuracy": right / len(indices), "loss": loss / len(indices)}


@torch.no_grad()
def _estimate_norms(training: Training) -> None:
    """Estimate the statistics of all norms anew, as means over batches of the weights half."""
    for module in training.net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain mean
    task = training.task
    indices = task.in_canonical_order(task.indices(Part.WEIGHTS))
    shuffled = np.random.default_rng(0).permutation(indices)[: NORM_BATCHES * BATCH]
    training.net.train()
    for images, _ in _batches(training, shuffled):
        if len(images) > 1:
            training.net(images)


@torch.no_grad()
def _perturbation(name: str, genotype: Genotype, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what taking each operation out of the supernet costs, in loss on the alpha half."""
    task, settings = load(name), PRESET.search.from_trained()
    cpu = torch.device("cpu")
    net = SearchState.from_checkpoint(checkpoint, settings, [task.classes], cpu).net.eval()
    way = {"judged_on": "alpha", "steps": 30, "seed": 0}
    random = dataclasses.replace(training_settings(name, way), weights="random")
    training = Training(genotype, task, random, selection=True, device=None)
    images = np.random.default_rng(0).permutation(_alpha_half(training))[:PERTURBATION_IMAGES]
    judges = list(_batches(training, images))

    def loss() -> float:
        sums = [float(F.cross_entropy(net(x), y, reduction="sum")) for x, y in judges]
        return sum(sums) / len(images)

    whole, space = loss(), net.masks.space
    costs: dict[str, Any] = {"whole": whole}
    for kind in CELL_KINDS:
        mask = net.get_buffer(f"mask_{kind}")
        for edge, row in enumerate(net.masks.array(kind)):
            for column in np.flatnonzero(row):
                operation = space.candidates[column]
                if operation == "none" or row.sum() == 1:
                    continue
                mask[edge, column] = False  # the others share what it had
                costs[f"{kind} {edge} {operation}"] = loss() - whole
                mask[edge, column] = True
    return costs


def _perturbation_score(genotype: Genotype, costs: Mapping[str, float]) -> float:
    """Return the sum over a cell's operations of what taking them out costs."""
    edges = {edge: number for number, edge in enumerate(genotype.space.edges)}
    return sum(
        costs.get(f"{kind} {edges[c.source, target]} {c.operation}", 0.0)
        for kind in CELL_KINDS
        for target, node in enumerate(genotype.cell(kind), start=2)
        for c in node
    )


WORTHS = {"inherited": "final-inherited-0", "random": "final-random-0"}
SECOND = "final-inherited-1"


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return, for both kinds of final training, what each criterion says of it.

    Correlations are Spearman's within a set, and pooled their mean; an interval is the 95 % one
    over resampled cells. Regret is the accuracy of the best cell less that of the one that the
    criterion ranks first, gain the latter less the mean of all, and gain among the same where only
    some of the cells are at hand; all are means over the sets, in [0, 1].
    """
    found = {row["cell"]: row for row in rows}
    sets = [name for name in ORDER if f"untrained-{name}" in found]
    return {
        worth: {
            "sets": [name for name in sets if f"{arm}-{name}" in found],
            "criteria": _criteria(found, sets, arm),
            "random_choice": _random_choice(found, sets, arm),
            "own_cell_of_alpha": _own_cell(found, sets, arm),
        }
        for worth, arm in WORTHS.items()
    }


def _column(found: Mapping[str, Any], arm: str, name: str, value: str) -> dict[int, float]:
    """Return a figure of the cells drawn at random, by place; without α's own."""
    rows = found.get(f"{arm}-{name}", {}).get("rows", ())
    return {row["place"]: _figure(row, value) for row in rows if row["place"] > 0}


def _figure(row: Mapping[str, Any], value: str) -> float:
    first, _, second = value.partition(".")
    figure = row[first][second] if second else row[first]
    return -figure if value.endswith("loss") else figure


def _named_columns(found: Mapping[str, Any], name: str) -> dict[str, dict[int, float]]:
    """Return every criterion of a set, each such that more is better."""
    columns = {
        key: _column(found, "untrained", name, value)
        for key, value in (
            ("alpha", "alpha"),
            ("untrained", "untrained.loss"),
            ("untrained_norms", "untrained_norms.loss"),
            ("perturbation", "perturbation"),
            ("parameters", "parameters"),
            ("multiply_adds", "multiply_adds"),
        )
    }
    for arm in BRIEF:
        columns[arm] = _column(found, arm, name, "accuracy")
        columns[f"{arm}_loss"] = _column(found, arm, name, "loss")
    columns["ceiling: the same training, second seed"] = _column(found, SECOND, name, "accuracy")
    return {key: column for key, column in columns.items() if column}


def _criteria(found: Mapping[str, Any], sets: Sequence[str], arm: str) -> dict[str, Any]:
    pairs: dict[str, list[NDArray[np.float64]]] = {}
    for name in sets:
        worth = _column(found, arm, name, "accuracy")
        for key, column in _named_columns(found, name).items():
            both = sorted(column.keys() & worth.keys())
            if len(both) > 2:
                values = [[column[place] for place in both], [worth[place] for place in both]]
                pairs.setdefault(key, []).append(np.array(values))
    return {key: _agreement(of_sets) for key, of_sets in pairs.items()}


def _agreement(of_sets: Sequence[NDArray[np.float64]]) -> dict[str, Any]:
    """Compare a criterion with what cells are worth; one array of shape ``(2, cells)`` a set."""
    draws = np.random.default_rng(0)
    drawn = [
        [draws.integers(each.shape[1], size=each.shape[1]) for each in of_sets]
        for _ in range(_SAMPLES)
    ]
    samples = [
        _rank(each[:, np.stack(cells)].swapaxes(0, 1))
        for each, cells in zip(of_sets, zip(*drawn, strict=True), strict=True)
    ]
    low, high = np.quantile(np.mean(samples, axis=0), [0.025, 0.975])
    chosen = [each[1, int(each[0].argmax())] for each in of_sets]
    return {
        "correlation": round(float(np.mean([_rank(each) for each in of_sets])), 3),
        "interval": [round(float(low), 3), round(float(high), 3)],
        "by_set": [round(float(_rank(each)), 3) for each in of_sets],
        "regret": round(
            statistics.fmean(each[1].max() - c for each, c in zip(of_sets, chosen, strict=True)), 4
        ),
        "gain": round(
            statistics.fmean(c - each[1].mean() for each, c in zip(of_sets, chosen, strict=True)), 4
        ),
        "gain_among": round(statistics.fmean(map(_gain_among, of_sets)), 4),
    }


def _gain_among(both: NDArray[np.float64]) -> float:
    """Return what the first of some cells is worth more than the mean, over all choices of cells.

    The cell of place r from the worst, by the criterion, is the first of ``AMONG`` of n cells with
    probability C(r - 1, AMONG - 1) / C(n, AMONG).
    """
    worth = both[1][np.argsort(both[0], kind="stable")]
    count, among = len(worth), min(AMONG, len(worth))
    first = np.array([comb(r, among - 1) for r in range(count)]) / comb(count, among)
    return float(first @ worth - worth.mean())


def _rank(both: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Spearman's correlation of pairs of rows, of shape ``(…, 2, cells)``.

    It is 0 where one of the two rows is constant.
    """
    ranks = rankdata(both, axis=-1)
    first, second = np.moveaxis(ranks - ranks.mean(axis=-1, keepdims=True), -2, 0)
    norm = np.sqrt((first**2).sum(axis=-1) * (second**2).sum(axis=-1))
    product = (first * second).sum(axis=-1)
    return np.divide(product, norm, out=np.zeros_like(norm), where=norm > 0)


def _random_choice(found: Mapping[str, Any], sets: Sequence[str], arm: str) -> dict[str, Any]:
    """Return regret and spread of a cell taken at random."""
    columns = [list(_column(found, arm, name, "accuracy").values()) for name in sets]
    known = [column for column in columns if column]
    if not known:
        return {}
    return {
        "regret": round(statistics.fmean(max(c) - statistics.fmean(c) for c in known), 4),
        "deviation": round(statistics.fmean(map(statistics.stdev, known)), 4),
    }


def _own_cell(found: Mapping[str, Any], sets: Sequence[str], arm: str) -> dict[str, Any]:
    """Return by set what α's own cell is worth more than the mean of those drawn."""
    gains = {}
    for name in sets:
        column = _column(found, arm, name, "accuracy")
        own = [row for row in found.get(f"{arm}-{name}", {}).get("rows", ()) if row["place"] == 0]
        if column and own:
            gains[name] = round(own[0]["accuracy"] - statistics.fmean(column.values()), 4)
    return gains


def _job(name: str, arm: str, way: Mapping[str, Any], places: Sequence[int]) -> Cell:
    return Cell(
        name=f"{arm}-{name}",
        asked={"set": name, "way": dict(way)},
        work=partial(run_trainings, name, way, places),
        needs=[f"start-{name}"],
    )


def _of_set(name: str) -> list[Cell]:
    everyone = range(CELLS + 1)
    final = {"judged_on": "validation", "steps": FINAL, "head": False}
    brief = {"judged_on": "alpha", "weights": "inherited", "seed": 0}
    inherited = {**final, "weights": "inherited"}
    return [
        Cell(
            name=f"start-{name}",
            asked={"set": name, "source": nearest_other()[name]},
            work=partial(run_start, name, nearest_other()[name], 0),
        ),
        Cell(
            name=f"untrained-{name}",
            asked={"set": name},
            work=partial(run_untrained, name),
            needs=[f"start-{name}"],
        ),
        *(
            _job(name, arm, {**brief, "steps": steps, "head": head}, everyone)
            for arm, (steps, head) in BRIEF.items()
        ),
        _job(name, WORTHS["inherited"], {**inherited, "seed": 0}, everyone),
        _job(name, WORTHS["random"], {**final, "weights": "random", "seed": 0}, everyone),
        _job(name, SECOND, {**inherited, "seed": 1}, range(1, REPEATED + 1)),
    ]


CRITERIA = Experiment(
    name="criteria",
    cells=[cell for name in ORDER for cell in _of_set(name)],
    summary=summarise,
)
