"""Drawings draw, and do nothing else."""

from itertools import pairwise
from pathlib import Path

import pytest

from tests.registry.factories import make_artifact, make_genotype, make_masks
from wsdarts_registry.artifact import read_artifact
from wsdarts_registry.drawing import genotype_svg
from wsdarts_registry.errors import ArtifactError
from wsdarts_registry.inert_svg import check_svg
from wsdarts_registry.mask_drawing import masks_svg

_OPEN = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'


def test_our_own_drawings() -> None:
    check_svg(genotype_svg(make_genotype()).encode(), what="cells.svg")
    check_svg(masks_svg(make_masks()).encode(), what="masks.svg")


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
    ],
)
def test_what_acts_or_loads_is_refused(inside: str) -> None:
    with pytest.raises(ArtifactError, match=r"^x\.svg (holds|is no SVG drawing)"):
        check_svg(f"{_OPEN}{inside}</svg>".encode(), what="x.svg")


def test_entities_are_refused_before_they_grow() -> None:
    names = "abcdefghij"
    lines = ['<!ENTITY a "aaaaaaaaaa">']
    for inner, outer in pairwise(names):
        lines.append(f'<!ENTITY {outer} "{f"&{inner};" * 10}">')
    content = f"<!DOCTYPE svg [{''.join(lines)}]>{_OPEN}<text>&j;</text></svg>"
    with pytest.raises(ArtifactError, match="holds a document type"):
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
