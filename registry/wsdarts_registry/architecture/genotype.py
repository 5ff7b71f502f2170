"""Genotypes: the discrete pair of cells that a search ends with, as JSON and as DARTS' text.

The text of the public DARTS code is read without evaluating it: literals, ``range``, and the
wrappers that NumPy and torch print around numbers, ``np.int64(0)`` or ``tensor([2, 3])``. Text
before and after a genotype (the time in a log, a name, a code fence) is passed over.
"""

import ast
import json
import logging
import re
import reprlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from wsdarts_registry import _json
from wsdarts_registry._files import as_path, read_regular, write_atomically
from wsdarts_registry._libraries import UPDATE
from wsdarts_registry._text import sanitize, sanitize_spaced
from wsdarts_registry._views import Viewable
from wsdarts_registry.architecture.search_space import CELL_KINDS, SearchSpace
from wsdarts_registry.errors import FileAccessError, SpaceError

_FORMAT = 1
_log = logging.getLogger("wsdarts_hub.genotype")
# The text of DARTS: what is expected, how much is read, how it is found, and what may stand in it.
_FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
_EXPECTED = (
    "Genotype(normal=[('sep_conv_3x3', 0), …], normal_concat=range(2, 6), reduce=[…], "
    "reduce_concat=range(2, 6))"
)
_MAX_TEXT = 4 * 2**20  # a training's whole log
_MAX_GENOTYPE = 100_000
_MAX_UNCLOSED = 20
_MAX_DEPTH = 200
_SHOWN = 60
_START = re.compile(r"\bGenotype\s{0,100}\(")
_MARK = re.compile(r"\\.|['\"()\[\]{}]", re.DOTALL)  # an escaped character, a quote, a bracket
_NAMED = re.compile(r"(\w+)\s{0,20}=\s{0,20}(?:\w+\.){0,5}$")
# What web pages, word processors and PDF files make of quotes and spaces.
_TYPED = str.maketrans("‘’‚‛′“”„‟″\u00a0\u2009\u202f", "'''''\"\"\"\"\"   ")
_MODULES = ("", "np", "numpy", "torch")
_SCALARS = re.compile(r"int|str|str_|u?int(8|16|32|64|p|c)|intp|intc")
_LISTS = ("list", "tuple", "array", "asarray", "tensor")
_OPTIONS = ("dtype", "device", "requires_grad", "grad_fn")


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
        if isinstance(data, dict) and set(_FIELDS) <= set(data) and "format" not in data:
            return cls._from_fields({name: data[name] for name in _FIELDS}, None)
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


def holds_genotype(text: str) -> bool:
    """Return whether a text, rather than a path or a reference, may hold such a genotype."""
    return _START.search(text) is not None


def genotype_fields(text: str) -> dict[str, list[Any]]:
    """Return the four fields of the genotype in a text, as lists.

    Of several that have the same name, or none, as in a log, the last counts; a line of the log of
    this library says so.

    Raises:
        SpaceError: The text holds no genotype, or several under different names; the first
            thing that is not understood is named.
    """
    if len(text) > _MAX_TEXT:
        raise _refused(f"it has {len(text):,} characters, more than are read")
    found = list(_calls(text))
    if not found:
        raise _refused("it does not contain Genotype(")
    whole = [each for each in found if each[2]] or found
    names = {name for name, _, _ in whole}
    if len(names) > 1:
        known = ", ".join(sorted(name or "one without a name" for name in names))
        raise SpaceError(
            f"the text holds {len(whole)} genotypes under different names ({sanitize(known)})",
            expected="one",
            hint="leave the others out",
        )
    _, source, closed = whole[-1]
    if len(whole) > 1:
        _log.warning("the text holds %d genotypes; the last of them is taken", len(whole))
    if not closed:
        raise _refused("its brackets are not closed")
    return _fields(source)


def _calls(text: str) -> Iterator[tuple[str, str, bool]]:
    """Yield the name, the source and whether its brackets are closed of each genotype."""
    position, unclosed = 0, 0
    while unclosed < _MAX_UNCLOSED and (start := _START.search(text, position)):
        named = _NAMED.search(text[max(0, start.start() - 200) : start.start()])
        name = named[1] if named else ""
        bracket = start.end() - 1
        position = _end(text, bracket)
        closed = position > 0
        if not closed:
            unclosed += 1
            position = start.end()
        yield name, f"Genotype{text[bracket:position]}", closed


def _end(text: str, bracket: int) -> int:
    """Return the position behind the bracket that closes one; 0 where none does."""
    depth, quote = 0, ""
    for mark in _MARK.finditer(text, bracket, bracket + _MAX_GENOTYPE):
        character = mark[0]
        if quote or character in "'\"":
            quote = character if not quote else "" if character == quote else quote
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
            if not depth:
                return mark.end()
    return 0


def _fields(source: str) -> dict[str, list[Any]]:
    call, source = _parsed(source)
    if len(call.args) > len(_FIELDS):
        raise _refused(_unknown(call.args[len(_FIELDS)], source))
    nodes: dict[str, ast.expr] = dict(zip(_FIELDS, call.args, strict=False))
    for keyword in call.keywords:
        if keyword.arg not in _FIELDS or keyword.arg in nodes:
            raise _refused(_unknown(keyword, source))
        nodes[keyword.arg] = keyword.value
    missing = [name for name in _FIELDS if name not in nodes]
    if missing:
        raise _refused(f"it has no {' and no '.join(missing)}")
    values = {}
    for name, node in nodes.items():
        value = _value(node, source)
        if not isinstance(value, list):
            raise _refused(f"{name} is no list: {_unknown(node, source)}")
        values[name] = value
    return values


def _parsed(source: str) -> tuple[ast.Call, str]:
    """Return the call as a tree, and the source that it was parsed from."""
    problem = SpaceError()
    for attempt in dict.fromkeys((source, source.translate(_TYPED))):
        try:
            tree = ast.parse(attempt, mode="eval").body
        except SyntaxError as error:
            lines = attempt.splitlines()
            line = lines[error.lineno - 1] if error.lineno and error.lineno <= len(lines) else ""
            rest = line[max((error.offset or 1) - 1, 0) :]
            problem = _refused(f"{_quoted(rest or line or attempt)} is not understood")
        except (ValueError, RecursionError, MemoryError) as error:
            problem = _refused(sanitize(str(error), _SHOWN) or "it is nested too deep")
        else:
            if isinstance(tree, ast.Call):
                return tree, attempt
            problem = _refused(_unknown(tree, attempt))
    raise problem


def _value(node: ast.expr, source: str, depth: int = 0) -> Any:
    """Return a literal with its wrappers removed, sequences as lists."""
    if depth <= _MAX_DEPTH:
        match node:
            case ast.Constant(value=bool() | float() | str() as value):
                return value
            case ast.Constant(value=int() as value) if value < 2**63:
                return value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as value)) if (
                value < 2**63
            ):
                return -value
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                return [_value(part, source, depth + 1) for part in parts]
            case ast.Call():
                return _unwrapped(node, source, depth)
    raise _refused(_unknown(node, source))


def _unwrapped(node: ast.Call, source: str, depth: int) -> Any:
    """Return what a wrapper holds, or the numbers of a range."""
    module, _, function = _dotted(node.func).rpartition(".")
    options = {keyword.arg for keyword in node.keywords}
    if module in _MODULES and options <= set(_OPTIONS):
        match [_value(argument, source, depth + 1) for argument in node.args]:
            case [int(first), int(last)] if function in ("range", "arange"):
                if 0 <= first <= last < 100:
                    return list(range(first, last))
            case [str() | int() as value] if _SCALARS.fullmatch(function):
                return value
            case [value] if function in _LISTS:
                return [_row(part) for part in value] if isinstance(value, list) else value
    raise _refused(_unknown(node, source))


def _row(part: Any) -> Any:
    """Return a connection of an array, which holds numbers as text."""
    match part:
        case [str(operation), str(number)] if number.isascii() and number.isdigit():
            return [operation, int(number[:10])]
    return part


def _dotted(node: ast.expr) -> str:
    """Return ``"np.int64"`` of such a name; what no name here has of anything else."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id=module), attr=name):
            return f"{module}.{name}"
    return "?."


def _unknown(node: ast.AST, source: str) -> str:
    segment = ast.get_source_segment(source, node) or type(node).__name__
    return f"{_quoted(segment)} is not understood"


def _quoted(text: str) -> str:
    return f"`{sanitize(text, _SHOWN)}`"


def _refused(reason: str) -> SpaceError:
    return SpaceError(f"the text is not a DARTS genotype: {reason}", expected=_EXPECTED)
