"""Candidate genotypes that are drawn from α, to choose one of them by more than α.

A node takes two of its incoming edges, one after the other, each with a probability proportional
to what the softmax leaves to operations besides ``none``, and an operation on each by the softmax.
So α's own genotype is the likeliest or nearly so, and with an even α all cells within the masks are
equally likely. ``pipelines.genotype_choice`` trains and halves them.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from wsdarts_registry.architecture.genotype import Cell, Connection, Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_sdk.data.loader import seed_of
from wsdarts_sdk.search.derivation import Array, derive_genotype, masked_softmax

_Thing = TypeVar("_Thing")
_NONE, _SKIP = "none", "skip_connect"
_LEAST = 1e-12  # so that an operation that the masks keep can be drawn, however weak it is
_TRIES = 200  # for each candidate that is wanted


def draw_candidates(
    masks: OperationMasks,
    alpha: dict[str, Array],
    count: int,
    *,
    skip_connects: int | None = None,
    seed: int = 0,
    fits: Callable[[Genotype], bool] | None = None,
) -> tuple[Genotype, ...]:
    """Return distinct genotypes, α's own first and then drawn ones.

    Args:
        masks: The surviving operations.
        alpha: α of both cell kinds, each of shape ``(edges, candidates)``.
        count: How many to return; fewer where so many are not found.
        skip_connects: Limit of the normal cell, as for ``derive_genotype``.
        seed: Seed of the draws.
        fits: Tells which genotypes may be candidates, all by default; those that may not are
            passed over, α's own too.

    Raises:
        SpaceError: No genotype can be derived from the masks.
    """
    own = derive_genotype(masks, alpha, skip_connects=skip_connects)
    # Masks may leave a node nothing else, and then the refinement spares a skip-connect.
    most = None if skip_connects is None else max(skip_connects, own.count(_SKIP))
    shares = _shares(masks, alpha)
    draws = np.random.default_rng(seed_of(seed, "candidates"))
    found = [own] if fits is None or fits(own) else []
    for _ in range(_TRIES * count):
        if len(found) >= count:
            break
        drawn = _draw(masks, shares, draws)
        within = most is None or drawn.count(_SKIP) <= most
        if within and drawn not in found and (fits is None or fits(drawn)):
            found.append(drawn)
    return tuple(found)


def log_probability(masks: OperationMasks, alpha: dict[str, Array], genotype: Genotype) -> float:
    """Return the natural logarithm of the probability of drawing a genotype.

    Args:
        masks: The surviving operations, every one of the genotype's among them.
        alpha: α of both cell kinds, each of shape ``(edges, candidates)``.
        genotype: With two connections for each node.
    """
    space, shares = masks.space, _shares(masks, alpha)
    edges = {edge: number for number, edge in enumerate(space.edges)}
    total = 0.0
    for kind in CELL_KINDS:
        of_edges = shares[kind].sum(axis=1)
        for target, node in enumerate(genotype.cell(kind), start=2):
            everything = sum(of_edges[edge] for edge in space.incoming(target))
            chosen = [edges[connection.source, target] for connection in node]
            columns = [space.candidate_index(connection.operation) for connection in node]
            operations = shares[kind][chosen, columns].prod()
            # Either edge may have come first; the other then comes from what is left.
            orders = sum(1 / (everything - of_edges[edge]) for edge in chosen)
            total += float(np.log(operations * orders / everything))
    return total


def _shares(masks: OperationMasks, alpha: dict[str, Array]) -> dict[str, Array]:
    """Return the softmax of α without ``none``; 0 for what the masks exclude."""
    shares = {}
    for kind in CELL_KINDS:
        mask = masks.array(kind).copy()
        known = masked_softmax(alpha[kind], mask)
        if _NONE in masks.space.candidates:
            mask[:, masks.space.candidate_index(_NONE)] = False
        shares[kind] = np.where(mask, np.maximum(known, _LEAST), 0.0)
    return shares


def _draw(masks: OperationMasks, shares: dict[str, Array], draws: np.random.Generator) -> Genotype:
    cells = {kind: _draw_cell(masks, shares[kind], draws) for kind in CELL_KINDS}
    return Genotype(space=masks.space, normal=cells["normal"], reduction=cells["reduction"])


def _draw_cell(masks: OperationMasks, shares: Array, draws: np.random.Generator) -> Cell:
    space = masks.space
    nodes = []
    for target in range(2, 2 + space.nodes):
        left = {edge: float(shares[edge].sum()) for edge in space.incoming(target)}
        chosen = []
        for _ in range(2):
            edge = _pick(np.array(list(left.values())), list(left), draws)
            del left[edge]
            operation = _pick(shares[edge], space.candidates, draws)
            chosen.append(Connection(source=space.edges[edge][0], operation=operation))
        nodes.append(tuple(sorted(chosen)))
    return tuple(nodes)


def _pick(weights: Array, things: Sequence[_Thing], draws: np.random.Generator) -> _Thing:
    """Return one of the things, with a probability proportional to its weight."""
    bounds = np.cumsum(weights)
    # The last bound is never drawn, but for rounding; what weighs nothing is never drawn.
    place = int(np.searchsorted(bounds, draws.random() * bounds[-1], side="right"))
    return things[min(place, int(np.flatnonzero(weights)[-1]))]
