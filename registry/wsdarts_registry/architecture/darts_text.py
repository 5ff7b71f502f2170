"""Text of the public DARTS code: finds the genotype that is printed in it, without evaluating it.

Read are literals, ``range``, and the wrappers that NumPy and torch print around numbers,
``np.int64(0)`` or ``tensor([2, 3])``. Text before and after a genotype (the time in a log, a name,
a code fence) is passed over.
"""

import ast
import logging
import re
from collections.abc import Iterator
from typing import Any

from wsdarts_registry._text import sanitize
from wsdarts_registry.errors import SpaceError

FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
_log = logging.getLogger("wsdarts_hub.genotype")
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
    if len(call.args) > len(FIELDS):
        raise _refused(_unknown(call.args[len(FIELDS)], source))
    nodes: dict[str, ast.expr] = dict(zip(FIELDS, call.args, strict=False))
    for keyword in call.keywords:
        if keyword.arg not in FIELDS or keyword.arg in nodes:
            raise _refused(_unknown(keyword, source))
        nodes[keyword.arg] = keyword.value
    missing = [name for name in FIELDS if name not in nodes]
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
