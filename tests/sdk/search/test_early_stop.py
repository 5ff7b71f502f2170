"""The last stage ends when the derived genotype has been stable, and not before."""

from collections.abc import Callable

import pytest

from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.data.loader import TrainPart
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.runs.checkpoints import MemoryJournal
from wsdarts_sdk.search.loop import SearchResult, search
from wsdarts_sdk.search.settings import AlphaOptimiser, SearchSettings, StageSettings

Make = Callable[..., SearchSettings]
MakePart = Callable[..., TrainPart]
STILL = AlphaOptimiser(learning_rate=0.0, weight_decay=0.0)  # α never moves
STAGES = (
    StageSettings(cells=3, operations=5, epochs=3, weights_only_epochs=1),
    StageSettings(cells=3, operations=3, epochs=6, weights_only_epochs=2),
)


def epochs_of(result: SearchResult) -> list[int]:
    """Epochs that each stage took."""
    stages = [row["stage"] for row in result.rows]
    return [stages.count(stage) for stage in range(len(STAGES))]


# With two weights-only epochs, epoch 2 is the first that could change the genotype: it is
# unchanged since the epoch before. One epoch of stability ends the stage there, two one later.
@pytest.mark.parametrize(("stable", "expected"), [(None, 6), (1, 3), (2, 4), (9, 6)])
def test_the_last_stage_ends_when_nothing_changes(
    stable: int | None,
    expected: int,
    digits_task: ImageTask,
    make_settings: Make,
    make_part: MakePart,
) -> None:
    settings = make_settings(stages=STAGES, alpha=STILL, stable_epochs=stable, steps_per_epoch=1)
    result = search([make_part(digits_task, settings)], settings)
    assert epochs_of(result) == [3, expected]


def test_a_resumed_search_remembers_how_long(
    digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> None:
    settings = make_settings(stages=STAGES, alpha=STILL, stable_epochs=2, steps_per_epoch=1)
    journal = MemoryJournal()

    class Stop(Exception):  # noqa: N818
        pass

    def stop(what: str, _done: int, _total: int) -> None:
        if what.startswith("stage 2/2, epoch 4"):
            raise Stop

    with pytest.raises(Stop):
        search([make_part(digits_task, settings)], settings, journal=journal, progress=stop)
    result = search([make_part(digits_task, settings)], settings, journal=journal)
    assert epochs_of(result) == [3, 4]


def test_no_epochs_are_refused(make_settings: Make) -> None:
    with pytest.raises(SettingsError, match="stable_epochs is 0; "):
        make_settings(stable_epochs=0)
