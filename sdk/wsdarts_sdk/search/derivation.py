"""Genotypes from α: the derived one, and candidates that are drawn to choose one by more than α.

The derivation discretises α as DARTS does and refines the skip-connects. A drawn genotype's node
takes two of its incoming edges, one after the other, each with a probability proportional to what
the softmax leaves to operations besides ``none``, and an operation on each by the softmax. So α's
own genotype is the likeliest or nearly so, and with an even α all cells within the masks are
equally likely. ``pipelines.genotype_choice`` trains and halves them.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry.architecture.genotype import Cell, Connection, Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.errors import SpaceError
from wsdarts_sdk.data.loader import seed_of

Array = NDArray[np.float64]
_INPUTS_PER_NODE = 2
_SKIP = "skip_connect"
_NONE = "none"
_GONE = -1.0  # not to be chosen; below every probability, also one that underflows to zero
_Thing = TypeVar("_Thing")
_LEAST = 1e-12  # so that an operation that the masks keep can be drawn, however weak it is
_TRIES = 200  # for each candidate that is wanted


def masked_softmax(alpha: Array, mask: NDArray[np.bool_]) -> Array:
    """Return the softmax over the surviving candidates of each edge; zero elsewhere.

    Args:
        alpha: Shape ``(edges, candidates)``, finite.
        mask: Same shape, at least one True in each row.
    """
    shifted = np.where(mask, alpha, -np.inf)
    powers = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def derive_genotype(
    masks: OperationMasks, alpha: dict[str, Array], *, skip_connects: int | None = None
) -> Genotype:
    """Discretise α as DARTS does, then refine the normal cell's skip-connects.

    ``none`` is left out; each node keeps the two incoming edges whose best operation has the
    greatest probability. Of equal probabilities the later edge and the later candidate win, as
    in P-DARTS' code (DARTS' code takes the earlier ones). While the normal cell has more than
    ``skip_connects`` skip-connects, the chosen one with the lowest probability (of equals, the
    one on the earlier edge, as there) is struck out and the cell is derived again; a
    skip-connect without which its node could not be derived is spared.

    Args:
        masks: The surviving candidates.
        alpha: α of both cell kinds, each of shape ``(edges, candidates)``.
        skip_connects: P-DARTS' M for the normal cell; None leaves the cell as derived, as in DARTS.

    Raises:
        SpaceError: A node has fewer than two incoming edges with an operation besides
            ``none``, so that no cell can be derived.

    Source: arXiv:1806.09055, section 2.4; arXiv:1904.12760, section 3.3 and its public code.
    """
    shares = {kind: masked_softmax(alpha[kind], masks.array(kind)) for kind in CELL_KINDS}
    return strongest_genotype(masks, shares, skip_connects=skip_connects)


def strongest_genotype(
    masks: OperationMasks, strengths: dict[str, Array], *, skip_connects: int | None = None
) -> Genotype:
    """Return the genotype of the strongest operations, as ``derive_genotype`` does of α's softmax.

    Args:
        masks: The surviving candidates.
        strengths: Of both cell kinds, shape ``(edges, candidates)``, none below 0.
        skip_connects: As for ``derive_genotype``, like the errors.
    """
    cells = {}
    for kind in CELL_KINDS:
        known = np.where(masks.array(kind), strengths[kind], _GONE)
        if _NONE in masks.space.candidates:
            known[:, masks.space.candidate_index(_NONE)] = _GONE
        limit = skip_connects if kind == "normal" else None
        cells[kind] = _derive_cell(masks, known, limit)
    return Genotype(space=masks.space, normal=cells["normal"], reduction=cells["reduction"])


def ranked_candidates(
    masks: OperationMasks, alpha: dict[str, Array]
) -> dict[str, list[list[tuple[str, float]]]]:
    """Return each edge's candidates with probabilities, strongest first, for both cells.

    Of equals the later one comes first: it is the one that a genotype takes.
    """
    ranked = {}
    for kind in CELL_KINDS:
        mask, names = masks.array(kind), masks.space.candidates
        strengths = masked_softmax(alpha[kind], mask)
        order = strengths.shape[1] - 1 - np.argsort(-strengths[:, ::-1], axis=1, kind="stable")
        ranked[kind] = [
            [(names[c], float(strengths[edge, c])) for c in order[edge] if mask[edge, c]]
            for edge in range(len(mask))
        ]
    return ranked


def _derive_cell(masks: OperationMasks, strengths: Array, skip_connects: int | None) -> Cell:
    space = masks.space
    while True:
        chosen = [_strongest_inputs(masks, strengths, target) for target in _targets(masks)]
        skips = [
            edge
            for edges in chosen
            for edge in edges
            if space.candidates[_best(strengths[edge])] == _SKIP
        ]
        removable = [edge for edge in skips if _can_lose_best(masks, strengths, edge)]
        if skip_connects is None or len(skips) <= skip_connects or not removable:
            break
        column = space.candidate_index(_SKIP)
        weakest = min(removable, key=lambda edge: (strengths[edge, column], edge))
        strengths[weakest, column] = _GONE
    return tuple(
        tuple(
            Connection(
                source=space.edges[edge][0], operation=space.candidates[_best(strengths[edge])]
            )
            for edge in sorted(edges)
        )
        for edges in chosen
    )


def _best(strengths: Array) -> int:
    """Return the strongest candidate of an edge, of equals the later one."""
    return len(strengths) - 1 - int(strengths[::-1].argmax())


def _can_lose_best(masks: OperationMasks, strengths: Array, edge: int) -> bool:
    """Return whether the edge's node can be derived without the edge's best operation."""
    others = masks.space.incoming(masks.space.edges[edge][1])
    usable = sum(strengths[other].max() > _GONE for other in others)
    return int((strengths[edge] > _GONE).sum()) > 1 or usable > _INPUTS_PER_NODE


def _targets(masks: OperationMasks) -> range:
    return range(2, 2 + masks.space.nodes)


def _strongest_inputs(masks: OperationMasks, strengths: Array, target: int) -> list[int]:
    incoming = masks.space.incoming(target)
    usable = [edge for edge in incoming if strengths[edge].max() > _GONE]
    if len(usable) < _INPUTS_PER_NODE:
        raise SpaceError(
            f"node {target} has {len(usable)} incoming edges with an operation besides none",
            hint="a genotype needs 2: keep more operations on its edges",
        )
    return sorted(usable, key=lambda edge: (-strengths[edge].max(), -edge))[:_INPUTS_PER_NODE]


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
