"""How the gain of inherited weights grows with the training of the source's supernet.

A source is searched as for the shipped zoo (``build_zoo.py``), with a last stage of so many steps.
The stages before it, and so the masks λ, are the same for all. Each target gets a warm start from
it; networks of ``CELLS`` genotypes, drawn evenly within λ and the same for all lengths, are then
trained for ``STEPS`` steps from the weights of the warm start's supernet.

Controls: ``masks``, a warm start from λ alone, whose supernet begins with random weights, and
``none``, the same genotypes from random weights. All is trained on the weights half and judged on
the alpha half, so that the zoo may be made by these figures.
"""

import dataclasses
import shutil
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cells import Cell, Experiment
from inheritance import ORDER, PRESET, load, settings_for
from measure import Lines

from wsdarts_hub import Preset, push, search, warm_start
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_sdk.artifacts.loading import find_supernet
from wsdarts_sdk.models.training import Training
from wsdarts_sdk.runs.checkpoints import FileJournal
from wsdarts_sdk.runs.directory import ARTIFACT_FOLDER
from wsdarts_sdk.search.derivation import draw_candidates

SOURCES = ("tiny_imagenet_100", "flowers102")
"""The set with most images, and the one whose artifact was the best source."""
LENGTHS = (500, 2000, 8000)
NONE, MASKS = "none", "masks"
ALPHA_EPOCHS = 8
"""Epochs with α steps, the last ones of the last stage, as in the shipped zoo."""
CELLS, STEPS = 2, 300


def source_preset(steps: int) -> Preset:
    """Return the settings of a source whose last stage takes so many steps."""
    per_epoch = PRESET.search.steps_per_epoch
    assert per_epoch is not None
    epochs = steps // per_epoch
    first, second, last = PRESET.search.stages
    stages = (
        dataclasses.replace(first, epochs=6, weights_only_epochs=4),
        dataclasses.replace(second, epochs=6, weights_only_epochs=4),
        dataclasses.replace(last, epochs=epochs, weights_only_epochs=epochs - ALPHA_EPOCHS),
    )
    return dataclasses.replace(
        PRESET, name=f"small-{steps}", search=dataclasses.replace(PRESET.search, stages=stages)
    )


def run_source(name: str, steps: int, state: Path) -> dict[str, Any]:
    """Search a source, and publish it in a registry of its own."""
    found = search(
        load(name),
        out=state / "run",
        preset=source_preset(steps),
        probes=(),
        resume=True,
        progress=Lines(state.name),
    )
    shutil.rmtree(state / "registry", ignore_errors=True)
    store = DirectoryStore(state / "registry", create=True)
    push(found.path, "source", registry=store, license="research-only", description=name)
    return {"genotype": found.genotype.to_darts(), "took": found.seconds}


def run_start(name: str, source: str, length: int | str, state: Path) -> dict[str, Any]:
    """Warm-start the search of a target: from λ̂ of a length, or from λ alone."""
    steps = LENGTHS[0] if length == MASKS else length
    found = warm_start(
        load(name),
        out=state / "run",
        registry=state.parent / f"search-{source}-{steps}" / "registry",
        source="source",
        mode="topology" if length == MASKS else "trained",
        preset=PRESET,
        seed=0,
        resume=True,
        progress=Lines(state.name),
    )
    return {"genotype": found.genotype.to_darts(), "took": found.seconds}


def genotypes(run: Path) -> list[Genotype]:
    """Return genotypes that are drawn evenly within a run's masks."""
    masks = read_artifact(run / ARTIFACT_FOLDER).masks
    even = {kind: np.zeros(masks.space.shape) for kind in CELL_KINDS}
    limit = PRESET.search.warm_skip_connects
    # The first is the one of equal shares, which is no draw.
    return draw_candidates(masks, even, CELLS + 1, skip_connects=limit, seed=1)[1:]


def run_trainings(name: str, source: str, length: int | str, state: Path) -> dict[str, Any]:
    """Train the network of each genotype, from the weights of a warm start or from random ones."""
    drawn = genotypes(state.parent / f"search-{source}-{LENGTHS[0]}" / "run")
    start = state.parent / f"start-{name}-from-{source}-{length}" / "run"
    rows = []
    for place, genotype in enumerate(drawn):
        training = Training(
            genotype,
            load(name),
            settings_for(name, STEPS, selection=True),
            supernet=None if length == NONE else find_supernet(start),
            selection=True,
            device=None,
        )
        result = training.run(
            FileJournal(state, f"training-{place}"), Lines(f"{state.name} {place}")
        )
        rows.append(
            {
                "genotype": genotype.to_darts(),
                "accuracy": result.accuracy,
                "loss": result.loss,
                "images": result.images,
                "seconds": round(result.seconds, 1),
            }
        )
    return {"rows": rows, "seconds": sum(row["seconds"] for row in rows)}


def _cells(source: str) -> list[Cell]:
    """Return the cells of a source, each length with all that needs it."""
    targets = [name for name in ORDER if name != source]
    found = [_trainings(name, source, NONE, [f"search-{source}-{LENGTHS[0]}"]) for name in targets]
    for length in (*LENGTHS, MASKS):
        if length != MASKS:
            found.append(
                Cell(
                    name=f"search-{source}-{length}",
                    asked={"source": source, "length": length},
                    work=partial(run_source, source, int(length)),
                    kind=f"search-{length}",
                    expected=300 + 0.2 * int(length),
                )
            )
        needed = f"search-{source}-{LENGTHS[0] if length == MASKS else length}"
        for name in targets:
            start = f"start-{name}-from-{source}-{length}"
            found.append(
                Cell(
                    name=start,
                    asked={"set": name, "source": source, "length": length},
                    work=partial(run_start, name, source, length),
                    needs=[needed],
                    kind="start-masks" if length == MASKS else "start",
                    expected=40,
                )
            )
            both = [f"search-{source}-{LENGTHS[0]}", start]
            found.append(_trainings(name, source, length, both))
    return found


def _trainings(name: str, source: str, length: int | str, needs: Sequence[str]) -> Cell:
    return Cell(
        name=f"{name}-from-{source}-{length}",
        asked={"set": name, "source": source, "length": length, "judged_on": "alpha"},
        work=partial(run_trainings, name, source, length),
        needs=needs,
        kind="trainings",
        expected=150,
    )


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return mean accuracies by source, target and length, and the gains over random weights.

    A gain is the mean over genotypes of the difference of two trainings of one genotype. ``means``
    are over the targets with the control, of the lengths that all of these have.
    """
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for row in rows:
        if "rows" in row:
            accuracies = [each["accuracy"] for each in row["rows"]]
            by_length = found.setdefault(row["source"], {}).setdefault(row["set"], {})
            by_length[str(row["length"])] = accuracies
    return {source: _of_source(by_set) for source, by_set in found.items()}


def _of_source(by_set: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, Any]:
    order = [NONE, MASKS, *map(str, LENGTHS)]
    measured = [each for each in order if any(each in found for found in by_set.values())]
    whole = [name for name, found in by_set.items() if NONE in found]
    shared = [each for each in measured if all(each in by_set[name] for name in whole)]
    accuracy = {
        name: {each: statistics.fmean(found[each]) for each in measured if each in found}
        for name, found in by_set.items()
    }
    return {
        "accuracy": accuracy,
        "sets_of_the_means": whole,
        "means": {
            each: statistics.fmean(accuracy[name][each] for name in whole)
            for each in (shared if whole else ())
        },
        "gains": {
            name: {each: found[each] - found[NONE] for each in found if each != NONE}
            for name, found in accuracy.items()
            if NONE in found
        },
    }


SOURCE_TRAINING = Experiment(
    name="sources",
    cells=[cell for source in SOURCES for cell in _cells(source)],
    summary=summarise,
)
