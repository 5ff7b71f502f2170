"""Artifacts are found by all that is asked for, and sorted with what is unknown last."""

from pathlib import Path
from typing import Any

import pytest

from tests.registry.factories import (
    SPACE,
    digest_of,
    make_artifact,
    make_draft,
    make_embedding,
    make_space,
)
from wsdarts_registry.architecture.genotype import Connection, Genotype
from wsdarts_registry.artifact.manifest import TaskRecord
from wsdarts_registry.errors import RegistryError
from wsdarts_registry.stores.query import find
from wsdarts_registry.stores.store import Store

SIZES = {"few": (5, 100), "some": (10, 50), "many": (20, 3000)}
CREATED = {"few": "2026-03-01T00:00:00Z", "some": "2026-01-31T23:59:59Z"}
METRICS = {
    "few": {
        "alpha_accuracy": 0.05,
        "classifier_accuracy": 0.3,
        "classifier_baseline_accuracy": 0.2,
        "final_parameters": 900,
        "transfer_gain": 0.04,
        "transfer_sets": 5,
    },
    "many": {
        "alpha_accuracy": 0.2,
        "classifier_accuracy": 0.6,
        "classifier_baseline_accuracy": 0.7,
        "final_parameters": 500,
        "transfer_gain": 0.03,
        "transfer_sets": 5,
    },
}
PROBE = {"few": "resnet18", "some": "MobileNetV2"}


@pytest.fixture
def filled(store: Store, tmp_path: Path) -> Store:
    """Artifacts named few, some, many by their classes, and both: few and many."""
    provenance = make_draft().provenance
    for name, (classes, images) in SIZES.items():
        task = TaskRecord(
            name=f"Set-{name}", digest=digest_of(name), images=images, classes=classes
        )
        embedding = make_embedding(name, space=make_space(PROBE.get(name, "tiny")))
        changes: dict[str, Any] = {
            "tasks": [task],
            "embeddings": [embedding],
            "metrics": METRICS.get(name, {}),
            "provenance": provenance.model_copy(
                update={"created": CREATED.get(name, "2026-01-02T03:04:05Z")}
            ),
        }
        if name == "few":
            node = (Connection(source=0, operation="skip_connect"), *_sep(1))
            usual = (*_sep(0), *_sep(1))
            changes["genotype"] = Genotype(
                space=SPACE, normal=(usual, usual), reduction=(usual, node)
            )
        make_artifact(tmp_path / name, name, weights=name != "few", **changes)
        store.publish(tmp_path / name, name)
    make_artifact(tmp_path / "both", "few", "many", weights=False)
    store.publish(tmp_path / "both", "both")
    return store


def _sep(source: int) -> tuple[Connection]:
    return (Connection(source=source, operation="sep_conv_3x3"),)


_FOUND: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["both", "few", "many", "some"]),
    ({"kind": "meta-transfer"}, ["both"]),
    ({"kind": "transfer", "task": "set-"}, ["few", "many", "some"]),
    ({"task": "FEW"}, ["both", "few"]),
    ({"probe": "mobilenet"}, ["some"]),
    ({"classes": (10, 20)}, ["both", "many", "some"]),  # both ends included; both has 10 + 10
    ({"classes": (11, None)}, ["both", "many"]),
    ({"images": (None, 100)}, ["few", "some"]),
    ({"images": (None, 99)}, ["some"]),
    ({"images": (101, 240), "kind": "transfer"}, []),
    ({"accuracy": (0.3, None)}, ["few", "many"]),  # the others state none
    ({"accuracy": (None, 0.59)}, ["few"]),
    ({"since": "2026-01-31"}, ["few", "some"]),
    ({"since": "2026-02-01"}, ["few"]),
    ({"since": "2026-03-01T00:00:00Z"}, ["few"]),
    ({"since": "2026-03-01T00:00:01Z"}, []),
    ({"operation": "skip_connect"}, ["few"]),
    ({"operation": "sep_conv_3x3", "limit": 2}, ["both", "few"]),
    ({"operation": "none"}, []),
    ({"signed": True}, []),
]


def test_filters(filled: Store) -> None:
    found = [[entry.name for entry in find(registry=filled, **wanted)] for wanted, _ in _FOUND]
    assert found == [names for _, names in _FOUND]


# Forwards and backwards. Equal ones keep their order, and those that state no figure are last.
_ORDERS: list[tuple[Any, list[str], list[str]]] = [
    ("name", ["both", "few", "many", "some"], ["some", "many", "few", "both"]),
    ("created", ["both", "many", "some", "few"], ["few", "some", "both", "many"]),
    ("images", ["some", "few", "both", "many"], ["many", "both", "few", "some"]),
    ("classes", ["few", "some", "both", "many"], ["both", "many", "some", "few"]),
    # Neither some (no metrics) nor both (another figure) state it.
    ("alpha-accuracy", ["few", "many", "both", "some"], ["many", "few", "both", "some"]),
    ("accuracy", ["few", "many", "both", "some"], ["many", "few", "both", "some"]),
    # Few is above its baseline and many below; the others state none.
    ("gain", ["many", "few", "both", "some"], ["few", "many", "both", "some"]),
    ("transfer-gain", ["many", "few", "both", "some"], ["few", "many", "both", "some"]),
    ("parameters", ["many", "few", "both", "some"], ["few", "many", "both", "some"]),
    ("cost", ["both", "few", "many", "some"], ["both", "few", "many", "some"]),
]


def test_orders(filled: Store) -> None:
    for order, names, back in _ORDERS:
        assert [entry.name for entry in find(registry=filled, sort=order)] == names, order
        found = [entry.name for entry in find(registry=filled, sort=order, reverse=True)]
        assert found == back, order


def test_the_largest_has_its_weights(filled: Store) -> None:
    names = [entry.name for entry in find(registry=filled, sort="size")]
    assert set(names[:2]) == {"both", "few"}
    assert [e.name for e in find(registry=filled, sort="size", reverse=True, limit=1)] == names[-1:]


def test_signed_and_yanked(filled: Store) -> None:
    filled.write_signature("many", 1, b"{}")
    assert [entry.name for entry in find(registry=filled, signed=True)] == ["many"]
    filled.yank("many@1", "wrong labels")
    assert find(registry=filled, signed=True) == ()
    assert [entry.name for entry in find(registry=filled, signed=True, yanked=True)] == ["many"]


_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"since": "yesterday"}, "date 'yesterday'; expected a day such as 2026-01-31"),
    ({"since": "2026-1-2"}, "date '2026-1-2'"),
    ({"since": "2026-02-30"}, "date '2026-02-30'"),
    ({"kind": "transfr"}, "kind 'transfr'; expected transfer or meta-transfer"),
    ({"operation": "sepconv"}, "'sepconv' .*one of none, max_.*mean .*sep_conv_3x3"),
    ({"operation": "zzz"}, "'zzz' .*none, max_pool_3x3"),
    ({"sort": "beauty"}, "order 'beauty'; expected one of name, created"),
    ({"limit": 0}, "limit 0; expected 1 or more"),
    ({"accuracy": (50, None)}, r"limit 50 of accuracy; expected .*\[0, 1\]"),
]


def test_refused(filled: Store) -> None:
    for wanted, message in _REFUSED:
        with pytest.raises(RegistryError, match=message):
            find(registry=filled, **wanted)
