"""A training with too little memory: an error that says what helps, and evaluation by fewer."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.error_fields import assert_fields
from wsdarts_registry._memory import shortage
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.models.network import DerivedNetwork
from wsdarts_sdk.models.settings import TrainingSettings
from wsdarts_sdk.models.training import Training, train_network
from wsdarts_sdk.progress import silent
from wsdarts_sdk.runs.checkpoints import FileJournal, MemoryJournal

SMALL = TrainingSettings(
    cells=3, channels=4, image_size=8, epochs=4, batch_size=8, cutout=2, drop_path=0.2
)


def torch_without_memory() -> None:
    torch.empty(2**60)


def kernels_without_memory() -> None:
    raise MemoryError


def fail_in_step(number: int, fail: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a step of a training fail, counted from 1."""
    forward, steps = Training._forward, []

    def run(*arguments: Any) -> Any:
        steps.append(None)
        if len(steps) == number:
            fail()
        return forward(*arguments)

    monkeypatch.setattr(Training, "_forward", run)


@pytest.mark.parametrize("fail", [torch_without_memory, kernels_without_memory])
@pytest.mark.parametrize("part", ["training", "selection"])
def test_a_step_without_memory(
    part: str,
    fail: Callable[[], None],
    genotype: Genotype,
    digits_task: ImageTask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fail_in_step(2, fail, monkeypatch)
    with pytest.raises(SettingsError) as caught:
        train_network(genotype, digits_task, SMALL, selection=part == "selection")
    what = ("8 images", "8 pixels")
    assert_fields(caught.value, what=what, hint=(f"{part}.batch_size=N", "--resume"))


def test_another_fault_of_a_step_stays_what_it_is(
    genotype: Genotype, digits_task: ImageTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError("size mismatch")

    fail_in_step(1, fail, monkeypatch)
    with pytest.raises(RuntimeError, match="size mismatch"):
        train_network(genotype, digits_task, SMALL)


def test_with_memory_it_goes_on_to_the_same_bits(
    genotype: Genotype, digits_task: ImageTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train_network(genotype, digits_task, SMALL)
    journal = FileJournal(tmp_path, "training", interval=0)
    with monkeypatch.context() as patched:
        fail_in_step(2 * (39 // 8) + 2, torch_without_memory, patched)
        with pytest.raises(SettingsError):
            train_network(genotype, digits_task, SMALL, journal=journal)
    assert len(journal.rows()) == 2
    found = train_network(genotype, digits_task, SMALL, journal=journal)
    assert torch.equal(found.logits, expected.logits)
    assert len(found.rows) == 4


@pytest.mark.parametrize("most", [1, 5])
def test_images_are_evaluated_a_few_at_a_time_where_all_do_not_fit(
    most: int, genotype: Genotype, digits_task: ImageTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(SMALL, epochs=1)
    expected = train_network(genotype, digits_task, settings)
    training = Training(genotype, digits_task, settings, selection=False, device=None)
    forward = DerivedNetwork.forward

    def limited(self: DerivedNetwork, x_BCHW: Tensor) -> Tensor:
        if len(x_BCHW) > most:
            torch_without_memory()
        assert not training.engine._programs  # the memory of a step has been given back
        return forward(self, x_BCHW)

    monkeypatch.setattr(DerivedNetwork, "forward", limited)
    found = training.run(MemoryJournal(), silent)
    torch.testing.assert_close(found.logits, expected.logits)
    assert found.accuracy == expected.accuracy


def test_an_image_that_does_not_fit_is_not_evaluated(
    genotype: Genotype, digits_task: ImageTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DerivedNetwork, "forward", lambda *_: torch_without_memory())
    with pytest.raises(RuntimeError) as caught:
        train_network(genotype, digits_task, replace(SMALL, epochs=1))
    assert shortage(caught.value) is not None
