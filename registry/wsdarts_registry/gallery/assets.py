"""Style sheet and scripts of the gallery."""

from collections.abc import Iterator
from importlib.resources import files

from wsdarts_registry.palette import FAMILIES, Shades
from wsdarts_registry.svg import dark_styles


def assets() -> Iterator[tuple[str, bytes]]:
    """Each file by its path in the gallery."""
    package = files("wsdarts_cards")
    report = package.joinpath("templates", "report.css").read_text(encoding="utf-8")
    own = package.joinpath("gallery", "gallery.css").read_text(encoding="utf-8")
    sheet = "\n".join([report, own, _families(), dark_styles()])
    yield "assets/gallery.css", sheet.encode()
    for script in package.joinpath("gallery", "scripts").iterdir():
        yield f"assets/{script.name}", script.read_bytes()


def _families() -> str:
    """The colours of operations, by family, on light and on dark ground."""

    def rule(key: str, shades: Shades) -> str:
        return (
            f".op-{key}{{background:{shades.tint};border-color:{shades.line};color:{shades.ink}}}"
        )

    light = "".join(rule(family.key, family.light) for family in FAMILIES)
    dark = "".join(rule(family.key, family.dark) for family in FAMILIES)
    return f"{light}\n@media(prefers-color-scheme:dark){{{dark}}}"
