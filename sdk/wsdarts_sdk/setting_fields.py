"""Fields of settings: which values a number may have, and the nearest right name of a wrong one.

A field says its bounds in its type, ``epochs: Annotated[int, Within(1, 100_000)]``, and
``check_fields`` holds the values against the types.
"""

import dataclasses
import difflib
import functools
import math
import reprlib
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from wsdarts_registry._arguments import did_you_mean, nearest_names
from wsdarts_registry.errors import SettingsError

_Class = TypeVar("_Class")
_MOST_NAMES = 3


@dataclasses.dataclass(frozen=True)
class Within:
    """The values that a number may have; whole ones where the field is an ``int``.

    Attributes:
        lowest: The least of them.
        highest: The greatest, or their limit.
        reaches: Whether ``highest`` itself is one of them.
        positive: Whether 0 is none, although it is ``lowest``.
        why_highest: Why no greater ones, for the error.
        why_lowest: Why no smaller ones.
    """

    lowest: float
    highest: float
    _: dataclasses.KW_ONLY
    reaches: bool = True
    positive: bool = False
    why_highest: str = ""
    why_lowest: str = ""

    def __contains__(self, value: float) -> bool:
        above = value > self.lowest if self.positive else value >= self.lowest
        return above and (value <= self.highest if self.reaches else value < self.highest)

    def why_not(self, value: Any) -> str:
        """Return why a value is too great or too small, after a colon; empty without reason."""
        if not isinstance(value, int | float):
            return ""
        reason = self.why_highest if value > self.highest else self.why_lowest
        return f": {reason}" if reason and not self.lowest <= value <= self.highest else ""

    def __str__(self) -> str:
        low, high = _number(self.lowest), _number(self.highest)
        if self.positive:
            return f"above {low} and up to {high}"
        return f"from {low} to {high}" if self.reaches else f"from {low} to below {high}"


_ALL = Within(-math.inf, math.inf)
# Beyond that single precision computes nothing that is finite.
Amount = Annotated[float, Within(0, 1e30)]
PositiveAmount = Annotated[float, Within(0, 1e30, positive=True)]
Share = Annotated[float, Within(0, 1, reaches=False)]
Pixels = Annotated[int, Within(8, 4000)]
Seed = Annotated[int, Within(0, 2**63 - 1)]
Epochs = Annotated[int, Within(1, 100_000)]
Steps = Annotated[int, Within(1, 1_000_000)]
BatchSize = Annotated[int, Within(2, 65_536)]
Channels = Annotated[
    int,
    Within(
        2,
        1024,
        why_highest="a network of 20 cells has about 2,600 × channels² weights, 33 GB at 1,024 "
        "with their gradients and momentum",
    ),
]
Classes = Annotated[int, Within(1, 1_000_000)]


def check_fields(settings: Any) -> None:
    """Check every field of a dataclass against its type and bounds.

    Raises:
        SettingsError: A value is of another type or out of bounds; the field, the value and what
            was expected are named.
    """
    for name, kind in _kinds(type(settings)).items():  # type: ignore[arg-type]
        check_value(name, getattr(settings, name), kind)


def check_value(name: str, value: Any, kind: Any) -> None:
    """Check one value against a type and the bounds in it.

    Raises:
        SettingsError: It is of another type or out of bounds.
    """
    if not _fits(value, kind):
        limits = _limits(kind)
        why = "" if limits is None else limits.why_not(value)
        raise SettingsError(
            f"{name}", found=reprlib.repr(value), expected=f"{_expected(kind)}{why}"
        )


def check_padding(padding: int, image_size: int) -> None:
    """Raise a SettingsError if images would be surrounded by more than their own size."""
    if padding > image_size:
        raise SettingsError(
            "crop_padding",
            found=padding,
            expected=f"at most image_size, {image_size}, so that something of each image is seen",
        )


def known_names(settings: type[_Class]) -> type[_Class]:
    """Make a dataclass refuse unknown names, as a decorator above ``dataclass``.

    ``dataclasses.replace`` refuses them, too: it calls the class.
    """
    build: Callable[..., None] = getattr(settings, "__init__")  # noqa: B009 - it is replaced below
    known = tuple(_kinds(settings))  # type: ignore[arg-type]

    @functools.wraps(build)
    def init(self: _Class, *values: Any, **named: Any) -> None:
        for name in named:
            if name not in known:
                paths = tuple(setting_paths(settings))
                raise unknown_setting(name, name, paths, known, group=settings.__name__)
        build(self, *values, **named)

    setattr(settings, "__init__", init)  # noqa: B010 - no type may be told of that
    return settings


def unknown_setting(
    name: str, key: str, paths: Sequence[str], known: Iterable[str], *, group: str
) -> SettingsError:
    """Describe a name that no setting has, with the nearest right ones of all groups.

    Args:
        name: The wrong name, with the names of its groups.
        key: All that was given: the wrong name and what followed.
        paths: Of all settings that may be meant.
        known: The names that there are in the group.
        group: Name of the group that has none of that name; empty for the whole.
    """
    close = did_you_mean(nearest_settings(key, paths))
    has = f"{group} has" if group else "there are"
    return SettingsError(f"there is no setting {name}", hint=f"{close}{has} {', '.join(known)}")


def nearest_settings(key: str, paths: Sequence[str]) -> tuple[str, ...]:
    """Return the settings whose own name is that of a key or like it, the most similar first.

    Args:
        key: What was given, such as ``"epochs"`` or ``"search.epochs"``.
        paths: Of the settings, such as ``"training.epochs"``.
    """
    own = {path: path.rpartition(".")[2] for path in paths}
    last = key.rpartition(".")[2]
    wanted = {last} if last in own.values() else set(nearest_names(last, own.values(), most=1))
    found = [path for path, name in own.items() if name in wanted]
    found.sort(key=lambda path: -difflib.SequenceMatcher(None, key, path).ratio())
    return tuple(found[:_MOST_NAMES])


def setting_paths(settings: Any, prefix: str = "") -> Iterator[str]:
    """Yield the path of every single setting of a dataclass or of an instance of one.

    Parts of a tuple are counted from 1; of a class, which has none, they are called ``N``.
    """
    kind = settings if isinstance(settings, type) else type(settings)
    for name, field in _kinds(kind).items():
        part, path = _part(field), f"{prefix}{name}"
        value = None if kind is settings else getattr(settings, name)
        if part is None:
            yield path
        elif get_origin(_bare(field)) is tuple:
            parts = {"N": part} if value is None else dict(enumerate(value, start=1))
            for number, each in parts.items():
                yield from setting_paths(each, f"{path}.{number}.")
        else:
            yield from setting_paths(part if value is None else value, f"{path}.")


def _part(kind: Any) -> type | None:
    """The dataclass that a field is, or that it is a tuple of; None for a single value."""
    bare = _bare(kind)
    inner = get_args(bare)[0] if get_origin(bare) is tuple else bare
    return inner if isinstance(inner, type) and dataclasses.is_dataclass(inner) else None


@functools.cache
def _kinds(settings: type) -> dict[str, Any]:
    hints = get_type_hints(settings, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(settings)}


def _fits(value: Any, kind: Any) -> bool:
    if value is None or _optional(kind):
        return _optional(kind) if value is None else _fits(value, _without_none(kind))
    bare = _bare(kind)
    if get_origin(bare) is Literal:
        return isinstance(value, str) and value in get_args(bare)
    if get_origin(bare) is tuple:
        return isinstance(value, tuple) and all(_fits(each, get_args(bare)[0]) for each in value)
    if bare is float or bare is int:
        return _is_number(value, bare) and (value in (_limits(kind) or _ALL))
    return isinstance(value, bare)


def _is_number(value: Any, kind: type) -> bool:
    """Whether a value is such a number that JSON of ours can hold; a bool is none."""
    if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
        return False
    return isinstance(value, float) or abs(value) < 2**63


def _expected(kind: Any) -> str:
    if _optional(kind):
        return f"{_expected(_without_none(kind))}, or None"
    limits, bare = _limits(kind), _bare(kind)
    if get_origin(bare) is Literal:
        return f"one of {', '.join(get_args(bare))}"
    if get_origin(bare) is tuple:
        return f"a tuple of {_expected(get_args(bare)[0])}"
    if bare is int or bare is float:
        within = "" if limits is None else f" {limits}"
        return f"{'a whole number' if bare is int else 'a number'}{within}"
    return {bool: "True or False", str: "text"}.get(bare, getattr(bare, "__name__", str(bare)))


def _limits(kind: Any) -> Within | None:
    for given in getattr(_without_none(kind), "__metadata__", ()):
        if isinstance(given, Within):
            return given
    return None


def _bare(kind: Any) -> Any:
    """A type without its bounds and without None."""
    plain = _without_none(kind)
    return get_args(plain)[0] if get_origin(plain) is Annotated else plain


def _optional(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType) and types.NoneType in get_args(kind)


def _without_none(kind: Any) -> Any:
    if not _optional(kind):
        return kind
    return next(option for option in get_args(kind) if option is not types.NoneType)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) or math.isinf(value) else f"{value:g}"
