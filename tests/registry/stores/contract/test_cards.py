"""What push writes: the card that names its neighbours, and the picture beside it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.registry.factories import make_artifact, make_embedding, make_space
from wsdarts_registry.artifact.manifest import EmbeddingSpaceRecord
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.drawing.cells import genotype_svg
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.errors import RegistryError, VersionConflictError
from wsdarts_registry.publishing.publication import copy, push
from wsdarts_registry.stores.records import NearRecord
from wsdarts_registry.stores.store import Entry, Store

PushRun = Callable[..., Entry]

pytestmark = pytest.mark.filterwarnings("ignore::wsdarts_registry.errors.RegistryWarning")


@pytest.fixture
def push_run(store: Store, tmp_path: Path) -> PushRun:
    """Push what a search would leave: an artifact without a card, of tasks of its name."""

    def publish(
        name: str, *values: float, embeddings: list[TaskEmbedding] | None = None, **options: object
    ) -> Entry:
        run = tmp_path / "runs" / name
        if not run.exists():
            one = make_embedding(name, values=np.array(values)) if values else make_embedding(name)
            found = [one] if embeddings is None else embeddings
            make_artifact(run, name, files={}, embeddings=found, weights=False)
        return push(run, name, registry=store, **options)  # type: ignore[arg-type]

    return publish


def _section(store: Store, reference: str) -> str:
    card = str(store.pull(reference).card)
    return card.partition("## Nearest in its registry")[2].partition("\n## ")[0]


def test_the_card_names_what_was_near_when_it_was_published(
    store: Store, push_run: PushRun
) -> None:
    space = EmbeddingSpaceRecord.model_validate(make_space().to_json())
    near = NearRecord(space=space, distance=0.1, measured="by hand")
    store.configure(store.config.model_copy(update={"near": (near,)}))
    push_run("flowers", 1, 2)
    assert "held no other" in _section(store, "flowers")
    push_run("petals", 1, 2)
    # By hand: u = a/(a+b) = (1/2, 0), v = (1/2, 1), so d = 1 - (1/4) / sqrt(1/4 * 5/4).
    push_run("birds", 1, 0)
    section = _section(store, "birds")
    assert "0.1000" in section
    assert section.count("| `") == 2
    assert f"| `flowers@1` | {1 - 5**-0.5:.4f} | no | flowers |" in section
    again = _section(store, "petals")
    assert "| `flowers@1` | 0.0000 | yes | flowers |" in again
    assert "birds" not in again  # which came later


def test_pushing_a_run_again_finds_it_whatever_came_in_between(
    store: Store, push_run: PushRun, tmp_path: Path
) -> None:
    first = push_run("flowers")
    push_run("birds")
    assert push_run("flowers") == first
    assert push_run("flowers", version=1) == first
    with pytest.raises(VersionConflictError, match="is flowers@1 already"):
        push_run("flowers", version=2)
    # With other words for it, it is another artifact; and the first is found all the same.
    assert push_run("flowers", description="Other words.").version == 2
    assert push_run("flowers") == first
    # Its own pulled files are the same run, too.
    pulled = store.pull("flowers@1", tmp_path / "pulled")
    assert push(pulled.directory, "flowers", registry=store) == first
    store.yank("flowers@1", "wrong labels")
    with pytest.raises(RegistryError, match=r"flowers@1.* yanked"):
        push_run("flowers")


def test_a_registry_that_cannot_be_ranked_is_no_reason_not_to_publish(
    store: Store, push_run: PushRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_run("flowers")
    other = make_embedding("birds", space=make_space("other"))
    push_run("birds", embeddings=[other])
    assert "no other artifact" in _section(store, "birds")
    push_run("nothing", embeddings=[])
    assert _section(store, "nothing") == ""

    def damaged(*_: object) -> None:
        raise RegistryError("the ranking is damaged")

    monkeypatch.setattr("wsdarts_registry.publishing._card.rank_registry", damaged)
    push_run("textures")
    assert "could not be ranked" in _section(store, "textures")


def test_the_picture_is_a_file_of_the_artifact(
    store: Store, push_run: PushRun, tmp_path: Path
) -> None:
    entry = push_run("flowers")
    artifact = store.pull("flowers", tmp_path / "pulled")
    drawing = genotype_svg(artifact.genotype)
    assert (tmp_path / "pulled" / "cells.svg").read_text(encoding="utf-8") == drawing
    assert "](cells.svg)" in str(artifact.card)
    copied = copy("flowers", tmp_path / "other", registry=store)
    assert copied.entry.digest == entry.digest
    there = tmp_path / "other" / "artifacts" / "flowers" / "v1"
    assert (there / "cells.svg").read_text(encoding="utf-8") == drawing
    read_artifact(there, entry.digest)
