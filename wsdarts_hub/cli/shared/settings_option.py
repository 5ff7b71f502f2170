"""The option ``--set KEY=VALUE``: every field of a preset, by its path and of its type."""

import dataclasses
import json
import math
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.presets import Preset, find_preset
from wsdarts_sdk.setting_fields import setting_paths, unknown_setting

_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
# The path of a setting leads through groups to its text.
Tree = dict[str, "str | Tree"]


def preset_with(
    name: str, assignments: Sequence[str] | None, *, without: Mapping[str, str] | None = None
) -> Preset:
    """The preset of that name with some settings changed.

    Args:
        name: Name of the preset.
        assignments: ``KEY=VALUE`` each. A key is the path of a field, such as
            ``search.weights.learning_rate`` or ``search.stages.2.epochs`` (stages count from
            1); a value is written as in Python, without quotes, or as JSON where it is a list.
            Of one key given twice the last counts.
        without: Parts of the preset that have no effect, each with where it has one.

    Raises:
        SettingsError: A key or a value does not fit (names what exists), or the settings
            contradict each other.
    """
    preset = find_preset(name)
    tree: Tree = {}
    for assignment in assignments or ():
        key, sign, value = assignment.partition("=")
        if not sign:
            raise SettingsError(
                f"--set {assignment} has no value", expected="KEY=VALUE, such as search.channels=8"
            )
        parts = key.strip().split(".")
        if parts[0] in (without or {}):
            raise SettingsError(
                f"--set {key.strip()} has no effect here: {(without or {})[parts[0]]}",
                hint="leave it out",
            )
        _plant(tree, parts, value.strip(), key)
    changed: Preset = _changed(preset, tree, "", tuple(setting_paths(preset)))
    return changed


def _plant(tree: Tree, parts: Sequence[str], value: str, key: str) -> None:
    for part in parts[:-1]:
        below = tree.setdefault(part, {})
        if isinstance(below, str):
            raise SettingsError(f"--set {key} changes a part of what another --set replaces")
        tree = below
    if isinstance(tree.get(parts[-1]), dict):
        raise SettingsError(f"--set {key} replaces what another --set changes a part of")
    tree[parts[-1]] = value


def _changed(value: Any, tree: Mapping[str, Any], where: str, paths: Sequence[str]) -> Any:
    """A dataclass or a tuple of dataclasses with the changes of a tree; checked once, whole.

    Args:
        value: What is changed.
        tree: The changes.
        where: Path of ``value``, with a final dot.
        paths: Of all settings of the preset, of which the nearest is named.
    """
    if isinstance(value, tuple):
        items = dict(zip(map(str, range(1, len(value) + 1)), value, strict=True))
        _check_names(tree, items, where, paths)
        return tuple(
            _part(item, tree.get(name), f"{where}{name}", type(item), paths)
            for name, item in items.items()
        )
    kinds = _fields(type(value))
    _check_names(tree, kinds, where, paths)
    parts = {
        name: _part(getattr(value, name), below, f"{where}{name}", kinds[name], paths)
        for name, below in tree.items()
    }
    with _within(where):
        return dataclasses.replace(value, **parts)


@contextmanager
def _within(where: str) -> Iterator[None]:
    """Name the group of settings whose values are refused."""
    try:
        yield
    except SettingsError as error:
        raise SettingsError(f"{where[:-1]}: {error}" if where else str(error)) from error


def _part(value: Any, below: str | Tree | None, where: str, kind: Any, paths: Sequence[str]) -> Any:
    if below is None:
        return value
    group = dataclasses.is_dataclass(value)
    if isinstance(below, dict):
        if not group and _item_kind(kind) is None:
            raise SettingsError(f"{where} is a single value", hint=f"set it as {where}=VALUE")
        return _changed(value, below, f"{where}.", paths)
    if group:
        names = ", ".join(f"{where}.{name}" for name in _fields(type(value)))
        raise SettingsError(f"{where} is a group of settings", hint=f"set one of {names}")
    return _from_text(below, kind, where)


def _check_names(
    tree: Mapping[str, Any], known: Mapping[str, Any], where: str, paths: Sequence[str]
) -> None:
    for name, below in tree.items():
        if name not in known:
            key = ".".join((f"{where}{name}", *_first_key(below)))
            raise unknown_setting(f"{where}{name}", key, paths, known, group=where[:-1])


def _first_key(tree: Any) -> tuple[str, ...]:
    """The rest of the first key that a part of the tree is of."""
    if not isinstance(tree, dict) or not tree:
        return ()
    name, below = next(iter(tree.items()))
    return name, *_first_key(below)


def _fields(kind: type) -> dict[str, Any]:
    """Names and types of the fields of a dataclass."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _item_kind(kind: Any) -> Any:
    """The dataclass that a tuple type holds; None for any other type."""
    arguments = get_args(kind)
    if get_origin(kind) is tuple and dataclasses.is_dataclass(arguments[0]):
        return arguments[0]
    return None


def _from_text(text: str, kind: Any, where: str) -> Any:
    """A value of a type, from what was typed."""
    plain = _without_none(kind)
    if plain is not kind and text.lower() == "none":
        return None
    try:
        return _from_json(_parsed(text, plain), plain, where)
    except ValueError as error:
        raise _wrong(where, text, kind) from error


def _parsed(text: str, kind: Any) -> Any:
    """What was typed as plain data."""
    if get_origin(kind) is tuple:
        listed = text.startswith("[") or _item_kind(kind) is not None
        return json.loads(text) if listed else [part.strip() for part in text.split(",")]
    if kind is bool:
        return _WORDS.get(text.lower(), text)
    return kind(text) if kind in (int, float) else text


def _from_json(value: Any, kind: Any, where: str) -> Any:
    """A value of a type, from plain data: checked, never guessed."""
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return _made(kind, value, where)
    if get_origin(kind) is tuple and isinstance(value, list):
        item = get_args(kind)[0]
        return tuple(_from_json(v, item, f"{where}.{i}") for i, v in enumerate(value, start=1))
    if kind is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    fits = value in get_args(kind) if get_origin(kind) is Literal else type(value) is kind
    if not fits or kind is float:
        raise _wrong(where, value, kind)
    return value


def _made(kind: Any, value: Mapping[str, Any], where: str) -> Any:
    """A dataclass from a JSON object."""
    kinds = _fields(kind)
    _check_names(value, kinds, f"{where}.", tuple(setting_paths(kind, f"{where}.")))
    missing = [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.name not in value
    ]
    if missing:
        raise SettingsError(f"{where} has no {', '.join(missing)}", expected=_expected(kind))
    parts = {name: _from_json(v, kinds[name], f"{where}.{name}") for name, v in value.items()}
    with _within(f"{where}."):
        return kind(**parts)


def _without_none(kind: Any) -> Any:
    """``int`` for ``int | None``; any other type as it is."""
    if get_origin(kind) not in (Union, types.UnionType):
        return kind
    return next(option for option in get_args(kind) if option is not types.NoneType)


def _wrong(where: str, value: Any, kind: Any) -> SettingsError:
    return SettingsError(where, found=repr(value), expected=_expected(kind))


def _expected(kind: Any) -> str:
    plain = _without_none(kind)
    if plain is not kind:
        return f"{_expected(plain)} or none"
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if get_origin(kind) is tuple:
        item = _item_kind(kind)
        return "names, separated by commas" if item is None else f"a JSON list of {_expected(item)}"
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return f"objects with {', '.join(_fields(kind))}"
    return {int: "a whole number", float: "a finite number", bool: "true or false"}.get(
        kind, "text"
    )
