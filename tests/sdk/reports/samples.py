"""A small report, and a reader of the page made of it."""

from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np

from wsdarts_registry.architecture.genotype import Connection, Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_sdk.reports.facts import (
    AlphaHistory,
    Asked,
    ColdCost,
    DecisionFacts,
    EpochRow,
    RunReport,
    StageRow,
    Table,
    TaskRow,
    TrainingEpoch,
    TrainingFacts,
)
from wsdarts_sdk.runs.records import NeighbourRow, PhaseCost

SPACE = SearchSpace(nodes=2, candidates=("none", "skip_connect", "sep_conv_3x3", "max_pool_3x3"))


def make_genotype(*operations: str, space: SearchSpace = SPACE) -> Genotype:
    cell = tuple(
        (
            Connection(source=0, operation=operations[2 * node]),
            Connection(source=1, operation=operations[2 * node + 1]),
        )
        for node in range(space.nodes)
    )
    return Genotype(space=space, normal=cell, reduction=cell)


def make_epoch(stage: int, epoch: int) -> EpochRow:
    alone = epoch == 1
    return EpochRow(
        stage=stage,
        epoch=epoch,
        weights_loss=2.0 / epoch,
        weights_accuracy=0.25 * epoch,
        alpha_loss=None if alone else 1.5,
        alpha_accuracy=None if alone else 0.4,
        learning_rate=0.025 / epoch,
        skip_dropout=0.4 / epoch,
        seconds=3.5,
        peak_memory=2.5e9,
        needed_memory=0.6e9,
        skip_connects=1,
    )


def make_asked(**changes: Any) -> Asked:
    asked = Asked(
        command="warm-start",
        preset="tiny",
        settings="sha256:" + "cd" * 32,
        seed=0,
        hardware="AMD EPYC, 2 threads",
    )
    return replace(asked, **changes)


def make_report() -> RunReport:
    shares = np.full((4, *SPACE.shape), 0.25)
    shares[2:, :, 0], shares[2:, :, 2] = 0, 0.5
    return RunReport(
        title="Warm start on digits",
        summary="Started from flowers@2, the nearest artifact, since it is near.",
        created="2026-01-02 10:00 UTC",
        decision=DecisionFacts(
            mode="trained",
            sources=("flowers@2",),
            why="the nearest artifact is near; its weights fit.",
            neighbours=(
                NeighbourRow(reference="flowers@2", distance=0.1, task="flowers", chosen=True),
                NeighbourRow(reference="birds@1", distance=0.4, task="birds"),
            ),
            threshold=0.2,
            near=True,
            probe="shipped-1a2b3c4d",
        ),
        tasks=(
            TaskRow(
                name="digits",
                digest="sha256:" + "ab" * 32,
                classes=10,
                weights_images=599,
                alpha_images=599,
                validation_images=599,
            ),
        ),
        stages=(
            StageRow(cells=3, operations=4, epochs=2),
            StageRow(cells=5, operations=3, epochs=2),
        ),
        epochs=tuple(make_epoch(stage, epoch) for stage in (1, 2) for epoch in (1, 2)),
        alpha=AlphaHistory(space=SPACE, normal=shares, reduction=shares),
        genotype=make_genotype("skip_connect", "sep_conv_3x3", "max_pool_3x3", "sep_conv_3x3"),
        masks=OperationMasks.full(SPACE),
        skip_limit=2,
        costs=(
            PhaseCost(phase="embedding", seconds=10.0),
            PhaseCost(phase="search", seconds=20.0),
        ),
        cold=ColdCost(
            phases=(PhaseCost(phase="search", seconds=90.0),),
            origin="measured in this run, with the same preset.",
        ),
        training=TrainingFacts(
            accuracy=0.7134,
            parameters=412_330,
            seconds=31.0,
            epochs=tuple(
                TrainingEpoch(epoch=e, loss=1 / e, accuracy=0.3 * e, learning_rate=0.02, seconds=9)
                for e in (1, 2, 3)
            ),
            note="One seed.",
        ),
        tables=(Table(title="Sweep", header=("rate", "accuracy"), rows=(("0.3", "61.2 %"),)),),
        settings=(("preset", "tiny"), ("seed", "0")),
        environment=(("torch", "2.9.0"),),
    )


class Page(HTMLParser):
    """Tags with their attributes, in order, and the text outside of style and title."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "br", "img"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join("".join(self.text).split())
