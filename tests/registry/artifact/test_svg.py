"""Drawings draw, and do nothing else."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from tests.registry.factories import make_artifact, make_genotype, make_masks
from wsdarts_registry.artifact.contents import check_svg
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.drawing.cells import genotype_svg, masks_svg
from wsdarts_registry.errors import ArtifactError
from wsdarts_registry.stores.records import shipped_zoo

_SVG = "http://www.w3.org/2000/svg"
_OPEN = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'


ROOT = Path(__file__).parents[3]
_DRAWN = re.compile(r"<svg\b.*?</svg>", re.DOTALL)


def test_our_own_drawings() -> None:
    check_svg(genotype_svg(make_genotype()).encode(), what="cells.svg")
    check_svg(masks_svg(make_masks()).encode(), what="masks.svg")
    files = sorted((ROOT / "docs" / "images").rglob("*.svg"))
    files += sorted(shipped_zoo().rglob("*.svg"))
    assert len(files) > 10
    for path in files:
        check_svg(path.read_bytes(), what=str(path))


def test_the_drawings_in_a_report() -> None:
    for name in ("report.html", "comparison.html"):
        page = (ROOT / "tests" / "golden" / name).read_text(encoding="utf-8")
        drawn = _DRAWN.findall(page)
        assert len(drawn) > 3
        for svg in drawn:
            # Within HTML the namespace goes without saying.
            named = svg if "xmlns=" in svg else svg.replace("<svg", f'<svg xmlns="{_SVG}"', 1)
            check_svg(named.encode(), what=name)


@pytest.mark.parametrize(
    "inside",
    [
        '<rect x="1" y="-2.5" width="50%" height="1e2" rx=".5" fill="#fff" stroke="none"/>',
        '<path d="M1 2L3,4h-5z" fill="rgb(1, 2, 3)" stroke-dasharray="4 2"/>',
        '<g transform="translate(1 2) rotate(-45)" opacity="0.5"><circle r="2"/></g>',
        '<linearGradient id="a"><stop offset="0"/></linearGradient><rect fill="url(#a)"/>',
        '<text style="fill: red; font-size:12px">@import url(x) javascript: \\</text>',
        "<style> .a , g > .b-c{fill:#fff;stroke:none} </style>",
        "<style><![CDATA[@media (prefers-color-scheme: dark) { .a { fill:#fff } }]]></style>",
        "<style/>",
    ],
)
def test_what_draws_is_accepted(inside: str) -> None:
    check_svg(f"{_OPEN}{inside}</svg>".encode(), what="x.svg")


@pytest.mark.parametrize(
    "inside",
    [
        "<script>alert(1)</script>",
        '<x:script xmlns:x="http://www.w3.org/2000/svg">alert(1)</x:script>',
        '<script xmlns="http://www.w3.org/1999/xhtml">alert(1)</script>',
        "<foreignObject><p/></foreignObject>",
        '<a href="#"><text>x</text></a>',
        '<use xlink:href="http://evil.example/x.svg#a"/>',
        '<image href="http://evil.example/x.png"/>',
        '<path xlink:href="#a"/>',
        '<path onload="alert(1)"/>',
        '<path ONCLICK="alert(1)"/>',
        '<animate attributeName="href" to="javascript:alert(1)"/>',
        '<set attributeName="onload" to="alert(1)"/>',
        '<path style="fill:url(http://evil.example/x)"/>',
        '<path fill="url( #a)"/>',
        "<style>@import 'http://evil.example';</style>",
        "<style>@im<!-- -->port 'http://evil.example';</style>",
        "<style>@\\69mport 'http://evil.example';</style>",
        "<style>&#64;import 'http://evil.example';</style>",
        "<style>p{background:URL(http://evil.example)}</style>",
        "<?xml-stylesheet href='http://evil.example'?>",
        "<path>",
        "&nbsp;",
        # Each of these passed a list of what is bad.
        "<style>@IMPORT 'x';</style>",
        "<style>@namespace x 'http://evil.example';</style>",
        "<style>@font-face{font-family:x;src:local(x)}</style>",
        "<style>.a{font-family:local(x)}</style>",
        "<style>.a{fill:url(#a) url(//evil.example)}</style>",
        "<style>.a{fill:image-set('x' 1x)}</style>",
        "<style>.a{fill:u\\72l(x)}</style>",
        "<style>.a{background:element(#a)}</style>",
        "<style>.a{fill:var(--x)}</style>",
        "<style>.a{behavior:x}</style>",
        "<style>.a[href^='x']{fill:red}</style>",
        "<style>.a{fill:red}/*</style>",
        "<style>.a{fill:red</style>",
        "<style>@media print{.a{fill:red}}</style>",
        "<style>@media(prefers-color-scheme:dark){@import 'x';}</style>",
        "<style>@media(prefers-color-scheme:dark){.a{behavior:x}}</style>",
        "<style>.a{fill:red}<g/></style>",
        "<style type='text/x-template'>.a{fill:red}</style>",
        '<path style="fill:local(x)"/>',
        '<path style="-moz-binding:url(x)"/>',
        '<path style="position:fixed"/>',
        '<path fill="url(&#35;a)"/><path fill="&#117;rl(x)"/>',
        '<path fill="data:image/png;base64,x"/>',
        '<path filter="url(#a)"/>',
        '<path clip-path="url(#a)"/>',
        '<path d="M0 0<!-- -->"/>',
        '<path d="M0 0 url(x)"/>',
        '<g transform="translate(expression(1))"/>',
        '<rect width="1e9"/>',
        '<path d="M0 0L99999999 0"/>',
        '<rect xml:base="http://evil.example"/>',
        '<text tabindex="1" autofocus="">x</text>',
        '<pattern id="a"><rect fill="url(#a)"/></pattern>',
        '<use href="#a"/>',
        "<feImage/>",
        "<metadata/>",
        "<svg/>",
        "<switch/>",
        "<animateTransform/>",
        '<g xmlns=""/>',
    ],
)
def test_what_acts_or_loads_is_refused(inside: str) -> None:
    with pytest.raises(ArtifactError, match=r"^x\.svg (holds|is no SVG)"):
        check_svg(f"{_OPEN}{inside}</svg>".encode(), what="x.svg")


def test_entities_are_refused_before_they_grow() -> None:
    names = "abcdefghij"
    lines = ['<!ENTITY a "aaaaaaaaaa">']
    for inner, outer in pairwise(names):
        lines.append(f'<!ENTITY {outer} "{f"&{inner};" * 10}">')
    content = f"<!DOCTYPE svg [{''.join(lines)}]>{_OPEN}<text>&j;</text></svg>"
    with pytest.raises(ArtifactError, match="holds a document type"):
        check_svg(content.encode(), what="x.svg")


@pytest.mark.parametrize(
    "content",
    [
        _OPEN + "<g>" * 50_000 + "</g>" * 50_000 + "</svg>",
        _OPEN + "<g>" * 32 + "</g>" * 32 + "</svg>",
        _OPEN + "<g/>" * 50_000 + "</svg>",
        '<g xmlns="http://www.w3.org/2000/svg"/>',
    ],
)
def test_depth_and_number_have_limits(content: str) -> None:
    with pytest.raises(ArtifactError, match=r"^x\.svg holds"):
        check_svg(content.encode(), what="x.svg")


def test_other_encodings_are_no_way_round() -> None:
    content = f'<?xml version="1.0" encoding="utf-16"?>{_OPEN}<script/></svg>'
    for encoding in ("utf-16", "utf-8"):
        with pytest.raises(ArtifactError, match=r"^x\.svg (holds|is no)"):
            check_svg(content.encode(encoding), what="x.svg")


def test_an_artifact_with_such_a_file_is_none(tmp_path: Path) -> None:
    make_artifact(tmp_path / "good", files={"x.svg": genotype_svg(make_genotype()).encode()})
    assert read_artifact(tmp_path / "good").read("x.svg").startswith(b"<svg")
    with pytest.raises(ArtifactError, match=r"x\.svg holds the element"):
        make_artifact(tmp_path / "bad", files={"x.svg": f"{_OPEN}<script/></svg>".encode()})
