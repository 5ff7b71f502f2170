"""Several tasks at once: their order, what they share, and what is each one's own."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.data.loader import TrainPart
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.runs.checkpoints import Checkpoint, MemoryJournal
from wsdarts_sdk.search.loop import Search, search
from wsdarts_sdk.search.settings import SearchSettings

Make = Callable[..., SearchSettings]
MakePart = Callable[..., TrainPart]
Tensors = dict[str, Tensor]


class EveryStep(MemoryJournal):
    """A journal that asks for a checkpoint after each step and keeps all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[list[int], Tensors]] = []

    def due(self) -> bool:
        """Always."""
        return True

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keep this one, too."""
        super().checkpoint(checkpoint)
        last = self.restore()
        assert last is not None
        self.kept.append((last.facts["position"], last.tensors))


@pytest.fixture
def parts(
    digits_task: ImageTask, fewer_digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> list[TrainPart]:
    """The larger task has head 0 and three classes, the smaller one head 1 and two."""
    settings = make_settings(batch_size=4)
    return [make_part(digits_task, settings), make_part(fewer_digits_task, settings, head=1)]


def one_stage(make_settings: Make, **changes: object) -> SearchSettings:
    settings = make_settings(batch_size=4, **changes)
    return replace(settings, stages=settings.stages[:1])


def changed(before: Tensors, after: Tensors, prefix: str) -> bool:
    """Whether anything below that name has changed by a single bit."""
    names = [name for name in after if name.startswith(prefix)]
    assert names
    return any(name not in before or not torch.equal(before[name], after[name]) for name in names)


def test_tasks_go_from_the_smallest_to_the_largest(
    parts: list[TrainPart], make_settings: Make
) -> None:
    assert len(parts[0].weights) > len(parts[1].weights)
    for given in (parts, parts[::-1]):
        found = Search(given, one_stage(make_settings))
        assert [part.head for part in found.tasks] == [1, 0]
        assert found.classes == [3, 2]  # by head


def test_of_equally_large_tasks_the_earlier_head_goes_first(
    digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> None:
    settings = one_stage(make_settings)
    named = [replace(digits_task, name=name) for name in ("a", "b")]
    twins = [make_part(task, settings, head) for task, head in zip(named, (1, 0), strict=True)]
    assert [part.head for part in Search(twins, settings).tasks] == [0, 1]


def test_each_step_moves_what_is_shared_and_its_own_head(
    parts: list[TrainPart], make_settings: Make
) -> None:
    journal, settings = EveryStep(), one_stage(make_settings)
    search(parts, settings, journal=journal)
    small, large = (part.steps(None) for part in (parts[1], parts[0]))
    assert (small, large) == (2, 5)
    steps = {tuple(position): tensors for position, tensors in journal.kept}
    # Epoch 1 trains weights and α, with momentum from epoch 0 in every buffer.
    for step in range(1, small + large):
        before, after = steps[0, 1, step - 1], steps[0, 1, step]
        head = 1 if step <= small else 0  # the smaller task's, then the larger's
        for name in ("net.stem.", "net.cells.0.", "net.cells.2.", "net.alpha.normal"):
            assert changed(before, after, name), (step, name)
        for prefix in ("net.heads.{}.", "optimiser.momentum_buffer.heads.{}."):
            assert changed(before, after, prefix.format(head)), step
            # Neither gradient nor weight decay nor momentum moves another task's head.
            assert not changed(before, after, prefix.format(1 - head)), step


def test_alpha_steps_use_the_tasks_own_head(parts: list[TrainPart], make_settings: Make) -> None:
    # With labels of three classes the two-class head would be an error: so both heads serve.
    result = search(parts, one_stage(make_settings, order="second"))
    assert len(result.rows) == 2
    assert result.rows[0]["steps"] == 7
    assert all(row["weights_accuracy"] is not None for row in result.rows)


def test_both_tasks_shape_the_result(parts: list[TrainPart], make_settings: Make) -> None:
    settings = one_stage(make_settings)
    both = search(parts, settings)
    alone = search([parts[0]], settings)
    other = search([replace(parts[1], head=0)], settings)
    for single in (alone, other):
        assert not np.array_equal(both.alpha["normal"], single.alpha["normal"])
    assert set(both.weights) == set(alone.weights)  # no head is handed on


def test_the_order_of_the_arguments_does_not_matter(
    parts: list[TrainPart], make_settings: Make
) -> None:
    settings = one_stage(make_settings)
    found, turned = (search(given, settings) for given in (parts, parts[::-1]))
    assert all(np.array_equal(found.alpha[kind], turned.alpha[kind]) for kind in found.alpha)


@pytest.mark.parametrize("heads", [[0, 0], [1, 2], []])
def test_heads_that_do_not_fit_are_refused(
    heads: list[int], digits_task: ImageTask, make_settings: Make, make_part: MakePart
) -> None:
    settings = one_stage(make_settings)
    given = [make_part(digits_task, settings, head) for head in heads]
    with pytest.raises(SettingsError, match="0, 1, … each once") as caught:
        Search(given, settings)
    assert caught.value.found == str(sorted(heads))
