"""The contents of an artifact's files: genotype, operation masks, weights, check and drawings.

An SVG file that a browser opens is a web page. So a drawing may hold only the elements,
attributes and forms of values that are listed here; none of them can refer to another but to a
gradient, which refers to nothing: a small file cannot become a large drawing.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from wsdarts_registry import _json
from wsdarts_registry._tensors import Header, read_tensors, write_tensors
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS, SearchSpace
from wsdarts_registry.artifact.manifest import CHECK, GENOTYPE, MASKS, WEIGHTS, NetworkRecord
from wsdarts_registry.errors import ArtifactError, SpaceError

# For each cell kind and each edge its candidates with their probabilities, strongest first.
Ranked = Mapping[str, Sequence[Sequence[tuple[str, float]]]]
Tensors = dict[str, NDArray[Any]]
MAX_STAGES = 32
_MAX_CHECK_VALUES = 2**26
_FLOATS = ("F64", "F32", "F16")
_FLOAT_NAMES = ("float64", "float32", "float16")


def alpha_name(kind: str) -> str:
    """Name of α of a cell kind in ``weights.safetensors``."""
    return f"alpha.{kind}"


def write_genotype(genotype: Genotype, ranked: Ranked) -> bytes:
    """Write ``genotype.json``: the genotype and the ranked candidates on each edge."""
    edges = {
        kind: [[[name, float(p)] for name, p in edge] for edge in ranked[kind]]
        for kind in CELL_KINDS
    }
    return _json.dump({**genotype.to_json(), "ranked": edges})


def read_genotype(content: bytes, masks: OperationMasks) -> tuple[Genotype, Ranked]:
    """Read ``genotype.json`` and hold it against the final operation masks.

    Raises:
        ArtifactError: It is malformed, of another search space, chooses an operation that the
            masks do not have, or does not rank exactly the operations that they have.
    """
    data = _json.load(content, what=GENOTYPE)
    try:
        genotype = Genotype.from_json(data)
    except SpaceError as error:
        raise ArtifactError(f"{GENOTYPE}: {error}") from error
    if genotype.space != masks.space:
        raise ArtifactError(f"{GENOTYPE} is of another search space than artifact.json")
    ranked = data.get("ranked")
    if not isinstance(ranked, dict) or set(ranked) != set(CELL_KINDS):
        raise ArtifactError(f"{GENOTYPE} has no 'ranked' with the keys normal and reduction")
    for kind in CELL_KINDS:
        _check_chosen(genotype, masks, kind)
    return genotype, {kind: _read_ranked(ranked[kind], masks, kind) for kind in CELL_KINDS}


def write_masks(stages: Sequence[OperationMasks]) -> bytes:
    """Write ``op_masks.safetensors``: the masks after each stage, the last ones the result."""
    arrays = {
        f"stage_{number}/{kind}": masks.array(kind)
        for number, masks in enumerate(stages, start=1)
        for kind in CELL_KINDS
    }
    return write_tensors(arrays)


def read_masks(content: bytes, space: SearchSpace) -> tuple[OperationMasks, ...]:
    """Read ``op_masks.safetensors``.

    Raises:
        ArtifactError: It is malformed, has gaps in its stages, or does not fit the space.
    """
    arrays, _ = read_tensors(content, what=MASKS)
    count = len(arrays) // len(CELL_KINDS)
    numbers = range(1, min(count, MAX_STAGES) + 1)
    expected = {f"stage_{number}/{kind}" for number in numbers for kind in CELL_KINDS}
    if not expected or set(arrays) != expected:
        raise ArtifactError(
            f"{MASKS} holds {len(arrays)} tensors",
            expected=(
                "stage_1/normal, stage_1/reduction, stage_2/normal and so on, up to "
                f"{MAX_STAGES} stages"
            ),
        )
    if any(array.dtype not in (np.bool_, np.uint8) for array in arrays.values()):
        raise ArtifactError(f"{MASKS} holds tensors that are not BOOL or U8")
    if any((array.view(np.uint8) > 1).any() for array in arrays.values()):
        raise ArtifactError(f"{MASKS} holds values other than 0 and 1")
    try:
        return tuple(
            OperationMasks.from_arrays(
                space,
                *(arrays[f"stage_{number}/{kind}"].astype(np.bool_) for kind in CELL_KINDS),
            )
            for number in numbers
        )
    except SpaceError as error:
        raise ArtifactError(f"{MASKS}: {error}") from error


def check_weights_header(header: Header, space: SearchSpace) -> None:
    """Check that ``weights.safetensors`` has α of both cell kinds, of the space's shape.

    Raises:
        ArtifactError: α is missing or has another shape or type.
    """
    for kind in CELL_KINDS:
        record = header.tensors.get(alpha_name(kind))
        if record is None or record.shape != space.shape or record.dtype not in _FLOATS:
            found = "none" if record is None else f"{record.dtype} of shape {record.shape}"
            raise ArtifactError(
                f"{WEIGHTS}: tensor {alpha_name(kind)!r}",
                found=found,
                expected=f"floating-point numbers of shape {space.shape}",
            )


def read_finite(content: bytes, *, what: str) -> Tensors:
    """Read ``weights.safetensors`` or ``check.safetensors``.

    Raises:
        ArtifactError: It is malformed or holds a number that is not finite.
    """
    arrays, _ = read_tensors(content, what=what)
    for name, array in arrays.items():
        if array.dtype.name in _FLOAT_NAMES and not np.isfinite(array).all():
            raise ArtifactError(
                f"{what}: tensor {name!r} holds NaN or infinity",
                hint=(
                    "the search that made it diverged: use the operation masks without the weights"
                ),
            )
    return arrays


def check_check_header(header: Header, network: NetworkRecord) -> None:
    """Check that ``check.safetensors`` has an input and an output, of a size that can be run.

    Raises:
        ArtifactError: Other tensors are there, of another shape, or far too many pixels.
    """
    found = {name: record.dtype for name, record in header.tensors.items()}
    if set(found) != {"input", "output"} or not set(found.values()) <= set(_FLOATS):
        raise ArtifactError(
            f"{CHECK} holds the tensors {sorted(found)[:5]}",
            expected="floating-point 'input' and 'output'",
        )
    given, made = header.tensors["input"].shape, header.tensors["output"].shape
    match given, made:
        case (batch, 3, height, width), (outputs, _) if batch == outputs and height == width:
            if 0 < batch * height * width * network.channels <= _MAX_CHECK_VALUES:
                return
    raise ArtifactError(
        f"{CHECK} has an input of shape {given} and an output of shape {made}",
        expected=(
            "(batch, 3, size, size) and (batch, width), and batch x size x size x channels at "
            f"most {_MAX_CHECK_VALUES}"
        ),
    )


def _check_chosen(genotype: Genotype, masks: OperationMasks, kind: str) -> None:
    space = masks.space
    for target, node in enumerate(genotype.cell(kind), start=2):
        for connection in node:
            edge = space.edges.index((connection.source, target))
            if connection.operation not in masks.operations(kind, edge):
                raise ArtifactError(
                    f"{GENOTYPE} chooses {connection.operation} on edge {space.edges[edge]} of "
                    f"the {kind} cell, where {MASKS} keeps only "
                    f"{', '.join(masks.operations(kind, edge))}"
                )


def _read_ranked(
    data: Any, masks: OperationMasks, kind: str
) -> tuple[tuple[tuple[str, float], ...], ...]:
    edges = masks.space.edges
    if not isinstance(data, list) or len(data) != len(edges):
        raise ArtifactError(f"{GENOTYPE}: 'ranked' of the {kind} cell needs {len(edges)} edges")
    return tuple(_read_edge(entry, masks, kind, index) for index, entry in enumerate(data))


def _read_edge(
    data: Any, masks: OperationMasks, kind: str, edge: int
) -> tuple[tuple[str, float], ...]:
    found = []
    for entry in data if isinstance(data, list) else ():
        match entry:
            case [str(name), int() | float() as p] if not isinstance(p, bool) and 0 <= p <= 1:
                found.append((name, float(p)))
    names, kept = [name for name, _ in found], masks.operations(kind, edge)
    strengths = [p for _, p in found]
    if sorted(names) != sorted(kept) or strengths != sorted(strengths, reverse=True):
        raise ArtifactError(
            (
                f"{GENOTYPE}: 'ranked' on edge {masks.space.edges[edge]} of the {kind} cell is "
                "malformed"
            ),
            expected=f"[operation, probability], strongest first, for {', '.join(kept)}",
        )
    return tuple(found)


_SVG = "http://www.w3.org/2000/svg"
_MAX_DEPTH = 32
_MAX_ELEMENTS = 50_000
_LARGEST_NUMBER = 1e6
_ELEMENTS = frozenset(
    (
        *("svg", "g", "defs", "title", "desc", "style", "text", "tspan"),
        *("path", "rect", "circle", "ellipse", "line", "polyline", "polygon"),
        *("linearGradient", "radialGradient", "stop"),
    )
)
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_NUMBERS = re.compile(r"[-+0-9.eE,\s]*(?:px|pt|em|%)?")
_PATH = re.compile(r"[MmZzLlHhVvCcSsQqTtAa0-9eE.,+\-\s]*")
_TRANSFORM = re.compile(
    r"(?:(?:translate|scale|rotate|matrix|skewX|skewY)\([-+0-9.eE,\s]*\)[\s,]*)*"
)
_PAINT = re.compile(
    r"#[0-9A-Fa-f]{3,8}|[A-Za-z]+|rgba?\([0-9.,%\s]*\)|url\(#[A-Za-z_][A-Za-z0-9_.-]*\)"
)
_WORD = re.compile(r"[A-Za-z][A-Za-z-]*|[1-9]00")
_WORDS = re.compile(r"[A-Za-z0-9_.\-\s]*")
_FONTS = re.compile(r"""[A-Za-z0-9,'"\-\s]*""")
_NUMERIC = (_NUMBERS, _PATH, _TRANSFORM)
# Which also may stand in a style.
_PROPERTIES = {
    **dict.fromkeys(("fill", "stroke", "color", "stop-color"), _PAINT),
    **dict.fromkeys(
        (
            *("opacity", "fill-opacity", "stroke-opacity", "stop-opacity"),
            *("stroke-width", "stroke-dasharray", "stroke-dashoffset", "stroke-miterlimit"),
            *("font-size", "letter-spacing", "word-spacing"),
        ),
        _NUMBERS,
    ),
    **dict.fromkeys(
        (
            *("fill-rule", "stroke-linecap", "stroke-linejoin", "vector-effect", "visibility"),
            *("text-anchor", "dominant-baseline", "alignment-baseline", "text-decoration"),
            *("font-weight", "font-style", "font-variant", "font-stretch", "display"),
            *("shape-rendering", "text-rendering", "paint-order", "white-space"),
        ),
        _WORD,
    ),
    "font-family": _FONTS,
}
_ATTRIBUTES = {
    **_PROPERTIES,
    **dict.fromkeys(
        (
            *("x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "rx", "ry", "fx", "fy", "fr"),
            *("dx", "dy", "width", "height", "viewBox", "points", "offset", "rotate"),
            *("textLength", "pathLength"),
        ),
        _NUMBERS,
    ),
    **dict.fromkeys(("transform", "gradientTransform"), _TRANSFORM),
    **dict.fromkeys(
        (
            *("id", "class", "role", "version", "lang", "preserveAspectRatio", "lengthAdjust"),
            *("aria-labelledby", "aria-describedby", "aria-hidden", "focusable"),
            *("gradientUnits", "spreadMethod", "baseProfile"),
        ),
        _WORDS,
    ),
    "d": _PATH,
    "type": re.compile("text/css"),
    "aria-label": re.compile(".*", re.DOTALL),  # it is read out, and nothing else
}
_RULE = re.compile(r"([^{}@]*)\{([^{}]*)\}\s*")
_DARK = re.compile(
    r"@media\s*\(prefers-color-scheme:\s?(?:dark|light)\)\s*"
    r"\{\s*((?:[^{}@]*\{[^{}]*\})*)\s*\}\s*"
)
_SELECTOR = re.compile(r"[.#*,>A-Za-z0-9_\-\s]+")


def check_svg(content: bytes, *, what: str) -> None:
    """Refuse an SVG file that could do more than draw.

    Raises:
        ArtifactError: It is no XML, or has a document type, a processing instruction, or an
            element, an attribute, a value or a style that is not on the list; or it is too deep.
    """
    _Reader(what).read(content)


class _Reader:
    """One drawing while it is parsed: the elements that are open, and the style sheet in one."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._open: list[str] = []
        self._seen = 0
        self._sheet: list[str] = []

    def read(self, content: bytes) -> None:
        parser = expat.ParserCreate("utf-8", " ")
        parser.StartDoctypeDeclHandler = parser.ProcessingInstructionHandler = self._refuse_extra
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        try:
            parser.Parse(content, True)
        except expat.ExpatError as error:
            raise ArtifactError(
                f"{self._what} is no SVG drawing ({error})", hint="fetch it again"
            ) from error

    def _refuse_extra(self, *_: object) -> None:
        raise self._problem("a document type or a processing instruction")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, element = name.rpartition(" ")
        at_root = not self._open
        known = namespace == _SVG and element in _ELEMENTS and (element == "svg") == at_root
        if not known or "style" in self._open:
            raise self._problem(f"the element {name[:80]!r}")
        self._open.append(element)
        self._seen += 1
        if len(self._open) > _MAX_DEPTH or self._seen > _MAX_ELEMENTS:
            raise self._problem(f"more than {_MAX_DEPTH} levels or {_MAX_ELEMENTS} elements")
        for attribute, value in attributes.items():
            if attribute == "style":
                self._check_declarations(value)
            elif attribute not in _ATTRIBUTES:
                raise self._problem(f"the attribute {attribute[:80]!r}")
            else:
                self._check_value(attribute, value, _ATTRIBUTES[attribute])

    def _end(self, _: str) -> None:
        if self._open.pop() == "style":
            self._check_sheet("".join(self._sheet))
            self._sheet.clear()

    def _text(self, text: str) -> None:
        # Pieces of one text: expat hands them over one by one.
        if self._open and self._open[-1] == "style":
            self._sheet.append(text)

    def _check_sheet(self, sheet: str) -> None:
        """Check rules of declarations, perhaps for a dark or a light ground."""
        place = len(sheet) - len(sheet.lstrip())
        while place < len(sheet):
            found = _DARK.match(sheet, place)
            if found is not None:
                for rule in _RULE.finditer(found[1]):
                    self._check_rule(*rule.groups())
            else:
                found = _RULE.match(sheet, place)
                if found is None:
                    raise self._problem(f"the style {sheet[place : place + 80]!r}")
                self._check_rule(*found.groups())
            place = found.end()

    def _check_rule(self, selector: str, declarations: str) -> None:
        if not _SELECTOR.fullmatch(selector):
            raise self._problem(f"the style of {selector[:80]!r}")
        self._check_declarations(declarations)

    def _check_declarations(self, text: str) -> None:
        for declaration in filter(None, map(str.strip, text.split(";"))):
            name, _, value = (part.strip() for part in declaration.partition(":"))
            if name not in _PROPERTIES:
                raise self._problem(f"the style {declaration[:80]!r}")
            self._check_value(name, value, _PROPERTIES[name])

    def _check_value(self, name: str, value: str, form: re.Pattern[str]) -> None:
        large = form in _NUMERIC and any(
            abs(float(number)) > _LARGEST_NUMBER for number in _NUMBER.findall(value)
        )
        if large or not (form.fullmatch(value) or _WORD.fullmatch(value)):
            raise self._problem(f"the value {value[:80]!r} of {name}")

    def _problem(self, found: str) -> ArtifactError:
        return ArtifactError(
            f"{self._what} holds {found}",
            expected=(
                "a drawing that neither acts nor loads anything, of the elements and attributes "
                "in docs/format.md"
            ),
        )
