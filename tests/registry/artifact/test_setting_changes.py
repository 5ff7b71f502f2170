from pydantic import JsonValue

from wsdarts_registry.artifact.difference import SettingChange, setting_changes


def change(key: str, before: list[JsonValue], after: list[JsonValue]) -> SettingChange:
    return SettingChange(key=key, before=tuple(before), after=tuple(after))


def test_keys_are_dotted_and_entries_counted_from_one() -> None:
    before: dict[str, JsonValue] = {
        "order": "first",
        "alpha": {"learning_rate": 0.006, "beta1": 0.5},
        "stages": [{"cells": 3, "epochs": 4}, {"cells": 4, "epochs": 4}],
        "sizes": [1, 2],
    }
    after: dict[str, JsonValue] = {
        "order": "second",
        "alpha": {"learning_rate": 0.003, "beta1": 0.5},
        "stages": [{"cells": 3, "epochs": 4}, {"cells": 4, "epochs": 9}, {"cells": 5}],
        "sizes": [1, 3],
    }
    assert setting_changes(before, after) == (
        change("alpha.learning_rate", [0.006], [0.003]),
        change("order", ["first"], ["second"]),
        change("sizes", [[1, 2]], [[1, 3]]),
        change("stages.2.epochs", [4], [9]),
        change("stages.3.cells", [], [5]),
    )
    assert setting_changes(before, before) == ()


def test_null_is_a_value_and_missing_is_none() -> None:
    (found,) = setting_changes({"crop": None}, {})
    assert found == change("crop", [None], [])
    assert found.to_json() == {"key": "crop", "before": None}
    assert setting_changes({}, {"crop": None})[0].to_json() == {"key": "crop", "after": None}


def test_true_is_not_one_and_empty_is_not_missing() -> None:
    assert setting_changes({"a": True, "b": 1}, {"a": 1, "b": 1.0}) == (
        change("a", [True], [1]),
        change("b", [1], [1.0]),
    )
    assert setting_changes({"a": {}, "b": []}, {}) == (
        change("a", [{}], []),
        change("b", [[]], []),
    )
