"""A short share of the sessions that `make fuzz` has with a hostile Hub, and what they notice."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.hub_sessions import Campaign
from tests.hub_server.fixture import start_hub
from tests.registry.stores.huggingface.hostile_hub import Request, Response
from wsdarts_registry.errors import WsdartsError

pytestmark = pytest.mark.processes

__all__ = ["start_hub"]  # keeps the client off the network, and off the user's token


@pytest.fixture
def campaign(start_hub: object, tmp_path: Path) -> Iterator[Campaign]:
    """A hostile hub with two artifacts."""
    campaign = Campaign(tmp_path)
    yield campaign
    campaign.close()


@pytest.mark.slow
def test_a_share_of_all_sessions(campaign: Campaign) -> None:
    for number in range(200):
        campaign.session(number, 7)
    assert [(number, what, repr(error)) for number, what, error in campaign.failures] == []
    # Sessions that all fail at once would test the first answer alone.
    assert campaign.read.total() > 30
    assert campaign.refused.total() > 50


@pytest.mark.parametrize("wrong", [KeyError("x"), WsdartsError("two\x1b[2Jlines")])
def test_what_is_no_line_of_ours_is_a_failure(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch, wrong: Exception
) -> None:
    def fail(store: object, made: Path) -> object:
        raise wrong

    monkeypatch.setattr(WsdartsError, "__str__", Exception.__str__)
    campaign.work = {"fail": fail}
    campaign.session(0, 1)
    assert len(campaign.failures) == 1


def test_a_file_outside_the_cache_is_a_failure(campaign: Campaign, tmp_path: Path) -> None:
    def write(store: object, made: Path) -> object:
        (tmp_path / "world" / "elsewhere" / "precious").write_text("yours")
        return None

    campaign.work = {"write": write}
    campaign.session(0, 1)
    ((_, _, problem),) = campaign.failures
    assert "outside the cache" in str(problem)


def test_the_same_seed_spoils_in_the_same_way(campaign: Campaign) -> None:
    def done(seed: int) -> list[str]:
        spoiler = campaign.spoiler(3, seed)
        for _ in range(50):
            spoiler(Request(method="GET", path="/x", token=None), Response(body=b"{}"))
        return spoiler.done

    assert done(1) == done(1)
    assert done(1) != done(2)
