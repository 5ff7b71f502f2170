"""SVG documents of cells and masks: as files, within a page, and in words."""

import base64
import html
import re
from dataclasses import dataclass
from functools import cached_property

from markupsafe import Markup

from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.space import CELL_KINDS
from wsdarts_registry.drawing.cells import cell_svg, masks_svg

_STYLE = re.compile(r"<style>[^<]*</style>\n?")
_DESCRIPTION = re.compile(r"<desc[^>]*>([^<]*)</desc>")
_SIZE = re.compile(r'width="(\d+)" height="(\d+)"')


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """An SVG document of our own making.

    Attributes:
        name: Name of its file.
        svg: The document.
    """

    name: str
    svg: str

    @cached_property
    def inline(self) -> Markup:
        """To stand within a page, whose style sheet has the colours for a dark ground."""
        return Markup(_STYLE.sub("", self.svg))  # noqa: S704 - drawn and escaped by our own code

    @property
    def address(self) -> Markup:
        """To stand in a page as an image of its own: style and names stay within it."""
        content = base64.b64encode(self.svg.encode()).decode()
        return Markup(f"data:image/svg+xml;base64,{content}")  # noqa: S704 - base64

    @cached_property
    def description(self) -> str:
        """What it shows, in words."""
        found = _DESCRIPTION.search(self.svg)
        return html.unescape(found[1]) if found else ""

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        found = _SIZE.search(self.svg)
        return (int(found[1]), int(found[2])) if found else (0, 0)


def cell_drawings(genotype: Genotype) -> tuple[Drawing, ...]:
    """Draw the normal and the reduction cell."""
    return tuple(Drawing(name=f"{k}.svg", svg=cell_svg(genotype, k)) for k in CELL_KINDS)


def masks_drawing(masks: OperationMasks) -> Drawing:
    """Draw λ: the operations that survived the last stage."""
    return Drawing(name="masks.svg", svg=masks_svg(masks))
