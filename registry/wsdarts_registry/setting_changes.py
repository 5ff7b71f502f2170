"""How two sets of nested settings differ, key by key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from wsdarts_registry import strict_json


@dataclass(frozen=True, kw_only=True)
class SettingChange:
    """A setting whose value differs, or that only one of two has.

    Attributes:
        key: Its place, ``"stages.2.epochs"``; entries of lists are counted from 1, as ``--set``
            counts them.
        before: Values of the first, one or, where it has no such setting, none.
        after: The same for the second.
    """

    key: str
    before: tuple[JsonValue, ...]
    after: tuple[JsonValue, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data; ``before`` or ``after`` is missing where there is no value."""
        sides = (("before", self.before), ("after", self.after))
        return {"key": self.key, **{side: values[0] for side, values in sides if values}}


def setting_changes(
    before: Mapping[str, JsonValue], after: Mapping[str, JsonValue]
) -> tuple[SettingChange, ...]:
    """List what differs between two sets of settings, by key.

    Settings within settings, and within the entries of a list of them, are compared one by
    one; other lists are one value. ``1`` and ``1.0`` differ, as they do on disk.
    """
    first, second = _flat(before), _flat(after)
    found = []
    for key in sorted(first.keys() | second.keys()):
        old = (first[key],) if key in first else ()
        new = (second[key],) if key in second else ()
        if strict_json.dump(list(old)) != strict_json.dump(list(new)):
            found.append(SettingChange(key=key, before=old, after=new))
    return tuple(found)


def _flat(settings: Mapping[str, JsonValue], prefix: str = "") -> dict[str, JsonValue]:
    found: dict[str, JsonValue] = {}
    for name, value in settings.items():
        key = f"{prefix}{name}"
        parts: Mapping[str, JsonValue] = {}
        if isinstance(value, dict):
            parts = value
        elif isinstance(value, list) and all(isinstance(part, dict) for part in value):
            parts = {str(number): part for number, part in enumerate(value, start=1)}
        found |= _flat(parts, f"{key}.") if parts else {key: value}
    return found
