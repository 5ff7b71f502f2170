"""Operation masks: the candidate operations that survive on each edge."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry._views import Viewable
from wsdarts_registry.architecture.search_space import CELL_KINDS, SearchSpace
from wsdarts_registry.errors import SpaceError

Rows = tuple[tuple[bool, ...], ...]


@dataclass(frozen=True, kw_only=True)
class OperationMasks(Viewable):
    """The candidates that survive on each edge of the two cells.

    Law: ``OperationMasks.from_json(masks.to_json()) == masks``.

    Attributes:
        space: The search space that the masks belong to.
        normal: One row an edge, one bool a candidate.
        reduction: The same for the reduction cell.

    Raises:
        SpaceError: A wrong shape, or an edge without any operation.
    """

    space: SearchSpace
    normal: Rows
    reduction: Rows

    def __post_init__(self) -> None:
        for kind in CELL_KINDS:
            rows = self.rows(kind)
            found = (len(rows), {len(row) for row in rows})
            edges, candidates = self.space.shape
            if found != (edges, {candidates}):
                raise SpaceError(
                    f"the {kind} mask has {found[0]} rows of lengths {sorted(found[1])}",
                    expected=f"{edges} rows of {candidates}",
                )
            for edge, row in zip(self.space.edges, rows, strict=True):
                if not any(row):
                    raise SpaceError(f"edge {edge} of the {kind} cell has no operation left")

    def __repr__(self) -> str:
        return f"<OperationMasks: {self.in_words[:-1]}>"

    @property
    def in_words(self) -> str:
        """The number of operations that are left in the two cells, as a sentence."""
        edges, candidates = self.space.shape
        kept = [f"{sum(map(sum, self.rows(kind)))} in the {kind} cell" for kind in CELL_KINDS]
        return (
            f"Of {edges * candidates} operations, {candidates} on each of {edges} edges, "
            f"{' and '.join(kept)} are left; at most {self.widest} on an edge."
        )

    def rows(self, kind: str) -> Rows:
        """Return the rows of the ``"normal"`` or the ``"reduction"`` cell."""
        return self.normal if kind == "normal" else self.reduction

    def array(self, kind: str) -> NDArray[np.bool_]:
        """Return the mask of one kind of cell as an array, shape ``(edges, candidates)``."""
        return np.array(self.rows(kind), dtype=np.bool_)

    def operations(self, kind: str, edge: int) -> tuple[str, ...]:
        """Return the names of the operations left on one edge, in candidate order."""
        row = self.rows(kind)[edge]
        return tuple(name for name, kept in zip(self.space.candidates, row, strict=True) if kept)

    @property
    def widest(self) -> int:
        """The largest number of operations on any edge."""
        return max(sum(row) for kind in CELL_KINDS for row in self.rows(kind))

    @classmethod
    def full(cls, space: SearchSpace) -> Self:
        """Return masks that keep every candidate on every edge."""
        edges, candidates = space.shape
        rows = ((True,) * candidates,) * edges
        return cls(space=space, normal=rows, reduction=rows)

    @classmethod
    def from_arrays(
        cls, space: SearchSpace, normal: NDArray[np.bool_], reduction: NDArray[np.bool_]
    ) -> Self:
        """Return masks from two bool arrays of shape ``(edges, candidates)``."""

        def rows(array: NDArray[np.bool_]) -> Rows:
            # Before a row is looked at: a shape such as (2^40, 0) has no bytes and many rows.
            if array.shape != space.shape:
                raise SpaceError(f"a mask has shape {array.shape}", expected=space.shape)
            return tuple(tuple(bool(kept) for kept in row) for row in array)

        return cls(space=space, normal=rows(normal), reduction=rows(reduction))

    def union(self, other: "OperationMasks") -> "OperationMasks":
        """Return masks that keep an operation wherever one of the two keeps it.

        Raises:
            SpaceError: The masks belong to different search spaces.
        """
        if self.space != other.space:
            raise SpaceError(
                f"masks of different search spaces cannot be joined: {self.space} and {other.space}"
            )
        return OperationMasks.from_arrays(
            self.space,
            self.array("normal") | other.array("normal"),
            self.array("reduction") | other.array("reduction"),
        )

    def keep_strongest(
        self, alpha_normal: NDArray[np.float64], alpha_reduction: NDArray[np.float64], keep: int
    ) -> "OperationMasks":
        """Drop the surviving operations with the lowest α until ``keep`` are left on each edge.

        Softmax keeps the order, so α is compared directly. Of two equal α the candidate
        that stands earlier in the space's list is dropped, as in P-DARTS' code. An edge with at
        most ``keep`` operations stays as it is.

        Args:
            alpha_normal: α of the normal cell, shape ``(edges, candidates)``, finite.
            alpha_reduction: α of the reduction cell, same shape.
            keep: How many operations an edge keeps, at least 1.

        Raises:
            SpaceError: α has another shape or is not finite, or ``keep`` is below 1.

        Source:
            Chen et al., "Progressive DARTS", 2019, arXiv:1904.12760, section 3.2.
        """
        if keep < 1:
            raise SpaceError(f"an edge cannot keep {keep} operations", expected="at least 1")

        def pruned(kind: str, alpha: NDArray[np.float64]) -> NDArray[np.bool_]:
            if alpha.shape != self.space.shape or not np.isfinite(alpha).all():
                raise SpaceError(
                    f"α of the {kind} cell has shape {alpha.shape}",
                    expected=f"finite numbers of shape {self.space.shape}",
                )
            mask = self.array(kind)
            weakness = np.where(mask, -alpha, np.inf)[:, ::-1]
            ranked = np.argsort(weakness, axis=1, kind="stable")[:, :keep]
            kept = np.zeros_like(mask)
            np.put_along_axis(kept, mask.shape[1] - 1 - ranked, True, axis=1)
            return kept & mask

        return OperationMasks.from_arrays(
            self.space, pruned("normal", alpha_normal), pruned("reduction", alpha_reduction)
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data: the surviving names on each edge."""
        edges = range(len(self.space.edges))
        cells = {kind: [list(self.operations(kind, edge)) for edge in edges] for kind in CELL_KINDS}
        return {"space": self.space.to_json(), **cells}

    @classmethod
    def from_json(cls, data: Any) -> "OperationMasks":
        """Read what ``to_json`` wrote.

        Raises:
            SpaceError: The data is not of that form, or names an unknown operation.
        """
        if not isinstance(data, dict) or set(data) != {"space", *CELL_KINDS}:
            raise SpaceError(
                "operation masks in JSON are malformed",
                expected="an object with the keys space, normal and reduction",
            )
        space = SearchSpace.from_json(data["space"])

        def rows(kind: str) -> Rows:
            cell = data[kind]
            if not isinstance(cell, list) or not all(isinstance(names, list) for names in cell):
                raise SpaceError(
                    f"the {kind} mask in JSON is malformed",
                    expected="a list of lists of operation names",
                )
            found = []
            for names in cell:
                kept = {space.candidate_index(name) for name in names}
                found.append(tuple(i in kept for i in range(len(space.candidates))))
            return tuple(found)

        return cls(space=space, normal=rows("normal"), reduction=rows("reduction"))
