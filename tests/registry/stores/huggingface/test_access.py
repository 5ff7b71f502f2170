"""Who may do what, what is said to those who may not, and what is never said."""

import logging
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, constants

from tests.hub_server import ALICE, ALICE_READS, BOB, Fault, HubServer
from tests.registry.factories import CARD, make_artifact
from tests.registry.stores.huggingface.conftest import LOCATION, Make
from wsdarts_registry.errors import (
    ArtifactError,
    ReferenceNotFoundError,
    RegistryError,
    RegistryWarning,
)
from wsdarts_registry.stores.huggingface._errors import redact
from wsdarts_registry.stores.huggingface.store import HubStore

pytestmark = pytest.mark.processes

As = Callable[[str | None], HubStore]


@pytest.fixture
def published(store: HubStore, make: Make) -> HubStore:
    """A registry with one artifact."""
    store.publish(make("first"), "flowers")
    return store


@pytest.fixture
def seen_by(hub_server: HubServer, monkeypatch: pytest.MonkeyPatch) -> As:
    """The registry as somebody with a token, or with none, sees it."""

    def open_as(token: str | None) -> HubStore:
        monkeypatch.delenv("HF_TOKEN", raising=False)
        if token is not None:
            monkeypatch.setenv("HF_TOKEN", token)
        return HubStore(LOCATION, endpoint=hub_server.url)

    return open_as


def test_everybody_reads_what_is_public(published: HubStore, seen_by: As) -> None:
    stranger = seen_by(None)
    assert stranger.pull("flowers").digest == published.entries()[0].digest
    assert stranger.names() == ("flowers",)


def test_those_who_may_not_write(published: HubStore, seen_by: As, make: Make) -> None:
    for token, message in (
        (BOB.token, "may not write.*write to acme"),
        (ALICE_READS.token, "may not write.*a read token"),
        (None, "may not write"),
        ("hf_nobodyknowsthis", "may not"),
    ):
        with pytest.raises(RegistryError, match=message) as caught:
            seen_by(token).publish(make("second"), "flowers")
        assert "acme/flowers" in caught.value.what
        assert "`hf auth login`" in caught.value.hint
    with pytest.raises(RegistryError, match="create acme/birds"):
        seen_by(BOB.token).publish(make("second"), "birds")


def test_private_artifacts(hub_server: HubServer, published: HubStore, seen_by: As) -> None:
    HfApi(endpoint=hub_server.url, token=ALICE.token).update_repo_settings(
        "acme/flowers", private=True
    )
    assert seen_by(ALICE_READS.token).pull("flowers").manifest.description == "first"
    for token in (BOB.token, None):
        with (
            pytest.warns(RegistryWarning, match=r"flowers@1 is gone.*`hf auth login`"),
            pytest.raises(ReferenceNotFoundError, match=r"flowers.*`hf auth login`"),
        ):
            seen_by(token).pull("flowers@1")


def test_gated_artifacts(
    hub_server: HubServer, published: HubStore, seen_by: As, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = HfApi(endpoint=hub_server.url, token=ALICE.token)
    api.update_repo_settings("acme/flowers", gated="manual")
    address = f"{hub_server.url}/acme/flowers"
    for token in (BOB.token, None):
        with pytest.raises(RegistryError, match="is gated") as caught:
            seen_by(token).pull("flowers")
        assert address in caught.value.hint
    # The client's own grant_access asks the official host, whatever the endpoint (1.31).
    with monkeypatch.context() as context:
        context.setattr(constants, "ENDPOINT", hub_server.url)
        api.grant_access("acme/flowers", BOB.name)
    assert seen_by(BOB.token).pull("flowers").manifest.description == "first"


def test_somebody_elses_model_is_left_alone(
    hub_server: HubServer, store: HubStore, make: Make
) -> None:
    api = HfApi(endpoint=hub_server.url, token=ALICE.token)
    api.create_repo("acme/flowers")
    weights = [CommitOperationAdd("model.safetensors", b"their weights")]
    commit = api.create_commit("acme/flowers", weights, commit_message="theirs").oid
    with pytest.raises(RegistryError, match=r"acme/flowers .*model\.safetensors"):
        store.publish(make("first"), "flowers")
    assert api.model_info("acme/flowers").sha == commit
    with pytest.raises(ReferenceNotFoundError, match="no artifact named flowers"):
        store.pull("flowers")


@pytest.mark.parametrize("path", ["registry.json", "signatures/v1.json"])
def test_artifacts_that_cannot_be_on_the_hub(store: HubStore, tmp_path: Path, path: str) -> None:
    make_artifact(tmp_path / "taken", files={"README.md": CARD, path: b"{}\n"})
    with pytest.raises(ArtifactError, match=f"has a file {path}"):
        store.publish(tmp_path / "taken", "flowers")
    make_artifact(tmp_path / "lost", files={"README.md": b"# A card\n"})
    with pytest.raises(ArtifactError, match="`library_name: wsdarts-hub`"):
        store.publish(tmp_path / "lost", "flowers")


@pytest.mark.usefixtures("hub_server", "impatient")
def test_a_hub_that_cannot_be_reached(make: Make) -> None:
    lost = HubStore(LOCATION, endpoint="http://127.0.0.1:9")
    message = r"read acme/flowers .*:9.*\(ConnectError"
    with pytest.raises(RegistryError, match=message):
        lost.pull("flowers")
    with pytest.raises(RegistryError, match=message):
        lost.publish(make("first"), "flowers")
    with pytest.raises(RegistryError, match=r"HF_HUB_OFFLINE=1"):
        lost.entries()


def test_a_hub_that_asks_to_wait(
    hub_server: HubServer, published: HubStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    refused = {"kind": "refuse", "path": "api/models/acme/flowers$", "status": 429}
    hub_server.add_fault(Fault(**refused, retry_after=7))  # type: ignore[arg-type]
    assert published.resolve("flowers").version == 1
    assert max(slept) == 7.0
    hub_server.add_fault(Fault(**refused, retry_after=900, times=None))  # type: ignore[arg-type]
    with pytest.raises(RegistryError, match="answers 429") as caught:
        published.resolve("flowers")
    assert "900 s" in caught.value.hint
    assert max(slept) == 7.0


def test_what_a_server_says_is_made_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret-of-another-form")
    said = (
        "see https://x.example/put?X-Amz-Signature=abc and hf_abcdefgh, Authorization: Bearer "
        "eyJhbGciOi, secret-of-another-form\n\x1b[2J"
    )
    text = redact(said)
    for secret in ("Signature", "hf_abcdefgh", "eyJhbGciOi", "secret-of", "\n", "\x1b"):
        assert secret not in text


def test_no_token_is_ever_said(
    hub_server: HubServer,
    published: HubStore,
    seen_by: As,
    make: Make,
    impatient: None,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    said = []
    for token in (ALICE.token, BOB.token, ALICE_READS.token, "hf_nobodyknowsthis"):
        store = seen_by(token)
        for kind in ("refuse", "lose_answer", "close_response"):
            hub_server.add_fault(Fault(kind=kind, first=3, times=None))  # type: ignore[arg-type]
            for work in (
                lambda store=store: store.publish(make("second"), "flowers"),
                lambda store=store: store.pull("flowers"),
                lambda store=store: store.yank("flowers@1", "x"),
            ):
                with pytest.raises(RegistryError) as caught:
                    work()
                said.append("".join(traceback.format_exception(caught.value)))
            hub_server.clear_faults()
    said += [record.getMessage() for record in caplog.records]
    said += capfd.readouterr()
    text = "\n".join(said)
    assert len(text) > 10_000
    assert not any(e.with_token for e in hub_server.exchanges() if e.server == "storage")
    for token in (ALICE.token, BOB.token, ALICE_READS.token, "hf_nobodyknowsthis"):
        assert token not in text
