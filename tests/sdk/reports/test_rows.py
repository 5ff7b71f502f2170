"""Rows that the reports of searches and trainings share."""

from wsdarts_hub.cli.shared.options import preset_with
from wsdarts_sdk.presets import TINY
from wsdarts_sdk.reports.rows import epoch_seconds, pairs
from wsdarts_sdk.search.settings import settings_json


def test_settings_are_named_and_written_as_set_takes_them() -> None:
    rows = dict(pairs(settings_json(TINY.search)))
    assert rows["stages.1.operations"] == "8"
    assert rows["stages.3.operations"] == "3"
    assert "stages.0.operations" not in rows
    assert (rows["crop_padding"], rows["flip"]) == ("none", "true")
    assert rows["space.candidates"].startswith("none, max_pool_3x3, ")
    typed = [f"search.{name}={value}" for name, value in rows.items()]
    assert preset_with("tiny", typed) == TINY


def test_seconds_of_each_epoch() -> None:
    # Rows hold the seconds of their stage so far: 3 - 1 = 2, then 5 from 0 again, not 5 - 3.
    stages = [{"stage": s, "seconds": t} for s, t in ((0, 1.0), (0, 3.0), (1, 5.0), (1, 6.0))]
    assert epoch_seconds(stages) == [1.0, 2.0, 5.0, 1.0]
    assert epoch_seconds([{"seconds": 2.0}, {"seconds": 5.0}]) == [2.0, 3.0]  # a training
    assert epoch_seconds([]) == []
