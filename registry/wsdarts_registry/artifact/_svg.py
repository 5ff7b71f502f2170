"""Drawings in artifacts, held to what draws: an SVG file opened by a browser is a web page.

What is allowed is listed, elements, attributes and the form of their values; all else is refused.
No element on the list can refer to another but to a gradient, which refers to nothing: a small
file cannot become a large drawing.
"""

import re
from xml.parsers import expat

from wsdarts_registry.errors import ArtifactError

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
