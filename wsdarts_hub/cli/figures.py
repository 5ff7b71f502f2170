"""How the figures of an artifact are written."""

from wsdarts_registry.amounts import figure

_RATIO = "accuracy"


def figure_text(name: str, value: float) -> str:
    """A figure with its unit, which its name tells: ``62.1 %``, ``1.43``."""
    return figure(value, "ratio" if _is_ratio(name) else "")


def figure_difference(name: str, difference: float) -> str:
    """A difference with its sign: in percentage points for a ratio, ``+2.5 points``."""
    if _is_ratio(name):
        text = f"{100 * difference:+.1f} points"
    elif float(difference).is_integer():
        text = f"{difference:+,.0f}"
    else:
        text = f"{difference:+.4g}"
    return text.replace("-", "−") if text.startswith("-") else text


def _is_ratio(name: str) -> bool:
    return name.endswith(_RATIO)
