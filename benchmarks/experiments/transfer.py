"""What predicts the gain of a warm start: Task2Vec's distance, and rules beside it.

The transfer matrix has every artifact of the shipped zoo as the source of every other set: a warm
start from its weights, then 300 steps of training from the inherited weights. Its gain is the
accuracy beside that of the set's own cold search, trained as long from random weights. These are
cells of the experiment ``inheritance``, judged on the alpha half; here the figures are added by
which a source could have been chosen, and the choices are compared.

Every predictor is measured without the alpha half: distances see 500 images of the train part, as a
ranking does; LogME and the linear classifier see the weights half alone.

* ``logme``: log evidence of a linear model of the labels, given the features of the source's
  network (LogME, You et al., ICML 2021, arXiv:2102.11005), per image and class.
* ``linear``: accuracy of a linear classifier on these features, fitted to one half of the weights
  half and judged on the other.
"""

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cells import Cell, Experiment
from inheritance import INHERITANCE, JOINT, OPEN, ORDER, OWN, artifact_of, load
from measure import RESULTS, Lines
from numpy.typing import NDArray
from probes import distances_left_out
from scipy.stats import spearmanr
from six_sets import near_threshold

from wsdarts_registry.artifact.facts import (
    TRANSFER_GAIN,
    TRANSFER_HIGH,
    TRANSFER_LOW,
    TRANSFER_SETS,
    TRANSFER_STEPS,
)
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_sdk.artifacts.loading import load_network
from wsdarts_sdk.data.augmentation import channel_statistics
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.models.network import DerivedNetwork
from wsdarts_sdk.task2vec.probe import fit_head

STEPS = 300
Floats = list[float]
SIZE, BATCH = 32, 250
STRENGTHS = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
RESAMPLES = 10_000
PROBES = {
    "mobilenetv2_100": "distance by an ImageNet probe",
    "wsdarts-resnet10t": "distance by the shipped probe",
}
DISTILLED_LEFT_OUT = "distance by a distilled probe that did not see the set"
ELSEWHERE = "transfer gain on the other sets"
RANDOM = "random choice"
"""Its regret is the mean over the sources."""


def run_features(name: str, source: str, state: Path) -> dict[str, Any]:
    """Measure how well the features of a source's network suit a set's weights half."""
    task = load(name)
    images = task.indices(Part.WEIGHTS)
    network = load_network(str(artifact_of(source)), weights="inherited")
    assert isinstance(network, DerivedNetwork)
    features = features_of(network, task, images, Lines(state.name))
    labels = task.labels[images]
    return {"logme": logme(features, labels), "linear": linear_accuracy(features, labels)}


@torch.no_grad()
def features_of(
    network: DerivedNetwork, task: ImageTask, images: NDArray[np.int64], progress: Lines
) -> NDArray[np.float64]:
    """Return the pooled features of images, shape ``(images, features)``.

    Norms take the statistics of each batch, as in the first step of a training: the running ones
    are those of the source's images.
    """
    network.train()
    pixels = task.pixels(SIZE)
    mean, std = channel_statistics([pixels[images]])
    shuffled = np.random.default_rng(0).permutation(len(images))
    rows = None
    for places in np.array_split(shuffled, max(1, round(len(images) / BATCH))):
        x = torch.from_numpy(np.ascontiguousarray(pixels[np.sort(images[places])])).float() / 255
        x = ((x - mean) / std).permute(0, 3, 1, 2).contiguous()
        found = network.run_cells(x)[0].mean(dim=(2, 3)).double().numpy()
        if rows is None:
            rows = np.empty((len(images), found.shape[1]))
        rows[np.sort(places)] = found
        progress("features", len(places), len(images))
    assert rows is not None
    return rows


def logme(features: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return LogME: the log evidence per image, averaged over one-against-all labels of classes.

    Args:
        features: Shape ``(images, features)``.
        labels: Class of each image.
    """
    count, width = features.shape
    u, singular, _ = np.linalg.svd(features, full_matrices=False)
    squares = singular**2
    evidences = []
    for label in np.unique(labels):
        y = (labels == label).astype(np.float64)
        z_squares = (u.T @ y) ** 2
        rest = float(y @ y - z_squares.sum())  # what no feature explains
        alpha, beta = 1.0, 1.0
        for _ in range(100):
            before = alpha / beta
            shrunk = alpha + beta * squares
            gamma = float((beta * squares / shrunk).sum())
            m_square = float((beta**2 * squares * z_squares / shrunk**2).sum())
            error = float((z_squares * (alpha / shrunk) ** 2).sum()) + rest
            alpha, beta = gamma / (m_square + 1e-12), (count - gamma) / (error + 1e-12)
            if abs(alpha / beta - before) <= 1e-6 * before:
                break
        shrunk = alpha + beta * squares
        m_square = float((beta**2 * squares * z_squares / shrunk**2).sum())
        error = float((z_squares * (alpha / shrunk) ** 2).sum()) + rest
        log_determinant = float(np.log(shrunk).sum()) + (width - len(squares)) * np.log(alpha)
        evidence = width * np.log(alpha) + count * np.log(beta) - count * np.log(2 * np.pi)
        evidences.append((evidence - beta * error - alpha * m_square - log_determinant) / 2 / count)
    return float(np.mean(evidences))


def linear_accuracy(features: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the accuracy on every second image of each class of a classifier fitted to the rest.

    The regularisation strength is the one that does best, for every source alike.
    """
    order = np.argsort(labels, kind="stable")
    judged = np.zeros(len(labels), dtype=bool)
    judged[order[1::2]] = True
    x = torch.from_numpy((features - features.mean(axis=0)) / (features.std(axis=0) + 1e-6))
    fitted, y = torch.from_numpy(~judged), torch.from_numpy(labels)
    best = 0.0
    for strength in STRENGTHS:
        classes, found = torch.unique(y[fitted], return_inverse=True)
        head = fit_head(x[fitted].float(), found, strength)
        guessed = classes[head.logits(x[~fitted]).argmax(1)].numpy()
        best = max(best, float((guessed == labels[judged]).mean()))
    return best


def matrix_rows() -> list[dict[str, Any]]:
    """Return the finished pairs of the transfer matrix, of sets whose cold search is finished.

    Of each: ``accuracy``, and ``gain`` over the cold search's cell from random weights; and once
    for each set, as source ``OWN``, the cold search's cell with its own supernet's weights.
    """
    rows = []
    for name in ORDER:
        cold = _accuracy(name, OWN, "random")
        for source in (*ORDER, JOINT, OPEN, OWN):
            accuracy = _accuracy(name, source, "inherited")
            if cold is not None and accuracy is not None:
                figures = {"accuracy": accuracy, "gain": accuracy - cold}
                parameters = _figure(name, source, "inherited", "parameters")
                rows.append({"set": name, "source": source, **figures, "parameters": parameters})
    return rows


def _accuracy(name: str, source: str, weights: str) -> float | None:
    return _figure(name, source, weights, "accuracy")


def _figure(name: str, source: str, weights: str, key: str) -> Any:
    file = INHERITANCE.result(f"alpha-{name}-from-{source}-{weights}-{STEPS}-0")
    return json.loads(file.read_bytes())[key] if file.exists() else None


def predictors(
    name: str, sources: Sequence[str], measured: Mapping[tuple[str, str], Mapping[str, Any]]
) -> dict[str, list[float]]:
    """Return the values of each predictor for the sources of a set; the greatest is its choice."""
    found: dict[str, list[float]] = {}
    for probe, words in PROBES.items():
        whole = _distances(probe)
        place = {each: number for number, each in enumerate(whole["names"])}
        row = whole["matrix"][place[name]]
        found[words] = [-row[place[source]] for source in sources]
    if (left_out := distances_left_out(name)) is not None:
        found[DISTILLED_LEFT_OUT] = [-left_out[source] for source in sources]
    # Of the artifacts, not of the sets: this page is also written where those are not at hand.
    here, *others = (read_artifact(artifact_of(s)).manifest.tasks[0] for s in (name, *sources))
    found["most classes"] = [float(other.classes) for other in others]
    found["number of classes nearest"] = [
        -abs(np.log(other.classes / here.classes)) for other in others
    ]
    found["most images"] = [float(other.images) for other in others]
    for key, words in (("logme", "LogME"), ("linear", "linear classifier on its features")):
        if all((name, source) in measured for source in sources):
            found[words] = [measured[name, source][key] for source in sources]
    return found


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the matrix, and of each predictor its regret and its rank correlation with accuracy.

    Accuracies, gains and regrets are shares. Intervals (95 %) resample sets, images of which are
    not resampled: with six sets they are rough.
    """
    measured = {(row["set"], row["source"]): row for row in rows}
    matrix = matrix_rows()
    by_set: dict[str, list[dict[str, Any]]] = {}
    for row in matrix:
        if row["source"] in (JOINT, OPEN, OWN):
            continue  # those of the six sets are compared; a set's own artifact is no choice
        by_set.setdefault(row["set"], []).append(row)
    complete = {name: of for name, of in by_set.items() if len(of) == len(ORDER) - 1}
    regrets: dict[str, list[float]] = {RANDOM: []}
    agreements: dict[str, list[float]] = {}
    choices: dict[str, dict[str, str]] = {}
    for name, of in complete.items():
        sources, accuracies = [r["source"] for r in of], [r["accuracy"] for r in of]
        regrets[RANDOM].append(max(accuracies) - statistics.fmean(accuracies))
        found = predictors(name, sources, measured)
        found[ELSEWHERE] = [
            statistics.fmean(transfer_gains(matrix, source, but=name)) for source in sources
        ]
        for predictor, values in found.items():
            first = int(np.argmax(values))
            choices.setdefault(predictor, {})[name] = sources[first]
            regrets.setdefault(predictor, []).append(max(accuracies) - accuracies[first])
            agreements.setdefault(predictor, []).append(_rank_correlation(values, accuracies))
    return {
        "matrix": matrix,
        "sets": list(complete),
        "regret": {key: _interval(values) for key, values in regrets.items()},
        "regret_less_than_random": {
            key: _interval(np.array(regrets[RANDOM][: len(values)]) - np.array(values))
            for key, values in regrets.items()
            if key != RANDOM
        },
        "rank_correlation": {key: _interval(values) for key, values in agreements.items()},
        "choices": choices,
        "near_and_far": near_and_far([row for of in complete.values() for row in of]),
        "parameters": parameters_apart([row for of in complete.values() for row in of]),
    }


def near_and_far(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return of each probe whether sources that count as near are better than the others.

    The threshold of a set is that of the other sets, as for all that leaves it out.

    Args:
        rows: Complete rows of the transfer matrix.

    Returns:
        Of each probe ``near`` and ``far``, numbers of pairs, and ``difference``: the mean accuracy
        of a set's near sources less that of its far ones, over the sets that have both.
    """
    found = {}
    for probe in PROBES:
        whole = _distances(probe)
        place = {each: number for number, each in enumerate(whole["names"])}
        pairs, differences = {True: 0, False: 0}, []
        for name in dict.fromkeys(row["set"] for row in rows):
            threshold = near_threshold(whole["names"], whole["matrix"], left_out=name)
            of: dict[bool, list[float]] = {True: [], False: []}
            for row in (row for row in rows if row["set"] == name):
                distance = whole["matrix"][place[name]][place[row["source"]]]
                of[distance <= threshold].append(row["accuracy"])
            for near, accuracies in of.items():
                pairs[near] += len(accuracies)
            if of[True] and of[False]:
                differences.append(statistics.fmean(of[True]) - statistics.fmean(of[False]))
        difference = _interval(differences)
        found[probe] = {"near": pairs[True], "far": pairs[False], "difference": difference}
    return found


def _distances(probe: str) -> dict[str, Any]:
    """Return the distances of the whole sets, as a probe measured them."""
    measured = json.loads((RESULTS / f"task_distances_{probe}.json").read_bytes())
    return dict(measured["whole"])


def parameters_apart(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how far the size of a cell explains its accuracy, and the sources' gains without it.

    A line is fitted to all pairs at once: accuracy against the logarithm of the number of
    parameters, each less its mean over the sources of the set.

    Args:
        rows: Complete rows of the transfer matrix.

    Returns:
        ``correlation`` of the two; and of each source by how much its accuracy was above the mean,
        as ``gains``, and above the line, as ``gains_at_equal_size``.
    """
    if not rows:
        return {}
    names = [row["set"] for row in rows]
    sizes = _centred(np.log([row["parameters"] for row in rows]), names)
    gains = _centred(np.array([row["accuracy"] for row in rows]), names)
    slope = float(sizes @ gains / (sizes @ sizes))
    of = {source: [row["source"] == source for row in rows] for source in ORDER}
    of = {source: mask for source, mask in of.items() if any(mask)}
    return {
        "correlation": round(float(np.corrcoef(sizes, gains)[0, 1]), 4),
        "gains": {k: round(float(gains[m].mean()), 4) for k, m in of.items()},
        "gains_at_equal_size": {
            k: round(float((gains - slope * sizes)[m].mean()), 4) for k, m in of.items()
        },
    }


def _centred(values: NDArray[np.float64], groups: Sequence[str]) -> NDArray[np.float64]:
    """Return values less the mean of their group."""
    _, group = np.unique(groups, return_inverse=True)
    return values - (np.bincount(group, values) / np.bincount(group))[group]


def _rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Spearman's rank correlation; not a number where all values are equal."""
    if len(set(one)) == 1 or len(set(other)) == 1:
        return float("nan")
    return float(spearmanr(one, other).statistic)


def transfer_gains(matrix: Sequence[Mapping[str, Any]], source: str, *, but: str | None) -> Floats:
    """Return the gains of a source over cold searches, one for each set that it had not seen.

    Args:
        matrix: Rows of the transfer matrix.
        source: The source.
        but: A set that takes no part as a target.
    """
    return [row["gain"] for row in matrix if row["source"] == source and row["set"] != but]


def transfer_figures(name: str, *, left_out: str | None = None) -> dict[str, int | float]:
    """Return the transfer gain of an artifact of the zoo, as metrics; none if it is not measured.

    Args:
        name: Its name in the zoo.
        left_out: A set whose figures take no part.
    """
    gains = transfer_gains(matrix_rows(), name.replace("-", "_"), but=left_out)
    if len(gains) < 2:
        return {}
    found = _interval(gains)
    return {
        TRANSFER_GAIN: found["mean"],
        TRANSFER_LOW: found["low"],
        TRANSFER_HIGH: found["high"],
        TRANSFER_SETS: len(gains),
        TRANSFER_STEPS: STEPS,
    }


def _interval(values: Iterable[float]) -> dict[str, Any]:
    """Return the mean of one value for each set, with an interval that resamples sets."""
    each = np.array(list(values), dtype=np.float64)
    if not len(each) or np.isnan(each).all():
        return {"mean": None, "low": None, "high": None, "sets": []}
    draws = np.random.default_rng(0).integers(len(each), size=(RESAMPLES, len(each)))
    low, high = np.nanquantile(np.nanmean(each[draws], axis=1), [0.025, 0.975])
    return {
        "mean": round(float(np.nanmean(each)), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
        "sets": [round(float(value), 4) for value in each],
    }


def _cell(name: str, source: str) -> Cell:
    work: Callable[[Path], dict[str, Any]] = partial(run_features, name, source)
    return Cell(
        name=f"features-{name}-from-{source}",
        asked={"set": name, "source": source},
        work=work,
        kind="features",
        expected=20,
    )


TRANSFER = Experiment(
    name="transfer",
    cells=[_cell(name, source) for name in ORDER for source in ORDER if source != name],
    summary=summarise,
)
