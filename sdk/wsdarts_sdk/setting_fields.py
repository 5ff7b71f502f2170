"""Settings dataclasses that pydantic validates, and the paths of their fields.

A field states its bounds in its type, ``epochs: Annotated[int, Field(ge=1, le=100_000)]``.
Python callers, ``dataclasses.replace`` and ``--set`` go through the same validation.
"""

import dataclasses
import difflib
import functools
import json
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ArgsKwargs

from wsdarts_registry._arguments import did_you_mean, nearest_names
from wsdarts_registry.errors import SettingsError

_Class = TypeVar("_Class")
_CONFIG = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
_MOST_NAMES = 3


@dataclasses.dataclass(frozen=True)
class BoundReason:
    """The reason of a bound, as a part of a field's type.

    Attributes:
        error: Pydantic's name of the error, such as ``less_than_equal``.
        text: The reason.
    """

    error: str
    text: str


# Beyond that single precision computes nothing that is finite.
Amount = Annotated[float, Field(ge=0, le=1e30)]
PositiveAmount = Annotated[float, Field(gt=0, le=1e30)]
Share = Annotated[float, Field(ge=0, lt=1)]
Pixels = Annotated[int, Field(ge=8, le=4000)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Epochs = Annotated[int, Field(ge=1, le=100_000)]
Steps = Annotated[int, Field(ge=1, le=1_000_000)]
BatchSize = Annotated[int, Field(ge=2, le=65_536)]
Channels = Annotated[
    int,
    Field(ge=2, le=1024),
    BoundReason(
        "less_than_equal",
        "a network of 20 cells has about 2,600 × channels² weights, 33 GB at 1,024 with their "
        "gradients and momentum",
    ),
]
Classes = Annotated[int, Field(ge=1, le=1_000_000)]
Policy = Literal["randaugment", "trivialaugment"]
"""Augmentation policies of torchvision."""
ComputeDtype = Literal["float32", "bfloat16"]
COMPUTE_DTYPES: tuple[ComputeDtype, ...] = get_args(ComputeDtype)


def validated(settings: type[_Class]) -> type[_Class]:
    """Make a dataclass validate its fields, as a decorator above ``dataclass``.

    Types are strict (a bool is no number), numbers are finite, and unknown names are refused;
    errors are SettingsErrors. ``__post_init__`` runs on valid fields.
    """
    build: Callable[..., None] = getattr(settings, "__init__")  # noqa: B009 - it is replaced below
    setattr(settings, "__pydantic_config__", _CONFIG)  # noqa: B010 - read where it is nested
    validate = TypeAdapter(settings).validator.validate_python

    @functools.wraps(build)
    def init(self: _Class, *values: Any, **named: Any) -> None:
        try:
            validate(ArgsKwargs(values, named), self_instance=self)
        except ValidationError as error:
            raise _settings_error(error, "", settings, setting_kinds(settings)) from error

    setattr(settings, "__init__", init)  # noqa: B010 - no type may be told of that
    return settings


def check_value(name: str, value: Any, kind: Any) -> None:
    """Check one value against a type and the bounds in it.

    Raises:
        SettingsError: It is of another type or out of bounds.
    """
    try:
        TypeAdapter(kind, config=_CONFIG).validate_python(value)
    except ValidationError as error:
        raise _settings_error(error, name, kind) from error


def check_padding(padding: int, image_size: int) -> None:
    """Raise a SettingsError if images would be surrounded by more than their own size."""
    if padding > image_size:
        raise SettingsError(
            "crop_padding",
            found=padding,
            expected=f"at most image_size, {image_size}",
            hint="wider padding could crop the whole image away",
        )


def setting_kinds(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and the type of every setting of a dataclass or of an instance of one.

    A tuple of dataclasses is a setting, and so are the fields of its parts. Parts are counted
    from 1; those of a class, which has none, are called ``N``.
    """
    of_class = isinstance(settings, type)
    for name, kind in _kinds(settings if of_class else type(settings)).items():
        value = kind if of_class else getattr(settings, name)
        path = f"{prefix}{name}"
        if dataclasses.is_dataclass(kind):
            yield from setting_kinds(value, f"{path}.")
            continue
        yield path, kind
        if item := _item_kind(kind):
            for number, part in [("N", item)] if of_class else enumerate(value, start=1):
                yield from setting_kinds(part, f"{path}.{number}.")


def changed(settings: _Class, texts: Mapping[str, str]) -> _Class:
    """Return settings with other values, given as text.

    A text is written as in Python, without quotes; lists of names with commas, and other lists as
    JSON. Settings that depend on each other are checked together.

    Args:
        settings: What is changed.
        texts: The values by their paths, such as ``search.stages.2.epochs``.

    Raises:
        SettingsError: There is no such setting, a value does not fit, or the settings contradict
            each other.
    """
    kinds = dict(setting_kinds(settings))
    values = {}
    for path, text in texts.items():
        whole = next((other for other in texts if path.startswith(f"{other}.")), None)
        if whole is not None:
            raise SettingsError(f"{path} is a part of {whole}", hint="set one of them")
        values[path] = _from_text(path, text, kinds)
    return replace_settings(settings, values)


def replace_settings(settings: _Class, values: Mapping[str, Any]) -> _Class:
    """Return settings with other values, by their paths.

    Raises:
        SettingsError: As for ``changed``.
    """
    kinds = dict(setting_kinds(settings))
    for path in values:
        if path not in kinds and not _below(path, tuple(kinds)):
            raise _no_setting(path, kinds)
    found: _Class = _replaced(settings, values, "")
    return found


def nearest_settings(key: str, paths: Iterable[str]) -> tuple[str, ...]:
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


def _kinds(settings: Any) -> dict[str, Any]:
    """Return the names and types of a dataclass's fields."""
    hints = get_type_hints(settings, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(settings)}


def _item_kind(kind: Any) -> Any:
    """Return the dataclass that a tuple holds; None for any other type."""
    item = get_args(kind)[0] if get_origin(kind) is tuple else None
    return item if dataclasses.is_dataclass(item) else None


def _from_text(path: str, text: str, kinds: Mapping[str, Any]) -> Any:
    """Return the value of a setting."""
    if path not in kinds:
        raise _no_setting(path, kinds)
    kind = kinds[path]
    if text.lower() == "none" and NoneType in get_args(kind):
        return None
    adapter: TypeAdapter[Any] = TypeAdapter(kind, config=_CONFIG)
    try:
        if get_origin(kind) is not tuple:
            return adapter.validate_strings(text)
        names = None if text.startswith("[") else [name.strip() for name in text.split(",")]
        return adapter.validate_json(text if names is None else json.dumps(names))
    except ValidationError as error:
        raise _settings_error(error, path, kind, kinds.items()) from error
    except SettingsError as error:
        raise _within(path, error) from error


def _replaced(settings: Any, values: Mapping[str, Any], prefix: str) -> Any:
    """Return settings with the values whose paths begin with a prefix."""
    if not any(path.startswith(prefix) for path in values):
        return settings
    parts = {}
    for name in _kinds(type(settings)):
        path, old = f"{prefix}{name}", getattr(settings, name)
        if path in values:
            parts[name] = values[path]
        elif dataclasses.is_dataclass(old):
            parts[name] = _replaced(old, values, f"{path}.")
        elif isinstance(old, tuple):
            parts[name] = tuple(
                _replaced(item, values, f"{path}.{number}.") for number, item in enumerate(old, 1)
            )
    try:
        return dataclasses.replace(settings, **parts)
    except SettingsError as error:
        raise _within(prefix.rstrip("."), error) from error


def _within(path: str, error: SettingsError) -> SettingsError:
    """Return an error about a group of settings with the path of the group."""
    what = ("." if error.found else ": ").join(filter(None, (path, error.what)))
    return SettingsError(what, found=error.found or None, expected=error.expected, hint=error.hint)


def _no_setting(path: str, paths: Iterable[str]) -> SettingsError:
    """Describe a path that no setting has, with the nearest right ones of all groups."""
    paths = tuple(paths)
    below = _below(path, paths) if path else ()
    if below:
        names = ", ".join(f"{path}.{name}" for name in below)
        return SettingsError(f"{path} is a group of settings", hint=f"set one of {names}")
    group, known = path, () if path else _below("", paths)
    while group and not known:
        group = group.rpartition(".")[0]
        if group in paths and not _below(group, paths):
            return SettingsError(f"{group} is a single value", hint=f"set it as {group}=VALUE")
        known = _below(group, paths)
    close = did_you_mean(nearest_settings(path, paths))
    has = f"{group} has" if group else "there are"
    return SettingsError(f"there is no setting {path}", hint=f"{close}{has} {', '.join(known)}")


def _below(group: str, paths: Sequence[str]) -> tuple[str, ...]:
    """Return the names in a group of settings."""
    start = f"{group}." if group else ""
    names = (p.removeprefix(start).partition(".")[0] for p in paths if p.startswith(start))
    return tuple(dict.fromkeys(names))


def _settings_error(
    error: ValidationError, path: str, kind: Any, kinds: Iterable[tuple[str, Any]] = ()
) -> SettingsError:
    """Return the first of pydantic's errors as one of ours, an unknown name before all others.

    Args:
        error: What pydantic found.
        path: Path of the value that it was given.
        kind: Type of that value.
        kinds: Of all settings that may be meant, by their paths.
    """
    errors = error.errors(include_url=False)
    first = next((each for each in errors if each["type"].startswith("unexpected")), errors[0])
    steps = [str(step + 1) if isinstance(step, int) else step for step in first["loc"]]
    name = ".".join(filter(None, (path, *steps)))
    if first["type"] == "unexpected_keyword_argument":
        return _no_setting(name, dict(kinds))
    if first["type"].startswith("missing"):
        return SettingsError(name, found="missing")
    for step in first["loc"]:
        inner = _kinds(kind).get(str(step)) if dataclasses.is_dataclass(kind) else _item_kind(kind)
        kind = inner or kind
    expected = _range(kind) or first["msg"].removeprefix("Input should be ").partition(",")[0]
    if first["type"] == "json_invalid":
        expected = "a JSON list"
    if first["type"] == "dataclass_type":
        expected += f" with {', '.join(_kinds(kind))}"
    if NoneType in get_args(kind):
        expected += ", or None"
    for each in getattr(kind, "__metadata__", ()):
        if isinstance(each, BoundReason) and each.error == first["type"]:
            expected += f": {each.text}"
    return SettingsError(name, found=reprlib.repr(first["input"]), expected=expected)


def _range(kind: Any) -> str:
    """Return the numbers that a field may have, in words; empty if it is no number."""
    kind = next((option for option in get_args(kind) if get_origin(option) is Annotated), kind)
    plain, *metadata = get_args(kind) if get_origin(kind) is Annotated else [kind]
    if plain not in (int, float):
        return ""
    bounds = [bound for field in metadata for bound in getattr(field, "metadata", ())]
    words = {"ge": "from", "gt": "above", "le": "to", "lt": "to below"}
    limits = [
        f" {word} {getattr(bound, name):,}"
        for name, word in words.items()
        for bound in bounds
        if hasattr(bound, name)
    ]
    return "".join((f"a {'whole ' if plain is int else ''}number", *limits))
