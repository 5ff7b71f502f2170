"""Warm starts beside cold searches, and controls of both, on six image sets.

An arm is a genotype and the weights that its network begins with. Every arm is trained alike, for
``STEPS`` steps on the whole train part, and evaluated once, on the validation third; all choices
are made on the train part. Arms with one seed share the order of the images and all settings.

Nothing is taken from the set that is searched: registries are copies of the shipped zoo without
it (``leave_one_out.py``), with the thresholds for "near" of the other five. Tasks are embedded by
an ImageNet probe, as the shipped one was trained on all six sets.

The declared order makes every prefix a balanced table: first seed 0 of the headline arms on all six
sets, then the choice among candidates, then seed 1 of the headline arms, then the other arms, then
further seeds of the headline arms.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from arms_summary import summarise
from cells import Cell, Experiment
from inheritance import ORDER, PRESET, figures, load, nearest_other, settings_for
from leave_one_out import registry_without
from measure import Lines
from paired_differences import pack_hits
from six_sets import IMAGENET_PROBE, META, SHARED

from wsdarts_hub import ImageTask, Preset, search, warm_start
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.artifact.facts import TransferGain
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.artifact.writer import ArtifactDraft, write_artifact
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.store import Store
from wsdarts_sdk.artifacts.loading import find_genotype, find_supernet
from wsdarts_sdk.data.loader import seed_of
from wsdarts_sdk.models.settings import TrainingSettings
from wsdarts_sdk.models.timm_model import DARTS_V2, PDARTS
from wsdarts_sdk.models.training import Training
from wsdarts_sdk.pipelines.baselines import measure_linear
from wsdarts_sdk.pipelines.starting_point_rules import Choice, Decision
from wsdarts_sdk.pipelines.starting_points import decide_by, plan_start, settings_of_mode
from wsdarts_sdk.presets import ChoiceChanges
from wsdarts_sdk.runs.checkpoints import FileJournal
from wsdarts_sdk.runs.directory import ARTIFACT_FOLDER, TRAINING_JOURNAL
from wsdarts_sdk.search.derivation import derive_genotype, draw_candidates, ranked_candidates
from wsdarts_sdk.task2vec.embedding import embed, embedding_seconds, embedding_space
from wsdarts_sdk.task2vec.loading import load_probe
from wsdarts_sdk.task2vec.probe import Probe

STEPS = 300
TUNED = ("dtd_10", "flowers102", "bird_groups", "cifar10_1000")
"""Sets on which defaults were tuned; the other two are reported apart."""
HEADLINE_SEEDS, OTHER_SEEDS = range(5), range(2)
NEIGHBOURS = 5
"""So many nearest artifacts are compared by mode ``auto``, the default of ``warm_start``."""
UNION_OF = 3
"""So many nearest artifacts are joined: the union of all five would be nearly the whole space."""

CHOICE: ChoiceChanges = {"candidates": 5, "steps": 30, "reduction_factor": 5, "checked": 0}
"""One short training of each candidate: longer ones predict less (``criteria.py``)."""

SearchKind = Literal[
    "auto",
    "cold",
    "cold-chosen",
    "trained",
    "chosen",
    "auto-chosen",
    "gain-chosen",
    "topology",
    "meta",
    "union",
    "random-masks",
]
Drawn = Literal["masks", "space"]
RUN, REGISTRY = "run", "registry"


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Conditions that all cells of a table share.

    Attributes:
        load: Loads a set.
        nearest: Nearest other set of each.
        meta_parts: Sets that the registry's λ_meta was searched on.
        registry: Makes the registry without a set, in a directory that is given.
        probe: Loads the probe that embeds tasks.
        default_probe: Loads the probe that is the default.
        preset: Settings of searches.
        training: Settings of the training of a set's networks, by set and seed.
    """

    load: Callable[[str], ImageTask]
    nearest: Mapping[str, str]
    meta_parts: Sequence[str]
    registry: Callable[[str, Path], Store]
    probe: Callable[[], Probe]
    default_probe: Callable[[], Probe]
    preset: Preset
    training: Callable[[str, int], TrainingSettings]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A genotype and the weights that its network begins with.

    Attributes:
        name: Short name, part of the names of its cells.
        words: What it is.
        search: The search whose genotype it has, or whose masks a cell is drawn within.
        weights: What its network begins with: random weights, or those of that search's supernet.
        of_neighbour: Whether the search is that of the nearest other set.
        drawn: Within what its cell is drawn at random.
        text: Its genotype as text of the DARTS code.
        linear: The probe of a linear classifier, which it is in place of a network.
        seconds: What a cell is expected to take where none was measured.
    """

    name: str
    words: str
    search: SearchKind | None = None
    weights: Literal["random", "inherited"] = "random"
    of_neighbour: bool = False
    drawn: Drawn | None = None
    text: str | None = None
    linear: Literal["default", "imagenet"] | None = None
    seconds: float = 90.0


HEADLINE = (
    Arm(name="warm-trained", words="warm start from λ̂", search="trained", weights="inherited"),
    Arm(
        name="random-in-masks",
        words="random cell within the masks of that start, its supernet's weights",
        search="trained",
        weights="inherited",
        drawn="masks",
    ),
    Arm(
        name="cold-inherited",
        words="cold search, its own supernet's weights",
        search="cold",
        weights="inherited",
    ),
    Arm(name="cold", words="cold search, random weights", search="cold"),
)
CHOSEN = (
    Arm(
        name="warm-chosen",
        words="warm start from λ̂, of 5 cells the best after 30 steps",
        search="chosen",
        weights="inherited",
    ),
    Arm(
        name="cold-chosen",
        words="cold search, of 5 cells the best after 30 steps, its own supernet's weights",
        search="cold-chosen",
        weights="inherited",
    ),
)
AUTO_CHOSEN = Arm(
    name="auto-chosen",
    words="warm start in mode `auto`, of 5 cells the best after 30 steps",
    search="auto-chosen",
    weights="inherited",
)
GAIN_CHOSEN = Arm(
    name="gain-chosen",
    words="warm start from the λ̂ of the highest transfer gain, near or not, of 5 cells the best "
    "after 30 steps",
    search="gain-chosen",
    weights="inherited",
)
GAIN_RANDOM = Arm(
    name="gain-random",
    words="random cell within the masks of that start, its supernet's weights",
    search="gain-chosen",
    weights="inherited",
    drawn="masks",
)
AUTO_ELSEWHERE = ("flowers102", "dtd_10", "aircraft_edges", "cifar10_1000")
"""Sets on which mode ``auto`` does not start from the nearest artifact's weights."""
LINEAR = (
    Arm(
        name="linear",
        words="linear classifier on the shipped probe",
        linear="default",
        seconds=60,
    ),
    Arm(
        name="linear-imagenet",
        words="linear classifier on an ImageNet probe",
        linear="imagenet",
        seconds=120,
    ),
)
ON_ALL_SETS = (
    Arm(
        name="neighbour-cold",
        words="cell of the nearest other set's cold search, random weights",
        search="cold",
        of_neighbour=True,
    ),
    Arm(name="warm-topology", words="warm start from λ", search="topology", weights="inherited"),
    Arm(name="warm-auto", words="warm start in mode `auto`", search="auto", weights="inherited"),
)
OTHERS = (
    Arm(
        name="random-masks",
        words="warm start from random masks of λ's size",
        search="random-masks",
        weights="inherited",
    ),
    Arm(
        name="warm-union",
        words=f"warm start from the union of the {UNION_OF} nearest λ",
        search="union",
        weights="inherited",
    ),
    Arm(
        name="warm-trained-random",
        words="cell of the warm start from λ̂, random weights",
        search="trained",
    ),
    Arm(name="random-cell", words="random cell of the whole space", drawn="space"),
    Arm(name="darts-v2", words="published cell of DARTS (V2)", text=DARTS_V2),
    Arm(name="pdarts", words="published cell of P-DARTS", text=PDARTS),
)
WARM_META = Arm(
    name="warm-meta", words="warm start from λ_meta", search="meta", weights="inherited"
)
ARMS_BY_NAME = {
    arm.name: arm
    for arm in (
        *HEADLINE,
        *CHOSEN,
        AUTO_CHOSEN,
        GAIN_CHOSEN,
        GAIN_RANDOM,
        *LINEAR,
        *ON_ALL_SETS,
        *OTHERS,
        WARM_META,
    )
}
AUTO = {"trained": "warm-trained", "topology": "warm-topology", "meta": "warm-meta"}
"""Arm that mode ``auto`` is, by the mode that it decides for; a cold search else.

Where it starts from another artifact than the nearest one's weights, it has an arm of its own."""

_SEARCH_SECONDS = {
    "cold": 300.0,
    "cold-chosen": 360.0,
    "trained": 40.0,
    "chosen": 100.0,
    "auto-chosen": 150.0,
    "gain-chosen": 100.0,
    "union": 200.0,
}
_MODES = {
    "random-masks": "topology",
    "chosen": "trained",
    "gain-chosen": "trained",
    "auto-chosen": "auto",
}
_OTHER_SEARCH_SECONDS = 100.0


def run_search(
    conditions: Conditions, name: str, kind: SearchKind, seed: int, state: Path
) -> dict[str, Any]:
    """Search one set: cold, or warm-started from a registry without it."""
    task, preset = conditions.load(name), conditions.preset
    common: dict[str, Any] = {"preset": preset, "seed": seed, "resume": True}
    lines = Lines(state.name)
    if kind.endswith("chosen"):
        common["preset"] = preset.with_choice(**CHOICE)
    if kind in ("cold", "cold-chosen"):
        cold = search(task, out=state / RUN, probes=(), progress=lines, **common)
        return {
            "mode": "cold",
            "sources": [],
            "genotype": cold.genotype.to_darts(),
            "work": preset.search.work(),
            "took": cold.seconds,
        }
    registry = conditions.registry(name, state / REGISTRY)
    if kind == "random-masks":
        registry = _with_random_masks(registry, conditions, name, seed, state)
    found = warm_start(
        task,
        out=state / RUN,
        registry=registry,
        source=_of_highest_gain(registry) if kind == "gain-chosen" else None,
        mode=_MODES.get(kind, kind),
        probe=conditions.probe(),
        k=UNION_OF if kind == "union" else NEIGHBOURS,
        progress=lines,
        **common,
    )
    shutil.rmtree(state / REGISTRY)  # a copy for each search would fill the disk
    origin = found.found.origin
    return {
        "mode": found.mode,
        "sources": [list(parent) for parent in (origin.parents if origin else ())],
        "genotype": found.genotype.to_darts(),
        "work": settings_of_mode(preset.search, found.mode).work(),
        "took": found.seconds,
        "cached": found.cached,
    }


def _of_highest_gain(registry: Store) -> str:
    """Return the artifact of one task that states the highest transfer gain."""
    gains = {
        str(entry.reference): gain.gain
        for entry in registry.entries()
        if entry.manifest.kind == "transfer"
        and (gain := TransferGain.of(entry.manifest)) is not None
    }
    return max(gains, key=gains.__getitem__)


def _with_random_masks(
    registry: Store, conditions: Conditions, name: str, seed: int, state: Path
) -> Store:
    """Return a registry of one artifact: random masks, of the size of those of the nearest set."""
    nearest = registry.resolve(conditions.nearest[name].replace("_", "-"))
    artifact = registry.pull(nearest.reference)
    masks = random_masks(artifact.masks, seed)
    even = {kind: np.zeros(masks.space.shape) for kind in CELL_KINDS}
    embedding = registry.embedding(nearest, embedding_space(conditions.probe()))
    directory, store = state / REGISTRY / "random-masks", state / REGISTRY / "random"
    shutil.rmtree(state / REGISTRY, ignore_errors=True)
    write_artifact(
        directory,
        ArtifactDraft(
            kind="transfer",
            tasks=artifact.manifest.tasks,
            network=artifact.manifest.network,
            genotype=derive_genotype(masks, even),
            ranked=ranked_candidates(masks, even),
            stage_masks=[masks],
            provenance=artifact.manifest.provenance,
            embeddings=[] if embedding is None else [embedding],
        ),
    )
    made = DirectoryStore(store, create=True)
    made.publish(directory, "random-masks")
    return made


def random_masks(masks: OperationMasks, seed: int) -> OperationMasks:
    """Return masks that keep as many operations on each edge, drawn evenly from all candidates."""
    draws = np.random.default_rng(seed_of(seed, "random masks"))

    def drawn(kind: str) -> Any:
        rows = masks.array(kind)
        found = np.zeros_like(rows)
        for row, kept in zip(found, rows.sum(axis=1), strict=True):
            row[draws.choice(len(row), size=kept, replace=False)] = True
        return found

    return OperationMasks.from_arrays(masks.space, drawn("normal"), drawn("reduction"))


def random_cell(
    masks: OperationMasks, seed: int, *, skip_connects: int | None, but: Genotype | None = None
) -> Genotype:
    """Draw a genotype evenly within masks.

    Args:
        masks: The operations that may be drawn.
        seed: Seed of the draw.
        skip_connects: Limit of the normal cell, as for the genotypes of searches.
        but: A genotype that is passed over.
    """
    even = {kind: np.zeros(masks.space.shape) for kind in CELL_KINDS}
    drawn = draw_candidates(masks, even, 3, skip_connects=skip_connects, seed=seed)
    # The first is the one that is derived from equal shares, and no draw.
    return next(each for each in drawn[1:] if each != but)


def run_arm(conditions: Conditions, arm: Arm, name: str, seed: int, state: Path) -> dict[str, Any]:
    """Train the network of an arm, and label the validation third."""
    task = conditions.load(name)
    run = None
    if arm.search is not None:
        of = conditions.nearest[name] if arm.of_neighbour else name
        run = state.parent / search_name(of, arm.search, seed) / RUN
    training = Training(
        _genotype(conditions, arm, run, seed),
        task,
        conditions.training(name, seed),
        supernet=find_supernet(run) if run is not None and arm.weights == "inherited" else None,
        selection=False,
        device=None,
    )
    result = training.run(FileJournal(state, TRAINING_JOURNAL), Lines(state.name))
    right = result.logits.argmax(1).numpy() == task.labels[task.indices(task.held_out)]
    return {**figures(result, training), "hits": pack_hits(right)}


def _genotype(conditions: Conditions, arm: Arm, run: Path | None, seed: int) -> Genotype:
    if arm.text is not None:
        return Genotype.from_darts(arm.text)
    limit = conditions.preset.search.warm_skip_connects
    if arm.drawn == "space":
        full = OperationMasks.full(conditions.preset.search.space)
        return random_cell(full, seed, skip_connects=limit)
    assert run is not None
    if arm.drawn == "masks":
        masks = read_artifact(run / ARTIFACT_FOLDER).masks
        return random_cell(masks, seed, skip_connects=limit, but=find_genotype(run))
    return find_genotype(run)


def run_linear(conditions: Conditions, arm: Arm, name: str, state: Path) -> dict[str, Any]:
    """Fit a linear classifier to a probe's features, and label the validation third."""
    task = conditions.load(name)
    probe = conditions.default_probe if arm.linear == "default" else conditions.probe
    found = measure_linear(task, probe(), Lines(state.name))
    return {
        "accuracy": float(found.right.mean()),
        "held_out": str(task.held_out),
        "images": len(found.right),
        "classes": task.classes,
        "parameters": found.size.parameters,
        "trained_on": found.trained_on,
        "seconds": found.seconds,
        "hits": pack_hits(found.right),
    }


def run_decision(conditions: Conditions, name: str, state: Path) -> dict[str, Any]:
    """Return what mode ``auto`` starts from, and the time of an embedding by the default probe."""
    task, default = conditions.load(name), conditions.default_probe()
    store, probe = conditions.registry(name, state / REGISTRY), conditions.probe()
    catalogue = store.catalogue()
    plan = plan_start(
        store,
        catalogue,
        Choice(source=None, mode="auto", k=NEIGHBOURS),
        conditions.preset.search,
        probe=probe,
        recorded=None,
    )
    decision = decide_by(plan, embed(task, probe, progress=Lines(state.name)))
    # In a cache of its own: in the user's there may be one that a busier process has computed.
    timed = state / "timed"
    embed(task, default, cache_dir=timed)
    neighbours = decision.ranking.neighbours if decision.ranking else ()
    near = store.config.threshold(embedding_space(probe))
    shutil.rmtree(state / REGISTRY)
    seconds = embedding_seconds(task, default, cache_dir=timed)
    shutil.rmtree(timed)
    return {
        **decision.to_json(),
        "digests": list(decision.digests),
        "arm": _arm_of(conditions, name, decision),
        "distance": next((n.distance for n in neighbours if n.kind == "transfer"), None),
        "threshold": None if near is None else near.distance,
        "embedding_seconds": seconds,
    }


def _arm_of(conditions: Conditions, name: str, decision: Decision) -> str:
    nearest = conditions.nearest[name].replace("_", "-")
    if decision.mode == "trained" and decision.sources[0].partition("@")[0] != nearest:
        return "warm-auto"
    return AUTO.get(decision.mode, "cold-inherited")


def search_name(name: str, kind: SearchKind, seed: int) -> str:
    """Return the name of the cell of a search."""
    return f"{name}-search-{kind}-{seed}"


def arm_name(name: str, arm: str, seed: int | None) -> str:
    """Return the name of the cell of an arm."""
    return f"{name}-{arm}" if seed is None else f"{name}-{arm}-{seed}"


def _search_cell(conditions: Conditions, name: str, kind: SearchKind, seed: int) -> Cell:
    return Cell(
        name=search_name(name, kind, seed),
        asked={"set": name, "search": kind, "seed": seed},
        work=partial(run_search, conditions, name, kind, seed),
        kind=f"search-{kind}",
        expected=_SEARCH_SECONDS.get(kind, _OTHER_SEARCH_SECONDS),
    )


def _arm_cells(
    conditions: Conditions, arms: Sequence[Arm], sets: Sequence[str], seed: int
) -> list[Cell]:
    """Return the cells of arms at one seed, set by set, each search before what needs it."""
    cells = []
    for name in sets:
        for arm in arms:
            needs = []
            if arm.search is not None:
                of = conditions.nearest[name] if arm.of_neighbour else name
                cells.append(_search_cell(conditions, of, arm.search, seed))
                needs = [cells[-1].name]
            cells.append(
                Cell(
                    name=arm_name(name, arm.name, seed),
                    asked={"set": name, "arm": arm.name, "seed": seed},
                    work=partial(run_arm, conditions, arm, name, seed),
                    needs=needs,
                    kind=arm.name,
                    expected=arm.seconds,
                )
            )
    return cells


def _without_seeds(conditions: Conditions, sets: Sequence[str]) -> list[Cell]:
    """Return the cells of what has no seed: decisions of ``auto``, and linear classifiers."""
    decisions = [
        Cell(
            name=arm_name(name, "decision", None),
            asked={"set": name, "decision": "auto"},
            work=partial(run_decision, conditions, name),
            kind="decision",
            expected=60,
        )
        for name in sets
    ]
    linear = [
        Cell(
            name=arm_name(name, arm.name, None),
            asked={"set": name, "arm": arm.name, "seed": None},
            work=partial(run_linear, conditions, arm, name),
            kind=arm.name,
            expected=arm.seconds,
        )
        for arm in LINEAR
        for name in sets
    ]
    return [*decisions, *linear]


def table(
    conditions: Conditions,
    sets: Sequence[str],
    tuned: Sequence[str],
    elsewhere: Sequence[str],
) -> list[Cell]:
    """Return the declared cells in the order in which they are run.

    Args:
        conditions: What they share.
        sets: The sets of the headline arms.
        tuned: Those of the other arms.
        elsewhere: Those on which mode ``auto`` starts otherwise than from the nearest's weights.
    """
    first, second, *later = HEADLINE_SEEDS
    not_parts = [name for name in sets if name not in conditions.meta_parts]
    cells = [
        *_arm_cells(conditions, HEADLINE, sets, first),
        *_without_seeds(conditions, sets),
        *_arm_cells(conditions, CHOSEN[:1], sets, first),
        *_arm_cells(conditions, CHOSEN[:1], sets, second),
        *_arm_cells(conditions, CHOSEN[1:], sets, first),
        *_arm_cells(conditions, [AUTO_CHOSEN], elsewhere, first),
        *_arm_cells(conditions, [GAIN_CHOSEN, GAIN_RANDOM], sets, first),
        *_arm_cells(conditions, [GAIN_CHOSEN, GAIN_RANDOM], sets, second),
        *_arm_cells(conditions, HEADLINE, sets, second),
        *_arm_cells(conditions, CHOSEN[1:], sets, second),
        *_arm_cells(conditions, [AUTO_CHOSEN], elsewhere, second),
    ]
    for seed in OTHER_SEEDS:
        cells += _arm_cells(conditions, ON_ALL_SETS, sets, seed)
        cells += _arm_cells(conditions, [WARM_META], not_parts, seed)
        cells += _arm_cells(conditions, OTHERS, tuned, seed)
    for seed in later:
        cells += _arm_cells(conditions, HEADLINE, sets, seed)
    return list({cell.name: cell for cell in cells}.values())


@cache
def _imagenet_probe() -> Probe:
    return load_probe(str(SHARED / "probe" / IMAGENET_PROBE))


def _registry(name: str, path: Path) -> Store:
    return registry_without(load(name), path)


SMALL_CONDITIONS = Conditions(
    load=load,
    nearest=nearest_other(),
    meta_parts=META,
    registry=_registry,
    probe=_imagenet_probe,
    default_probe=cache(load_probe),
    preset=PRESET,
    training=lambda name, seed: settings_for(name, STEPS, selection=False, seed=seed),
)
ARMS = Experiment(
    name="arms",
    cells=table(SMALL_CONDITIONS, ORDER, TUNED, AUTO_ELSEWHERE),
    summary=partial(summarise, tuned=TUNED),
)
