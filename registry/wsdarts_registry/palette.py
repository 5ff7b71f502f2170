"""Colours by operation family, on light and on dark ground.

The four families of DARTS take the hues of Okabe and Ito that people with any of the common
colour deficiencies tell apart (blue, orange, green, reddish purple). Colour is never the only
sign: wherever a family is coloured, the operation's name stands beside it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Shades:
    """The colours of a family on one ground.

    Attributes:
        tint: Ground of a label.
        line: Outline of a label, and lines.
        ink: Text on ``tint``; its contrast is at least 7 : 1.
        solids: Filled areas, from the family's first operation to its last.
    """

    tint: str
    line: str
    ink: str
    solids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Family:
    """Operations that compute alike."""

    key: str
    title: str
    light: Shades
    dark: Shades


SEPARABLE = Family(
    key="sep",
    title="separable convolution",
    light=Shades(
        tint="#e4f0fb",
        line="#1f6fb2",
        ink="#0f3d66",
        solids=("#1f6fb2", "#7fb5e3", "#b5d4ef"),
    ),
    dark=Shades(
        tint="#12304c",
        line="#5ea9e8",
        ink="#d3e8fb",
        solids=("#3f8fd6", "#8cc1ee", "#1f5c92"),
    ),
)
DILATED = Family(
    key="dil",
    title="dilated convolution",
    light=Shades(
        tint="#fdeedd",
        line="#b85c00",
        ink="#663300",
        solids=("#c8680a", "#f1ab62", "#f8d3a8"),
    ),
    dark=Shades(
        tint="#43290c",
        line="#e59a4a",
        ink="#fbe3c8",
        solids=("#d97f24", "#f3b97a", "#96540f"),
    ),
)
POOLING = Family(
    key="pool",
    title="pooling",
    light=Shades(
        tint="#ddf4ec",
        line="#0a7d5c",
        ink="#064735",
        solids=("#0a8a65", "#72c9ac", "#b3e2d3"),
    ),
    dark=Shades(
        tint="#0e352a",
        line="#3fbf95",
        ink="#c9f2e3",
        solids=("#25a87d", "#7fd6b8", "#126b4f"),
    ),
)
SKIP = Family(
    key="skip",
    title="skip-connect",
    light=Shades(
        tint="#f8e6f3",
        line="#a03c88",
        ink="#5f1f50",
        solids=("#a8458f", "#d593c4", "#eac8e1"),
    ),
    dark=Shades(
        tint="#3d1c36",
        line="#d67fc2",
        ink="#f7d9ef",
        solids=("#c765b1", "#e3a9d5", "#83386f"),
    ),
)
NONE = Family(
    key="none",
    title="none",
    light=Shades(
        tint="#eef0f3",
        line="#6b7480",
        ink="#3a424d",
        solids=("#c3c9d1", "#dde1e6", "#9aa3ae"),
    ),
    dark=Shades(
        tint="#2a313b",
        line="#8b95a3",
        ink="#d5dbe3",
        solids=("#5a6472", "#444d59", "#77828f"),
    ),
)
OTHER = Family(
    key="other",
    title="other operation",
    light=Shades(
        tint="#f4f0d6",
        line="#7a6800",
        ink="#453b00",
        solids=("#9a8410", "#cdbb4e", "#e6dd9e"),
    ),
    dark=Shades(
        tint="#353009",
        line="#c9b63d",
        ink="#f5ecb8",
        solids=("#b8a32a", "#dccf78", "#746611"),
    ),
)
FAMILIES = (SEPARABLE, DILATED, POOLING, SKIP, NONE, OTHER)


def family_of(operation: str) -> Family:
    """The family of an operation, by its name in the public DARTS code."""
    if operation == "none":
        return NONE
    if operation.startswith("skip") or operation == "identity":
        return SKIP
    if "pool" in operation:
        return POOLING
    if operation.startswith("sep_"):
        return SEPARABLE
    return DILATED if operation.startswith("dil_") else OTHER


def solid_index(operation: str, candidates: tuple[str, ...]) -> int:
    """Which of its family's ``solids`` an operation takes: its place among its like."""
    family = family_of(operation)
    alike = [name for name in candidates if family_of(name) is family]
    return alike.index(operation) % len(family.light.solids)
