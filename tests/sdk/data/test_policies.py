"""torchvision's augmentation: a function of the batch's own draws, without a trace elsewhere."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from wsdarts_sdk.data.augmentation import (
    Augmentation,
    Mixing,
    Policy,
    apply_policy,
    draw_seed,
    seeded,
)

POLICIES: tuple[Policy, ...] = ("randaugment", "trivialaugment")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 12, 12, 3), generator=generator(1), dtype=torch.uint8)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_is_a_function_of_the_seed_alone(policy: Policy) -> None:
    images = pictures(6)
    found = apply_policy(images, policy, 5)
    torch.manual_seed(77)
    before = torch.get_rng_state()
    assert torch.equal(apply_policy(images, policy, 5), found)
    assert torch.equal(torch.get_rng_state(), before)  # of the program around it
    assert not torch.equal(apply_policy(images, policy, 6), found)
    assert (found.shape, found.dtype) == (images.shape, torch.uint8)


@pytest.mark.parametrize("policy", POLICIES)
def test_each_image_is_changed_in_its_own_way(policy: Policy) -> None:
    same = pictures(1).expand(16, -1, -1, -1)
    assert len({image.numpy().tobytes() for image in apply_policy(same, policy, 0)}) > 3


def test_an_augmentation_without_policy_draws_what_it_drew() -> None:
    mean, std = torch.zeros(3), torch.ones(3)
    plain = Augmentation(mean=mean, std=std, padding=2, flip=True, cutout=3)
    images = torch.arange(6)
    drawn = plain.draw(images, 12, generator(3))
    other = replace(plain, policy="randaugment").draw(images, 12, generator(3))
    assert torch.equal(drawn.table, other.table)
    assert drawn.seed is None
    assert other.seed is not None
    assert not torch.equal(
        plain.apply(pictures(6), drawn),
        replace(plain, policy="randaugment").apply(pictures(6), other),
    )


def test_the_state_is_put_back_after_an_error() -> None:
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded(1):
        _draw_and_fail()
    assert torch.equal(torch.get_rng_state(), before)


def _draw_and_fail() -> None:
    torch.rand(3)
    raise ZeroDivisionError


def mixed(mixup: float, cutmix: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    images = torch.arange(4.0)[:, None, None, None].expand(4, 3, 8, 8).contiguous()
    mixing = Mixing(mixup=mixup, cutmix=cutmix, classes=4)
    found: tuple[Tensor, Tensor] = mixing(images, torch.arange(4), generator(seed))
    return found


def test_without_mixing_nothing_changes_and_nothing_is_drawn() -> None:
    draws = generator(0)
    images, labels = torch.rand(2, 3, 4, 4), torch.tensor([1, 0])
    found = Mixing(mixup=0.0, cutmix=0.0, classes=2)(images, labels, draws)
    assert found[0] is images
    assert found[1] is labels
    assert draw_seed(draws) == draw_seed(generator(0))


def test_mixup_mixes_images_and_targets_by_the_same_share() -> None:
    images, targets = mixed(1.0, 0.0)
    # Image i holds λ·i + (1 − λ)·(i − 1), of classes i and i − 1.
    share = float(targets[2, 2])
    assert 0 < share < 1
    assert targets[2].tolist() == pytest.approx([0, 1 - share, share, 0])
    assert images[2].unique().tolist() == pytest.approx([share * 2 + (1 - share) * 1])


def test_cutmix_targets_are_the_shares_of_the_pixels() -> None:
    for seed in range(20):
        images, targets = mixed(0.0, 1.0, seed)
        own = (images[2] == 2).double().mean()
        assert float(targets[2, 2]) == pytest.approx(float(own))


def test_of_both_a_coin_decides() -> None:
    whole = [bool((mixed(1.0, 1.0, seed)[0] % 1 == 0).all()) for seed in range(40)]
    assert 8 < sum(whole) < 32  # whole numbers are CutMix's


def test_mixing_keeps_the_memory_format() -> None:
    images = torch.rand(4, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    found, _ = Mixing(mixup=1.0, cutmix=0.0, classes=2)(images, torch.arange(4) % 2, generator(0))
    assert found.is_contiguous(memory_format=torch.channels_last)
