"""Drawings in artifacts, held to what draws: an SVG file opened by a browser is a web page."""

from xml.parsers import expat

from wsdarts_registry.errors import ArtifactError

_SVG = "http://www.w3.org/2000/svg"
_ELEMENTS = frozenset(
    (
        *("svg", "g", "defs", "title", "desc", "style", "symbol", "text", "tspan"),
        *("path", "rect", "circle", "ellipse", "line", "polyline", "polygon"),
        *("clipPath", "mask", "marker", "pattern", "linearGradient", "radialGradient", "stop"),
    )
)
# What loads from elsewhere in a style sheet or an attribute; a backslash could spell it.
_LOADING = ("@import", "javascript:", "expression(", "image(", "image-set(", "src(", "\\")


def check_svg(content: bytes, *, what: str) -> None:
    """Refuse an SVG file that could do more than draw.

    Raises:
        ArtifactError: It is no XML, or has a document type, a processing instruction, an element
            that does not draw, a handler, a link, or a style that loads something.
    """
    # Pieces of one text: expat hands them over one by one.
    texts: list[str] = []

    def refuse(*_: object) -> None:
        raise ArtifactError(_problem(what, "a document type or a processing instruction"))

    def start(name: str, attributes: dict[str, str]) -> None:
        namespace, _, element = name.rpartition(" ")
        if namespace != _SVG or element not in _ELEMENTS:
            raise ArtifactError(_problem(what, f"the element {name[:80]!r}"))
        for attribute, value in attributes.items():
            if " " in attribute or attribute.lower().startswith(("on", "href")):
                raise ArtifactError(_problem(what, f"the attribute {attribute[:80]!r}"))
            texts.append(value)

    parser = expat.ParserCreate("utf-8", " ")
    parser.StartDoctypeDeclHandler = parser.ProcessingInstructionHandler = refuse
    parser.StartElementHandler = start
    parser.CharacterDataHandler = texts.append
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise ArtifactError(f"{what} is no SVG drawing ({error}); fetch it again") from error
    _check_styles("".join(texts).lower(), what)


def _check_styles(text: str, what: str) -> None:
    loading = next((word for word in _LOADING if word in text), None)
    if loading is None and text.count("url(") != text.count("url(#"):
        loading = "url("
    if loading is not None:
        raise ArtifactError(_problem(what, f"{loading!r}"))


def _problem(what: str, found: str) -> str:
    return f"{what} holds {found}; expected a drawing that neither acts nor loads anything"
