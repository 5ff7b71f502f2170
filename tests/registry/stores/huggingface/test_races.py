"""Several who push at once, and one who is killed."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.hub_server import Fault, HubServer
from tests.registry.factories import make_artifact
from tests.registry.stores.huggingface.conftest import Make
from tests.registry.stores.huggingface.index_files import read_index
from tests.registry.stores.huggingface.pushing import start
from wsdarts_registry.errors import RegistryError, VersionConflictError
from wsdarts_registry.stores.huggingface.store import HubStore

# The index is behind where a push did not come to its end, and says so.
pytestmark = [
    pytest.mark.processes,
    pytest.mark.filterwarnings("ignore::wsdarts_registry.errors.RegistryWarning"),
]


def test_two_pushers_of_one_version(
    hub_server: HubServer, store: HubStore, make: Make, tmp_path: Path
) -> None:
    pairs = [("flowers", make("first")), ("flowers", make("second"))]
    gate = tmp_path / "gate"
    pushers = [start(hub_server.url, gate, [pair], version=1) for pair in pairs]
    for pusher in pushers:
        assert pusher.stdout is not None
        assert pusher.stdout.readline() == "ready\n"
    gate.touch()
    said = [pusher.communicate(timeout=600)[0].strip() for pusher in pushers]
    won = [line for line in said if line.startswith("won")]
    lost = [line for line in said if line.startswith("lost")]
    assert len(won) == len(lost) == 1
    digest = won[0].split()[2]
    assert f"flowers@1 exists with digest {digest}" in lost[0]
    assert [(str(e.reference), e.digest) for e in store.entries()] == [("flowers@1", digest)]
    assert store.pull("flowers@1").digest == digest


def test_the_same_content_is_published_once_by_all_who_push_it_at_once(
    hub_server: HubServer, store: HubStore, make: Make, tmp_path: Path
) -> None:
    for word in ("before", "same", "other"):
        make(word)
    store.publish(make("before"), "flowers")
    gate = tmp_path / "gate"
    words = ["same", "same", "other", "same", "same", "other"]
    pushers = [start(hub_server.url, gate, [("flowers", make(word))]) for word in words]
    for pusher in pushers:
        assert pusher.stdout is not None
        assert pusher.stdout.readline() == "ready\n"
    gate.touch()
    said = [pusher.communicate(timeout=600)[0].split() for pusher in pushers]
    assert [line[0] for line in said] == ["won"] * len(words)
    # Each content has one version, which all its pushers were told.
    versions = {
        word: {line[1] for w, line in zip(words, said, strict=True) if w == word} for word in words
    }
    assert sorted(len(found) for found in versions.values()) == [1, 1]
    assert [e.version for e in store.entries()] == [1, 2, 3]
    assert len({e.digest for e in store.entries()}) == 3


def test_a_push_that_finds_all_its_files_on_main(
    hub_server: HubServer, store: HubStore, make: Make
) -> None:
    # Another one commits the same content between the slow one's look and its commit. The client
    # of the Hub then makes no commit, and returns the newest one: here that of a third push.
    store.publish(make("before"), "flowers")
    preupload, newest = "flowers/preupload/", "flowers/revision/"
    for path in (preupload, newest):
        hub_server.add_fault(Fault(kind="hold", path=path))
    slow = HubStore(store.location, endpoint=hub_server.url)
    with ThreadPoolExecutor(1) as pool:
        pushed = pool.submit(slow.publish, make("same"), "flowers")
        hub_server.wait_for_held(preupload)
        assert store.publish(make("same"), "flowers").version == 2
        hub_server.release(preupload)
        hub_server.wait_for_held(newest)
        assert store.publish(make("other"), "flowers").version == 3
        hub_server.release(newest)
        assert pushed.result().version == 2
    assert [e.version for e in store.entries()] == [1, 2, 3]
    assert len({e.digest for e in store.entries()}) == 3


def test_a_push_that_saw_another_before_its_tag(
    hub_server: HubServer, store: HubStore, make: Make
) -> None:
    # The slow one finishes version 2 and sees version 3 committed, but not tagged yet; the third
    # one has updated the index before it does.
    store.publish(make("first"), "flowers")
    hub_server.add_fault(Fault(kind="refuse", status=403, path="/tag/", times=None))
    with pytest.raises(RegistryError):
        store.publish(make("second"), "flowers")
    hub_server.clear_faults()
    second, third, index = "flowers/tag/", "acme/flowers/tag/", "datasets/acme/wsdarts-registry"
    hub_server.add_fault(Fault(kind="hold", path=second))
    hub_server.add_fault(Fault(kind="hold", path=third, first=3))
    hub_server.add_fault(Fault(kind="hold", path=index))
    slow = HubStore(store.location, endpoint=hub_server.url)
    with ThreadPoolExecutor(2) as pool:
        finished = pool.submit(slow.publish, make("second"), "flowers")
        hub_server.wait_for_held(second)
        pushed = pool.submit(store.publish, make("third"), "flowers")
        while len(hub_server.exchanges("POST", third)) < 5:  # the last is the third version's
            time.sleep(0.002)
        hub_server.release(second)
        hub_server.wait_for_held(index)
        hub_server.release(third)
        assert pushed.result().version == 3
        hub_server.release(index)
        assert finished.result().version == 2
    assert [e.version for e in store.entries()] == [1, 2, 3]


@pytest.mark.parametrize("kind", ["lose_answer", "close_response", "refuse"])
@pytest.mark.parametrize("path", ["flowers/commit", "flowers/tag/", "flowers/refs"])
def test_the_same_content_is_published_once_though_a_push_is_disturbed(
    hub_server: HubServer, store: HubStore, make: Make, impatient: None, kind: str, path: str
) -> None:
    # Two push one content and a third another, and the first meets trouble at one of its steps.
    store.publish(make("before"), "flowers")
    same, other = make("same"), make("other")
    hub_server.add_fault(Fault(kind=kind, path=path, status=503))  # type: ignore[arg-type]
    sources = [same, other, same, same]
    with ThreadPoolExecutor(len(sources)) as pool:
        stores = [HubStore(store.location, endpoint=hub_server.url) for _ in sources]
        found = list(
            pool.map(
                lambda pair: pair[0].publish(pair[1], "flowers"), zip(stores, sources, strict=True)
            )
        )
    assert len({entry.version for entry in found}) == 2
    assert [e.version for e in store.entries()] == [1, 2, 3]
    assert len({e.digest for e in store.entries()}) == 3


def test_a_pusher_that_is_overtaken_takes_the_next_number(
    hub_server: HubServer, store: HubStore, make: Make, tmp_path: Path
) -> None:
    store.publish(make("first"), "flowers")
    hub_server.add_fault(Fault(kind="hold", path="flowers/commit"))
    gate = tmp_path / "gate"
    gate.touch()
    slow = start(hub_server.url, gate, [("flowers", make("slow"))])
    hub_server.wait_for_held("flowers/commit")
    quick = store.publish(make("quick"), "flowers")
    assert quick.version == 2
    hub_server.release("flowers/commit")
    assert "won flowers@3 " in slow.communicate(timeout=600)[0]
    assert [e.version for e in store.entries()] == [1, 2, 3]


def test_a_version_whose_push_ended_before_its_tag_is_finished_by_the_next(
    hub_server: HubServer, store: HubStore, make: Make
) -> None:
    first = store.publish(make("first"), "flowers")
    hub_server.add_fault(Fault(kind="refuse", status=403, path="/tag/", times=None))
    with pytest.raises(RegistryError, match="tag acme/flowers"):
        store.publish(make("second"), "flowers")
    assert store.entries() == (first,)
    assert store.resolve("flowers") == first
    hub_server.clear_faults()
    third = store.publish(make("third"), "flowers")
    assert third.version == 3
    assert [e.version for e in store.entries()] == [1, 2, 3]
    assert store.publish(make("second"), "flowers").version == 2
    assert store.pull("flowers@2").manifest.description == "second"


def test_rebuilding_the_index_finishes_pushes(
    hub_server: HubServer, store: HubStore, make: Make
) -> None:
    hub_server.add_fault(Fault(kind="refuse", status=403, path="/tag/", times=None))
    with pytest.raises(RegistryError, match="you may not tag"):
        store.publish(make("first"), "flowers")
    hub_server.clear_faults()
    assert store.names() == ()
    assert store.rebuild_index() == ("flowers",)
    assert [str(e.reference) for e in store.entries()] == ["flowers@1"]


def test_a_version_that_was_begun_keeps_its_number(
    hub_server: HubServer, store: HubStore, make: Make
) -> None:
    hub_server.add_fault(Fault(kind="refuse", status=403, path="/tag/", times=None))
    with pytest.raises(RegistryError, match="you may not tag"):
        store.publish(make("first"), "flowers", 1)
    with pytest.raises(RegistryError, match="you may not tag"):
        store.publish(make("second"), "flowers", 1)  # cannot finish the first one either
    hub_server.clear_faults()
    with pytest.raises(VersionConflictError, match="flowers@1 exists with digest"):
        store.publish(make("second"), "flowers", 1)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "step", "least"), [("hang", 1, 11), ("close_request", 3, 1)])
def test_a_pusher_that_is_killed(
    kind: str,
    step: int,
    least: int,
    hub_server: HubServer,
    store: HubStore,
    make: Make,
    tmp_path: Path,
) -> None:
    # "hang": the request in flight is carried out after the kill; "close_request": it is not. On a
    # busy machine some pushers have ended before the kill reaches them.
    first = store.publish(make("first"), "flowers")
    expected = [first.digest]
    gate = tmp_path / "gate"
    gate.touch()
    killed = 0
    points = range(1, 16, step)
    for point in points:
        hub_server.clear_exchanges()
        hub_server.add_fault(Fault(kind=kind, first=point, seconds=1))  # type: ignore[arg-type]
        source = make(f"killed{point}")
        pusher = start(hub_server.url, gate, [("flowers", source)])
        while len(hub_server.exchanges()) < point and pusher.poll() is None:
            time.sleep(0.002)
        killed += pusher.poll() is None
        pusher.kill()
        pusher.communicate()
        while kind == "hang" and not all(e.ended for e in hub_server.exchanges()):
            time.sleep(0.01)
        hub_server.clear_faults()
        # Nothing of it is seen, or all of it.
        seen = [
            entry.digest for entry in HubStore(store.location, endpoint=hub_server.url).entries()
        ]
        assert seen[: len(expected)] == expected
        for number, digest in enumerate(seen, 1):
            assert store.pull(f"flowers@{number}").digest == digest
        entry = store.publish(source, "flowers")
        assert entry.version == len(expected) + 1
        expected.append(entry.digest)
        assert [e.digest for e in store.entries()] == expected
    print(f"{killed} pushers were killed, each at another request ({kind})")
    assert killed >= least


@pytest.mark.parametrize(
    ("processes", "each"), [(3, 3), pytest.param(8, 25, marks=pytest.mark.slow)]
)
def test_the_index_has_what_several_processes_push(
    hub_server: HubServer, store: HubStore, tmp_path: Path, processes: int, each: int
) -> None:
    gate = tmp_path / "gate"
    pushers = []
    for process in range(processes):
        pairs = []
        for number in range(each):
            directory = tmp_path / "made" / f"{process}-{number}"
            make_artifact(directory, description=f"{process} {number}", weights=False)
            # Every fifth goes to a name that all push to.
            pairs.append((f"name{process}-{number}" if number % 5 else "shared", directory))
        pushers.append(start(hub_server.url, gate, pairs))
    for pusher in pushers:
        assert pusher.stdout is not None
        pusher.stdout.readline()
    begun = time.monotonic()
    gate.touch()
    said = [pusher.communicate(timeout=800) for pusher in pushers]
    count = processes * each
    print(f"{count} pushes by {processes} processes took {time.monotonic() - begun:.0f} s")
    lines = [line.split() for out, _ in said for line in out.splitlines()]
    assert Counter(words[0] for words in lines) == {"won": count}
    digests = {words[1]: words[2] for words in lines}
    assert len(digests) == count

    index = read_index(hub_server)
    names = index.names.values()
    rows = {f"{entry.name}@{v.version}": v.digest for entry in names for v in entry.versions}
    assert index.digests == sorted(digests.values())
    assert rows == digests
    assert {str(entry.reference): entry.digest for entry in store.entries()} == digests
    for reference, digest in digests.items():
        assert store.pull(reference).digest == digest
