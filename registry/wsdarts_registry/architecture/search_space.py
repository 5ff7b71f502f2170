"""The search space: the graph of a cell, and the candidate operations of its edges."""

import reprlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from wsdarts_registry._format import pluralize
from wsdarts_registry.errors import SpaceError

DARTS_CANDIDATES = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
CELL_KINDS = ("normal", "reduction")
_INPUT_NODES = 2
_MAX_NODES = 64
_MAX_CANDIDATES = 64


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """A cell graph with candidate operations on every edge.

    Node 0 and node 1 are the outputs of the two previous cells; intermediate
    node ``j`` (counted from 2) has an edge from every earlier node. Edges are
    ordered by target, then by source, as in DARTS: ``(0, 2), (1, 2), (0, 3), …``.

    Law: ``SearchSpace.from_json(space.to_json()) == space``.

    Attributes:
        nodes: Number of intermediate nodes; 4 in DARTS.
        candidates: Names of the candidate operations, in the order of α's columns.

    Raises:
        SpaceError: No nodes or candidates, more than 64, or a candidate named twice.
    """

    nodes: int = 4
    candidates: tuple[str, ...] = DARTS_CANDIDATES

    def __post_init__(self) -> None:
        listed = isinstance(self.candidates, tuple)
        if type(self.nodes) is not int:
            raise SpaceError("nodes", found=repr(self.nodes), expected="a whole number")
        if not listed or not all(isinstance(name, str) for name in self.candidates):
            found = reprlib.repr(self.candidates)
            raise SpaceError("candidates", found=found, expected="a tuple of names")
        if not 1 <= self.nodes <= _MAX_NODES:
            raise SpaceError(f"a cell has {self.nodes} nodes", expected=f"1 to {_MAX_NODES}")
        if not self.candidates:
            raise SpaceError(
                "the search space has no candidate operations", hint="name at least one"
            )
        if len(self.candidates) > _MAX_CANDIDATES:
            raise SpaceError(
                f"the search space has {len(self.candidates)} candidate operations",
                expected=f"at most {_MAX_CANDIDATES}",
            )
        if len(set(self.candidates)) != len(self.candidates):
            raise SpaceError(f"candidate operations are named twice: {', '.join(self.candidates)}")

    def __str__(self) -> str:
        return f"{pluralize(self.nodes, 'node')}, operations {', '.join(self.candidates)}"

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """All edges ``(source, target)``, by target, then by source."""
        last = _INPUT_NODES + self.nodes
        return tuple((i, j) for j in range(_INPUT_NODES, last) for i in range(j))

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of α and of a mask: ``(edges, candidates)``; (14, 8) in DARTS."""
        return len(self.edges), len(self.candidates)

    def incoming(self, target: int) -> range:
        """Return the indices into ``edges`` of the edges that end in ``target``."""
        start = sum(range(_INPUT_NODES, target))
        return range(start, start + target)

    def candidate_index(self, name: str) -> int:
        """Return the column of a candidate operation.

        Raises:
            SpaceError: The space has no such candidate.
        """
        if name not in self.candidates:
            raise SpaceError(
                f"operation {name!r} is not a candidate",
                expected=f"one of {', '.join(self.candidates)}",
            )
        return self.candidates.index(name)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {"nodes": self.nodes, "candidates": list(self.candidates)}

    @classmethod
    def from_json(cls, data: Any) -> "SearchSpace":
        """Read what ``to_json`` wrote.

        Raises:
            SpaceError: The data is not of that form.
        """
        match data:
            case {"nodes": int(nodes), "candidates": [*names]} if (
                len(data) == 2
                and not isinstance(nodes, bool)
                and all(isinstance(name, str) for name in names)
            ):
                return cls(nodes=nodes, candidates=tuple(names))
        raise SpaceError(
            "the search space in JSON",
            found=reprlib.repr(data),
            expected="an object with the keys 'nodes' (a number) and 'candidates' (names) alone",
        )


DARTS = SearchSpace()
