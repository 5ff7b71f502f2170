"""Genotypes: the discrete pair of cells that a search ends with, as JSON and as DARTS' text."""

import json
import reprlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from wsdarts_registry import _json
from wsdarts_registry._files import as_path, read_regular, write_atomically
from wsdarts_registry._libraries import UPDATE
from wsdarts_registry._text import sanitize, sanitize_spaced
from wsdarts_registry._views import Viewable
from wsdarts_registry.architecture.darts_text import FIELDS, genotype_fields, holds_genotype
from wsdarts_registry.architecture.search_space import CELL_KINDS, SearchSpace
from wsdarts_registry.errors import FileAccessError, SpaceError

_FORMAT = 1


@dataclass(frozen=True, kw_only=True, order=True)
class Connection:
    """One chosen operation on the edge from ``source`` into a node."""

    source: int
    operation: str


Cell = tuple[tuple[Connection, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Genotype(Viewable):
    """A discrete normal and reduction cell.

    Laws: ``Genotype.from_json(g.to_json()) == g`` and, where every node has two connections
    (the DARTS format tells nodes apart by that), ``from_darts(g.to_darts(), g.space) == g``.

    Attributes:
        space: The search space that the cells were derived in.
        normal: For each intermediate node its connections (two in DARTS), by source.
        reduction: The same for the reduction cell.

    Raises:
        SpaceError: A node without connections, a source that does not exist or is used
            twice by one node, or an operation that is no candidate.
    """

    space: SearchSpace
    normal: Cell
    reduction: Cell

    def __post_init__(self) -> None:
        for kind in CELL_KINDS:
            cell = self.cell(kind)
            if len(cell) != self.space.nodes:
                raise SpaceError(
                    f"the {kind} cell has {len(cell)} nodes", expected=self.space.nodes
                )
            for target, connections in enumerate(cell, start=2):
                self._check_node(kind, target, connections)

    def _check_node(self, kind: str, target: int, connections: tuple[Connection, ...]) -> None:
        sources = [connection.source for connection in connections]
        if not sources or sources != sorted(set(sources)):
            raise SpaceError(
                f"node {target} of the {kind} cell has sources {reprlib.repr(sources)}",
                expected="at least one, ascending and each once",
            )
        for connection in connections:
            self.space.candidate_index(connection.operation)
            if not 0 <= connection.source < target:
                raise SpaceError(
                    f"node {target} of the {kind} cell has source {connection.source}",
                    expected=f"0 to {target - 1}",
                )

    def __str__(self) -> str:
        return self.to_darts()

    def __repr__(self) -> str:
        return f"<Genotype: {self.in_words[:-1]}>"

    def cell(self, kind: str) -> Cell:
        """Return the ``"normal"`` or the ``"reduction"`` cell."""
        return self.normal if kind == "normal" else self.reduction

    def count(self, operation: str, kind: str = "normal") -> int:
        """Return the number of times that an operation was chosen in one cell."""
        return sum(c.operation == operation for node in self.cell(kind) for c in node)

    @property
    def in_words(self) -> str:
        """The number of times that each operation was chosen in the two cells, as a sentence."""
        said = []
        for kind in CELL_KINDS:
            chosen = Counter(c.operation for node in self.cell(kind) for c in node)
            tally = (f"{number} {sanitize(name, 40)}" for name, number in chosen.most_common())
            said.append(f"{kind} cell {', '.join(tally)}")
        return f"In the {'; in the '.join(said)}."

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data with a format version."""
        cells = {
            kind: [[[c.operation, c.source] for c in node] for node in self.cell(kind)]
            for kind in CELL_KINDS
        }
        return {"format": _FORMAT, "space": self.space.to_json(), **cells}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Read what ``to_json`` wrote, or the fields of DARTS' own genotype; ignore further keys.

        Raises:
            SpaceError: The data is not of that form or of an unknown format version.
        """
        if isinstance(data, dict) and set(FIELDS) <= set(data) and "format" not in data:
            return cls._from_fields({name: data[name] for name in FIELDS}, None)
        if not isinstance(data, dict) or not {"format", "space", *CELL_KINDS} <= set(data):
            raise SpaceError(
                "the genotype in JSON",
                found=_keys(data),
                expected="an object with the keys format, space, normal and reduction",
            )
        if type(data["format"]) is not int or data["format"] != _FORMAT:
            raise SpaceError(
                f"the genotype has format {reprlib.repr(data['format'])}",
                hint=f"this version reads {_FORMAT}: update with {UPDATE}",
            )
        space = SearchSpace.from_json(data["space"])
        cells = {kind: _read_cell(kind, data[kind]) for kind in CELL_KINDS}
        return cls(space=space, **cells)

    def save(self, path: str | Path) -> Path:
        """Write the genotype as a JSON file and return its path."""
        text = json.dumps(self.to_json(), indent=2) + "\n"
        return write_atomically(as_path(path), text.encode())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a JSON file of ``save``, or a text file in the format of the DARTS code.

        Raises:
            SpaceError: The file is missing or holds neither.
        """
        try:
            raw = read_regular(as_path(path), _json.MAX_BYTES + 1)
        except FileAccessError as error:
            raise SpaceError(
                f"cannot read the genotype {sanitize_spaced(str(path))}: {error.strerror}",
                expected="a JSON file as written by Genotype.save, or DARTS genotype text",
            ) from error
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise SpaceError(f"{path} is not a genotype: it is not UTF-8 text") from error
        try:
            return cls.from_text(text)
        except SpaceError as error:
            raise SpaceError(f"{path}: {error}") from error

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read text with a genotype in it: its JSON, or what ``from_darts`` reads.

        Raises:
            SpaceError: The text holds neither.
        """
        begin, end = text.find("{"), text.rfind("}")
        if begin < 0 or holds_genotype(text):
            return cls.from_darts(text)
        document = text[begin : end + 1] if end > begin else text[begin:]
        return cls.from_json(_json.load(_utf8(document), what="the text", error=SpaceError))

    def to_darts(self) -> str:
        """Write the format of the public DARTS code: ``Genotype(normal=[...], ...)``."""

        def pairs(cell: Cell) -> str:
            listed = [(c.operation, c.source) for node in cell for c in node]
            return repr(listed)

        concat = f"range(2, {2 + self.space.nodes})"
        return (
            f"Genotype(normal={pairs(self.normal)}, normal_concat={concat}, "
            f"reduce={pairs(self.reduction)}, reduce_concat={concat})"
        )

    @classmethod
    def from_darts(cls, text: str, space: SearchSpace | None = None) -> Self:
        """Parse a genotype printed by the public DARTS or P-DARTS code; nothing is evaluated.

        What stands around it, such as a log's time or a code fence, is passed over; of several
        in one log the last counts.

        Args:
            text: ``Genotype(normal=[('sep_conv_3x3', 0), …], normal_concat=…, reduce=…,
                reduce_concat=…)``, with two connections for each node. Numbers may be wrapped as
                NumPy and torch print them.
            space: The search space; by default DARTS' candidates and as many nodes as the
                text has.

        Raises:
            SpaceError: The text is not of that form, or its cells do not concatenate all
                intermediate nodes.
        """
        return cls._from_fields(genotype_fields(text), space)

    @classmethod
    def _from_fields(cls, fields: dict[str, Any], space: SearchSpace | None) -> Self:
        for name, value in fields.items():
            if not isinstance(value, list):
                raise SpaceError(name, found=reprlib.repr(value), expected="a list")
        normal, reduction = fields["normal"], fields["reduce"]
        if space is None:
            space = SearchSpace(nodes=max(1, len(normal) // 2))
        everything = list(range(2, 2 + space.nodes))
        for name in ("normal_concat", "reduce_concat"):
            if fields[name] != everything:
                raise SpaceError(
                    f"{name}",
                    found=reprlib.repr(fields[name]),
                    expected=f"all intermediate nodes, {everything}",
                )
        return cls(
            space=space,
            normal=_pairs_to_cell("normal", normal),
            reduction=_pairs_to_cell("reduction", reduction),
        )


def _utf8(text: str) -> bytes:
    """Return the text as bytes; characters that no file can hold make it no JSON."""
    return text.encode("utf-8", "surrogatepass")


def _keys(data: Any) -> str:
    return reprlib.repr(sorted(data)) if isinstance(data, dict) else type(data).__name__


def _read_cell(kind: str, data: Any) -> Cell:
    def read(entry: Any) -> Connection:
        match entry:
            case [str(operation), int(source)] if not isinstance(source, bool):
                return Connection(source=source, operation=operation)
        found = reprlib.repr(entry)  # shortened: the file may be anyone's
        raise SpaceError(f"the {kind} cell holds {found}", expected="[operation, source]")

    if not isinstance(data, list) or not all(isinstance(node, list) for node in data):
        raise SpaceError(
            f"the {kind} cell in JSON",
            found=reprlib.repr(data),
            expected="a list of nodes, each a list of connections",
        )
    return tuple(tuple(read(entry) for entry in node) for node in data)


def _pairs_to_cell(kind: str, pairs: list[Any]) -> Cell:
    connections = _read_cell(kind, [pairs])[0]
    if len(connections) % 2:
        raise SpaceError(f"the {kind} cell lists {len(connections)} connections", expected="pairs")
    return tuple(tuple(sorted(connections[i : i + 2])) for i in range(0, len(connections), 2))
