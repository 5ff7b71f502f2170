"""What is fetched and sent, how often, and what is believed of it."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from tests.hub_server import ALICE, Exchange, Fault, HubServer
from tests.registry.factories import CARD, make_artifact, make_weights
from tests.registry.stores.huggingface.conftest import LOCATION, Make
from wsdarts_registry._files import cache_directory
from wsdarts_registry.artifact.difference import difference
from wsdarts_registry.artifact.reader import HEAVY, Artifact, read_artifact
from wsdarts_registry.artifact.writer import Edition
from wsdarts_registry.errors import ArtifactError, RegistryError
from wsdarts_registry.gallery.site import build_gallery
from wsdarts_registry.stores.huggingface import _transport
from wsdarts_registry.stores.huggingface.store import HubStore, pulled_path

pytestmark = pytest.mark.processes

OBJECTS = "models/acme/flowers/objects"


def _forget() -> None:
    shutil.rmtree(cache_directory(), ignore_errors=True)


def _fetches_of_weights(hub: HubServer, artifact: Artifact) -> list[Exchange]:
    files = artifact.manifest.files
    marks = {*HEAVY, *(files[name].sha256 for name in HEAVY)}
    return [e for e in hub.exchanges("GET") if any(mark in e.path for mark in marks)]


def test_a_pull_is_kept_and_verified_again(
    hub_server: HubServer, store: HubStore, make: Make
) -> None:
    digest = store.publish(make("first"), "flowers").digest
    artifact = store.pull("flowers")
    assert artifact.directory == pulled_path(digest) == cache_directory() / "artifacts" / digest[7:]
    shutil.rmtree(cache_directory() / "hub")
    hub_server.clear_exchanges()
    store.pull(f"flowers@{digest}")
    assert not hub_server.exchanges(path=OBJECTS)
    # A directory that was damaged is replaced.
    weights = artifact.directory / "weights.safetensors"
    weights.unlink()
    weights.write_bytes(b"other bytes")
    assert store.pull("flowers").weights() is not None
    assert [path.name for path in (cache_directory() / "artifacts").iterdir()] == [digest[7:]]


def test_looking_fetches_no_weights(hub_server: HubServer, store: HubStore, make: Make) -> None:
    digest = store.publish(make("first"), "flowers").digest
    hub_server.clear_exchanges()
    seen = store.pull_without_weights("flowers")
    whole = read_artifact(make("first"))
    assert (seen.digest, seen.genotype, seen.masks) == (digest, whole.genotype, whole.masks)
    assert seen.has_weights
    assert seen.card == CARD.decode()
    assert sorted(path.name for path in seen.directory.iterdir()) == [
        *("README.md", "artifact.json", "artifact.sha256", "embeddings", "genotype.json"),
        "op_masks.safetensors",
    ]
    assert not _fetches_of_weights(hub_server, whole)
    with pytest.raises(ArtifactError, match=r"cannot read .*weights"):
        seen.weights()
    # Again from the cache; what was added or damaged there is noticed.
    hub_server.clear_exchanges()
    assert store.pull_without_weights("flowers").directory == seen.directory
    assert not hub_server.exchanges(path=OBJECTS)
    (seen.directory / "weights.safetensors").write_bytes(b"put there by somebody")
    assert not (store.pull_without_weights("flowers").directory / "weights.safetensors").exists()
    # A pull is whole all the same, and then serves who only looks.
    assert store.pull("flowers").weights() is not None
    assert store.pull_without_weights("flowers").directory == pulled_path(digest)


def test_what_is_shown_of_a_registry_needs_no_weights(
    hub_server: HubServer, store: HubStore, make: Make, tmp_path: Path
) -> None:
    entry = store.publish(make("first"), "flowers")
    store.publish(make("second"), "flowers")
    hub_server.clear_exchanges()
    assert store.genotype(entry) == read_artifact(make("first")).genotype
    build_gallery(store, out=tmp_path / "site")
    assert (
        "artifact.json"
        not in difference(*map(store.pull_without_weights, ("flowers@1", "flowers@2"))).files
    )
    assert not _fetches_of_weights(hub_server, read_artifact(make("first")))
    store.pull("flowers")
    assert _fetches_of_weights(hub_server, read_artifact(make("second")))


def test_a_file_that_is_damaged_in_the_cache_is_fetched_again(store: HubStore, make: Make) -> None:
    digest = store.publish(make("first"), "flowers").digest
    store.pull("flowers")
    kept = list((cache_directory() / "hub" / "files").iterdir())
    assert len(kept) > 5
    for path in kept:
        content = path.read_bytes()
        path.unlink()  # linked elsewhere, so not written in place
        path.write_bytes(content[:-1] + b"?")
    shutil.rmtree(cache_directory() / "artifacts")
    assert store.pull("flowers").digest == digest


def test_files_of_another_size_are_not_fetched(
    hub_server: HubServer, store: HubStore, make: Make
) -> None:
    store.publish(make("first"), "flowers")
    api = HfApi(endpoint=hub_server.url, token=ALICE.token)
    for content in (b"x" * 100_000, (make("first") / "weights.safetensors").read_bytes()[::-1]):
        changed = [CommitOperationAdd("weights.safetensors", content)]
        commit = api.create_commit("acme/flowers", changed, commit_message="spoil").oid
        api.delete_tag("acme/flowers", tag="v1")
        api.create_tag("acme/flowers", tag="v1", revision=commit)
        _forget()
        hub_server.clear_exchanges()
        with pytest.raises(ArtifactError, match=r"weights\.safetensors of acme/flowers"):
            store.pull("flowers")
        assert not hub_server.exchanges("GET", "objects")


def test_a_tag_that_was_moved_is_found_out(
    hub_server: HubServer, store: HubStore, make: Make
) -> None:
    first = store.publish(make("first"), "flowers")
    second = store.publish(make("second"), "flowers")
    api = HfApi(endpoint=hub_server.url, token=ALICE.token)
    tags = {tag.name: tag.target_commit for tag in api.list_repo_refs("acme/flowers").tags}
    api.delete_tag("acme/flowers", tag="v1")
    api.create_tag("acme/flowers", tag="v1", revision=tags["v2"])
    with pytest.raises(ArtifactError, match=f"{second.digest}.*{first.digest}"):
        store.pull("flowers@1")
    assert store.pull("flowers@2").digest == second.digest


def test_an_interrupted_pull_goes_on(
    hub_server: HubServer, store: HubStore, make: Make, impatient: None
) -> None:
    store.publish(make("first"), "flowers")
    _forget()
    record = next(entry.manifest.files["weights.safetensors"].sha256 for entry in store.entries())
    hub_server.add_fault(Fault(kind="refuse", path=record, times=None, status=500))
    with pytest.raises(RegistryError, match=r"answers 500.*acme/flowers"):
        store.pull("flowers")
    hub_server.clear_faults()
    hub_server.clear_exchanges()
    store.pull("flowers")
    assert [e.path.split("/")[-1] for e in hub_server.exchanges("GET", OBJECTS)] == [record]


def test_an_interrupted_push_goes_on(hub_server: HubServer, store: HubStore, make: Make) -> None:
    hub_server.add_fault(Fault(kind="refuse", path="flowers/commit", status=403))
    with pytest.raises(RegistryError, match="may not write"):
        store.publish(make("first"), "flowers")
    assert hub_server.exchanges("PUT", OBJECTS)
    hub_server.clear_exchanges()
    assert store.publish(make("first"), "flowers").version == 1
    assert not hub_server.exchanges("PUT", OBJECTS)


def test_several_pull_the_same_at_once(hub_server: HubServer, store: HubStore, make: Make) -> None:
    digest = store.publish(make("first"), "flowers").digest
    _forget()
    code = (
        "from wsdarts_registry.stores.huggingface.store import HubStore; import sys;"
        f"print(HubStore({LOCATION!r}, endpoint=sys.argv[1]).pull('flowers').digest)"
    )
    command = [sys.executable, "-W", "error", "-c", code, hub_server.url]
    others = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: store.pull("flowers").digest, range(4)))
    found += [other.communicate(timeout=600)[0].strip() for other in others]
    assert found == [digest] * 6
    assert [path.name for path in (cache_directory() / "artifacts").iterdir()] == [digest[7:]]


@pytest.mark.usefixtures("impatient")
def test_a_hub_that_says_nothing_is_given_up(
    hub_server: HubServer, store: HubStore, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish(make("first"), "flowers")
    monkeypatch.setattr(_transport, "TIMEOUT", 0.2)
    hub_server.add_fault(Fault(kind="hang", path="flowers/refs", seconds=1.0, times=None))
    with pytest.raises(RegistryError, match="ReadTimeout"):
        store.resolve("flowers")


def test_large_files_are_sent_from_where_they_are(store: HubStore, tmp_path: Path) -> None:
    notes = b"# Notes\n" + b"n" * 2**20
    make_artifact(tmp_path / "large", files={"README.md": CARD, "notes.md": notes})
    store.publish(tmp_path / "large", "flowers")
    assert store.pull("flowers").read("notes.md") == notes


def test_a_large_file_that_changes_while_it_is_pushed_does_not_become_a_version(
    store: HubStore, tmp_path: Path, impatient: None
) -> None:
    directory = tmp_path / "large"
    weights = {**make_weights(), "noise": np.zeros(2**19, dtype=np.float32)}
    make_artifact(directory, weights=weights)
    edition = Edition.of(directory)
    path = directory / "weights.safetensors"
    for content in (path.read_bytes()[:-1] + b"?", b"short"):
        path.write_bytes(content)
        with pytest.raises((ArtifactError, RegistryError)):
            store.publish(edition, "flowers")
        assert store.versions("flowers") == ()
