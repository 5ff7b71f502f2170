"""Yanks, aliases and signatures of published versions."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.registry.factories import Push
from wsdarts_registry.errors import ReferenceNotFoundError, RegistryError
from wsdarts_registry.stores.store import Store


def test_a_yank_can_be_taken_back(store: Store, push: Push) -> None:
    first, second = push("flowers", "a"), push("flowers", "b")
    store.yank("flowers@2", "wrong labels")
    assert store.resolve("flowers") == first
    store.unyank("flowers@2", "they were right")
    assert store.resolve("flowers").digest == second.digest
    status = store.entry("flowers", 2).status
    assert status.yanked is None
    assert status.yank is not None
    assert status.yank.lifted is not None
    assert (status.yank.reason, status.yank.lifted.reason) == ("wrong labels", "they were right")
    store.yank("flowers@2", "wrong after all")
    assert store.resolve("flowers") == first


def test_only_what_is_yanked_is_restored(store: Store, push: Push) -> None:
    push("flowers")
    with pytest.raises(RegistryError, match="flowers@1 is not yanked"):
        store.unyank("flowers@1", "a reason")
    with pytest.raises(RegistryError, match="flowers is not exact"):
        store.unyank("flowers", "a reason")
    store.yank("flowers@1", "wrong")
    with pytest.raises(RegistryError, match="reason is not allowed"):
        store.unyank("flowers@1", "")
    assert store.entry("flowers", 1).yanked is not None


def test_an_alias_means_one_version_at_a_time(store: Store, push: Push) -> None:
    first, second = push("flowers", "a"), push("flowers", "b")
    store.set_alias("flowers", "stable", 1)
    assert store.resolve("flowers@stable").digest == first.digest
    assert store.resolve("flowers").digest == second.digest
    store.set_alias("flowers", "stable", 2)
    store.set_alias("flowers", "candidate", 2)
    assert store.aliases("flowers") == {"candidate": 2, "stable": 2}
    assert store.pull("flowers@stable").digest == second.digest
    assert [info.status.aliases for info in store.versions("flowers")] == [
        (),
        ("candidate", "stable"),
    ]
    store.remove_alias("flowers", "candidate")
    assert store.aliases("flowers") == {"stable": 2}


def test_a_version_is_found_while_an_alias_comes_and_goes(store: Store, push: Push) -> None:
    first = push("flowers", "a")
    ended = threading.Event()

    def disturb() -> None:
        while not ended.is_set():
            store.set_alias("flowers", "stable", 1)
            store.remove_alias("flowers", "stable")

    with ThreadPoolExecutor(1) as pool:
        disturbing = pool.submit(disturb)
        try:
            for _ in range(40):
                assert store.pull("flowers@1").digest == first.digest
                assert store.resolve("flowers").digest == first.digest
                try:
                    assert store.resolve("flowers@stable").digest == first.digest
                except RegistryError as error:
                    assert error.what.endswith("alias stable")  # noqa: PT017
        finally:
            ended.set()
        disturbing.result()


def _refusals(store: Store) -> dict[str, Callable[[], object]]:
    return {
        "no alias stable; .* none": lambda: store.resolve("flowers@stable"),
        "no alias gone; .* none": lambda: store.remove_alias("flowers", "gone"),
        "alias 'latest' is not": lambda: store.set_alias("flowers", "latest", 1),
        "there is no flowers@7": lambda: store.set_alias("flowers", "stable", 7),
        "flowers@stable is not exact": lambda: store.yank("flowers@stable", "a reason"),
    }


@pytest.mark.parametrize("message", _refusals(None))  # type: ignore[arg-type]
def test_refused(store: Store, push: Push, message: str) -> None:
    push("flowers")
    with pytest.raises(RegistryError, match=message):
        _refusals(store)[message]()
    assert store.aliases("flowers") == {}


def test_an_alias_does_not_outlive_a_yank_silently(store: Store, push: Push) -> None:
    push("flowers", "a")
    push("flowers", "b")
    store.set_alias("flowers", "stable", 1)
    store.yank("flowers@1", "wrong labels")
    with pytest.raises(ReferenceNotFoundError, match=r"flowers@1.* yanked \(wrong labels\)"):
        store.pull("flowers@stable")
    with pytest.raises(RegistryError, match="was yanked"):
        store.set_alias("flowers", "stable", 1)


def test_signatures_stand_beside_a_version(store: Store, push: Push) -> None:
    entry = push("flowers")
    assert (store.signature("flowers", 1), entry.status.signed) == (None, False)
    store.write_signature("flowers", 1, b"{}")
    assert (store.signature("flowers", 1), store.resolve("flowers").status.signed) == (b"{}", True)
    assert store.pull("flowers@1").digest == entry.digest
