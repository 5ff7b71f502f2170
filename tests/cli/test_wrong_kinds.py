"""Arguments of another kind than a public function takes: one error of ours, whatever they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import wsdarts_hub as hub
from tests.registry.factories import make_embedding
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.errors import WsdartsError
from wsdarts_registry.stores.opening import open_registry
from wsdarts_sdk.artifacts.loading import find_genotype
from wsdarts_sdk.models.network import DerivedNetwork

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
LABELS = [0, 1] * 6
DATA = (PIXELS, LABELS)
SPARSE = torch.rand(4, 3, 8, 8).to_sparse()
META = torch.rand(4, 3, 8, 8, device="meta")


@pytest.fixture(scope="module")
def genotype() -> Genotype:
    """One of the shipped zoo."""
    return find_genotype("dtd-10@2")


@pytest.fixture(scope="module")
def model(genotype: Genotype) -> hub.Classifier:
    """An untrained classifier of two classes."""
    return hub.Classifier(
        DerivedNetwork(genotype, classes=2, cells=3, channels=2),
        mean=torch.zeros(3),
        std=torch.ones(3),
        image_size=8,
        class_names=("a", "b"),
    ).eval()


CALLS: dict[str, tuple[Callable[[], Any], str]] = {
    "k text": (lambda: hub.nearest(make_embedding("a"), k="3"), "'3'"),
    "k none": (lambda: hub.nearest(make_embedding("a"), k=None), "None"),
    "k fraction": (lambda: hub.nearest(make_embedding("a"), k=2.5), "2.5"),
    "k bool": (lambda: hub.nearest(make_embedding("a"), k=True), "True"),
    "target error": (lambda: hub.embed(DATA, target_error="a"), "target_error is 'a'"),
    "budget": (lambda: hub.embed(DATA, budget=[1]), r"budget is \[1\]"),
    "classes": (lambda: hub.find(classes=-1), "classes is -1"),
    "one class limit": (lambda: hub.find(classes=(1,)), "classes"),
    "a limit": (lambda: hub.find(images=("1", None)), "images is '1'"),
    "kind": (lambda: hub.find(kind=5), "kind is 5"),
    "since": (lambda: hub.find(since=5), "since is 5"),
    "task": (lambda: hub.find(task=5), "task is 5"),
    "operation": (lambda: hub.find(operation=5), "operation is 5"),
    "sort": (lambda: hub.find(sort=5), "sort is 5"),
    "limit": (lambda: hub.find(limit="5"), "limit is '5'"),
    "registry": (lambda: hub.find(registry=5), "registry is 5"),
    "registry bytes": (lambda: hub.open_registry(b"zoo"), "registry is b'zoo'"),
    "model none": (lambda: hub.Classifier.load(None), "None"),
    "embedding none": (lambda: hub.TaskEmbedding.load(None), "None"),
    "network none": (lambda: hub.load_network(None), "None"),
    "network dict": (lambda: hub.load_network({}), "{}"),
    "network bytes": (lambda: hub.load_network(b"x"), "b'x'"),
    "pull none": (lambda: hub.pull(None), "reference is None"),
    "pull bytes": (lambda: hub.pull(b""), "reference is b''"),
    "pull out": (lambda: hub.pull("dtd-10@2", out=5), "out is 5"),
    "store pull": (lambda: open_registry().pull(5), "reference is 5"),
    "lineage none": (lambda: hub.lineage(None), "reference is None"),
    "lineage number": (lambda: hub.lineage(5), "reference is 5"),
    "lineage depth": (lambda: hub.lineage("dtd-10@2", depth="2"), "depth is '2'"),
    "push name": (lambda: hub.push("run", None), "name is None"),
    "push run": (lambda: hub.push(None, "a"), "run is None"),
    "push training": (lambda: hub.push("run", "a", training=5), "training is 5"),
    "report": (lambda: hub.report(None), "run is None"),
    "gallery": (lambda: hub.build_gallery(out=5), "out is 5"),
    "train out": (lambda: hub.train("dtd-10@2", DATA, out=5), "out is 5"),
    "train null": (lambda: hub.train("dtd-10@2", DATA, out="a\0b"), "a.*b"),
    "train genotype": (lambda: hub.train(None, DATA), "None"),
    "search surrogate": (lambda: hub.search(DATA, out="a\ud800"), "a"),
    "warm start out": (lambda: hub.warm_start(DATA, out=5, resume=True), "out is 5"),
    "sparse": (lambda: hub.ImageTask.load((SPARSE, [0, 1] * 2)), "sparse"),
    "meta": (lambda: hub.ImageTask.load((META, [0, 1] * 2)), "meta"),
    "name": (lambda: hub.ImageTask.load(DATA, name=3), "name is 3"),
    "skip": (lambda: hub.ImageTask.load(DATA, skip_corrupt="no"), "skip_corrupt is 'no'"),
    "cache": (lambda: hub.ImageTask.load(DATA, cache_dir=3), "cache_dir is 3"),
    "class list": (lambda: hub.ImageTask.load((*DATA, {0: ["a", "c"], 1: "b"})), "class_names"),
}


@pytest.mark.parametrize("call", CALLS)
def test_one_error_says_what_was_found(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made, said = CALLS[call]
    with pytest.raises(WsdartsError, match=said) as caught:
        made()
    assert "expected" in str(caught.value) or "no file can have" in str(caught.value)
    assert not list(tmp_path.iterdir())


OF_A_MODEL: dict[str, tuple[Callable[[hub.Classifier], Any], str]] = {
    "top_k text": (lambda model: model.predict(PIXELS, top_k="3"), "top_k is '3'"),
    "top_k fraction": (lambda model: model.predict(PIXELS, top_k=1.5), "top_k is 1.5"),
    "batch size": (lambda model: model.predict(PIXELS, batch_size="a"), "batch_size is 'a'"),
    "sparse": (lambda model: model.predict(SPARSE), "sparse"),
    "sparse image": (lambda model: model.predict([SPARSE[0]]), "sparse"),
    "meta": (lambda model: model.predict(META), "meta"),
    "task": (lambda model: model.predict(hub.ImageTask.load(DATA)), "ImageTask"),
    "none": (lambda model: model(None), "None"),
    "channels": (lambda model: model(torch.rand(1, 4, 8, 8)), r"\(1, 4, 8, 8\)"),
    "one image": (lambda model: model(torch.rand(3, 8, 8)), r"\(3, 8, 8\)"),
}


@pytest.mark.parametrize("call", OF_A_MODEL)
def test_a_model_says_what_it_found(call: str, model: hub.Classifier) -> None:
    made, said = OF_A_MODEL[call]
    with pytest.raises(WsdartsError, match=said) as caught:
        made(model)
    assert "expected" in str(caught.value)


def test_numbers_of_numpy_are_numbers(model: hub.Classifier) -> None:
    (found,) = model.predict(PIXELS[0], top_k=np.int64(1), batch_size=np.int32(2))
    assert len(found.classes) == 1
    assert hub.find(limit=np.int64(1), classes=(np.int64(1), None))


def test_nearest_takes_the_file_of_an_embedding(tmp_path: Path) -> None:
    embedding = open_registry().embedding(
        open_registry().resolve("dtd-10@2"), open_registry().config.near[0].space.embedding_space
    )
    assert embedding is not None
    file = embedding.save(tmp_path / "x.safetensors")
    for named in (file, str(file)):
        assert hub.nearest(named, k=2) == hub.nearest(embedding, k=2)
    with pytest.raises(WsdartsError, match=r"none\.safetensors"):
        hub.nearest(tmp_path / "none.safetensors")
