"""Several processes: their shares of a batch, their exchange, and how they end."""

import os
import time

import pytest
import torch

from reference.in_ranks import in_ranks, start
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.distributed import ALONE, Ranks, device_of_rank, joined_ranks

pytestmark = pytest.mark.processes


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("images", [2, 3, 5, 8, 9, 96, 97])
def test_shares_cover_a_batch_and_leave_no_rank_a_single_image(size: int, images: int) -> None:
    shares = [Ranks(rank=rank, size=size).share_of(images) for rank in range(size)]
    covered = [image for share in shares for image in range(share.start, share.stop)]
    assert covered == list(range(images))
    assert all(len(share) != 1 for share in shares)
    busy = [len(share) for share in shares if len(share)]
    assert max(busy) - min(busy) <= 1
    assert len(busy) == max(min(size, images // 2), 1)


def test_the_only_rank_exchanges_nothing() -> None:
    tensor = torch.ones(2)
    assert ALONE.add_up(tensor) is tensor
    assert ALONE.alone(lambda: 3) == ALONE.in_turn(lambda: 3) == ALONE.from_first(3) == 3
    with joined_ranks("cpu") as (ranks, device):
        assert ranks is ALONE
        assert device.type == "cpu"


def exchange(ranks: Ranks) -> list[object]:
    """Use everything that ranks exchange by; rank 1 is slow."""
    if ranks.rank == 1:
        time.sleep(1.5)
    order: list[int] = ranks.alone(lambda: [ranks.rank])
    sums = ranks.add_up_all([torch.tensor([1.0 + ranks.rank]), torch.ones(2, 2)])
    ranks.check_equal("a digest", "same")
    turn = ranks.in_turn(lambda: ranks.rank)
    return [order, [each.tolist() for each in sums], ranks.largest(ranks.rank), turn]


def test_a_slow_rank_is_waited_for() -> None:
    first, second = in_ranks(2, exchange)
    assert first == [[0], [[3.0], [[2.0, 2.0], [2.0, 2.0]]], 1, 0]
    assert second == [*first[:3], 1]


def refuse(ranks: Ranks, bad: int) -> None:
    """Fail on one rank while the others exchange, or on all of them."""
    if bad in (ranks.rank, -1):
        raise SettingsError("a bad setting")
    ranks.alone(lambda: time.sleep(0.1))
    ranks.add_up(torch.ones(3))


@pytest.mark.parametrize("bad", [0, 1, -1])
def test_an_error_on_any_rank_ends_all_and_is_told_once(bad: int) -> None:
    _, failures = start(2, refuse, bad)
    told = sorted(str(failure).splitlines()[0] for failure in failures)
    assert told == ["ReportedElsewhere: 1", "SettingsError: a bad setting"]


def differ(ranks: Ranks) -> None:
    """Compare what differs."""
    ranks.check_equal("a digest", "01"[ranks.rank])


def test_a_difference_is_told_once() -> None:
    _, failures = start(2, differ)
    told = sorted(str(failure).splitlines()[0] for failure in failures)
    assert told[0] == "ReportedElsewhere: 1"
    assert told[1].startswith("RunError: a digest")


def vanish(ranks: Ranks) -> None:
    """End rank 1 without a word while rank 0 exchanges."""
    if ranks.rank == 1:
        os._exit(9)
    ranks.add_up(torch.ones(3))


def test_a_rank_that_vanishes_is_told() -> None:
    _, failures = start(2, vanish)
    assert str(failures[0]).startswith("RunError: rank 0 lost the other ranks")


def test_a_gpu_by_number_is_refused_for_several() -> None:
    ranks = Ranks(rank=1, size=2)
    with pytest.raises(SettingsError, match="device of several ranks"):
        device_of_rank(ranks, "cuda:0")
