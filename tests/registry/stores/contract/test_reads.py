"""How often a push reads what it publishes: as often as it can have changed in between."""

from pathlib import Path

import numpy as np
import pytest

from tests.file_reads import counted_reads
from tests.registry.factories import make_artifact, make_weights
from wsdarts_registry.errors import ArtifactError
from wsdarts_registry.publishing.publication import push
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.store import Store

WEIGHTS = "weights.safetensors"
# Looking at the header of a file of tensors opens it twice: for its length, and for itself.
HEADER = 2


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with an artifact whose weights are large enough to be sent by themselves."""
    large = {"large": np.zeros((3 * 2**18,), np.float32)}
    make_artifact(
        tmp_path / "run" / "artifact", "flowers", files={}, weights={**make_weights(), **large}
    )
    return tmp_path / "run"


def test_a_push_reads_the_weights_once(run: Path, store: Store) -> None:
    with counted_reads() as found:
        push(run, "flowers", registry=store)
    weights = {path: n for path, n in found.items() if path.name == WEIGHTS}
    source = weights.pop(run / "artifact" / WEIGHTS)
    if isinstance(store, DirectoryStore):
        # Its header when the run is looked at; once whole, as it is copied; the copy's header.
        assert source == HEADER + 1
        assert list(weights.values()) == [HEADER]
    else:
        # Headers before and after; the client opens it to hash it, and twice to send it.
        assert source == HEADER + 1 + HEADER + 2
        assert weights == {}
    again = push(run, "flowers", registry=store)
    assert str(again.reference) == "flowers@1"


def test_the_small_files_are_read_three_times_at_most(run: Path, store: Store) -> None:
    with counted_reads() as found:
        push(run, "flowers", registry=store)
    source = run / "artifact"
    counts = {
        path.name: n
        for path, n in found.items()
        if path.is_relative_to(source) and path.name not in (WEIGHTS, "check.safetensors")
    }
    assert set(counts) >= {"artifact.json", "genotype.json", "op_masks.safetensors"}
    assert max(counts.values()) <= 3, counts


@pytest.mark.parametrize("name", [WEIGHTS, "check.safetensors", "genotype.json"])
def test_what_is_damaged_is_not_published(name: str, run: Path, store: Store) -> None:
    file = run / "artifact" / name
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    good = file.read_bytes()
    file.write_bytes(content)
    with pytest.raises(ArtifactError, match=name):
        push(run, "flowers", registry=store)
    assert store.names() == ()
    file.write_bytes(good)
    assert str(push(run, "flowers", registry=store).reference) == "flowers@1"
    # Nor is it taken for what is published already.
    file.write_bytes(content)
    with pytest.raises(ArtifactError, match=name):
        push(run, "flowers", registry=store)
