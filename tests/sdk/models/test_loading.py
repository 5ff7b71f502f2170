"""From a name, a file or a text to a network: the right one, or a clear refusal."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.error_fields import assert_fields
from tests.registry.factories import make_artifact, reseal
from tests.sdk.models.published import DARTS_V2, PDARTS
from wsdarts_hub import Classifier, load_network, pull
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.errors import (
    ArtifactError,
    ReferenceNotFoundError,
    RegistryError,
    RunError,
    SettingsError,
    SpaceError,
)
from wsdarts_registry.stores.records import shipped_zoo
from wsdarts_sdk.artifacts.loading import find_genotype
from wsdarts_sdk.models.network import DerivedNetwork

ZOO = "cifar10-1000@3"
META = "meta-flowers-birds-textures@1"


@pytest.fixture(autouse=True)
def _no_registry_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WSDARTS_HUB_REGISTRY", raising=False)


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def config(**shape: Any) -> Any:
    net = load_network(**shape)
    assert isinstance(net, DerivedNetwork)
    return net.config


@pytest.mark.parametrize(
    ("text", "cifar", "imagenet"),
    # The public code counts the same; the papers round to 3.4 M and 4.9 M, 3.3 M and 4.7 M.
    [(PDARTS, 3_433_798, 4_944_352), (DARTS_V2, 3_349_342, 4_718_752)],
)
def test_published_numbers_of_parameters(text: str, cifar: int, imagenet: int) -> None:
    assert parameters(load_network(text, classes=10, channels=36)) == cifar
    large = load_network(text, classes=1000, channels=48, cells=14, stem="imagenet")
    assert parameters(large) == imagenet


def test_the_cells_of_pdarts() -> None:
    found = find_genotype(PDARTS)
    # The text lists nodes in order; within a node inputs are sorted by source.
    assert [[(c.source, c.operation) for c in node] for node in found.normal] == [
        [(0, "skip_connect"), (1, "dil_conv_3x3")],
        [(0, "skip_connect"), (1, "sep_conv_3x3")],
        [(1, "sep_conv_3x3"), (3, "sep_conv_3x3")],
        [(0, "sep_conv_3x3"), (4, "dil_conv_5x5")],
    ]
    assert [(c.source, c.operation) for c in found.reduction[3]] == [
        (1, "dil_conv_3x3"),
        (3, "dil_conv_5x5"),
    ]


def test_the_order_of_a_nodes_inputs_does_not_matter() -> None:
    first = "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0)"
    assert first in DARTS_V2
    swapped = DARTS_V2.replace(
        first, "('skip_connect', 0), ('sep_conv_3x3', 1), ('skip_connect', 0)"
    )
    x = torch.randn(2, 3, 16, 16)
    nets = [load_network(t, classes=3, cells=3, channels=4) for t in (DARTS_V2, swapped)]
    assert torch.equal(nets[0](x), nets[1](x))


def test_every_form_of_a_genotype(tmp_path: Path) -> None:
    genotype = Genotype.from_darts(PDARTS)
    as_text, as_json = tmp_path / "printed.txt", genotype.save(tmp_path / "cell.json")
    as_text.write_text(PDARTS, encoding="utf-8")
    data = json.dumps(genotype.to_json())
    forms = (genotype, PDARTS, str(genotype), data, as_text, str(as_text), as_json, str(as_json))
    for form in forms:
        assert find_genotype(form) == genotype


def test_a_reference_knows_its_number_of_classes() -> None:
    artifact = pull(ZOO)
    assert config(source=ZOO, cells=2, channels=4) == {
        "genotype": artifact.genotype.to_json(),
        "classes": 10,
        "cells": 2,
        "channels": 4,
        "stem": "cifar",
    }
    assert config(source=ZOO, classes=7)["classes"] == 7
    assert config(source=ZOO) == config(source=str(artifact.directory), cells=20, channels=16)
    assert config(source=ZOO, registry=shipped_zoo())["classes"] == 10


def test_a_network_knows_the_size_of_the_images_of_its_search() -> None:
    artifact = pull(ZOO)
    small: dict[str, Any] = {"classes": 3, "cells": 1, "channels": 4}
    for source in (ZOO, artifact.directory):
        network = load_network(source, **small)
        assert isinstance(network, DerivedNetwork)
        assert network.image_size == artifact.manifest.network.image_size == 32
    alone = load_network(artifact.genotype, **small)
    assert isinstance(alone, DerivedNetwork)
    assert alone.image_size is None


def test_the_number_of_classes_of_a_stranger_has_a_limit(tmp_path: Path) -> None:
    make_artifact(tmp_path / "artifact")
    reseal(tmp_path / "artifact", lambda data: data["tasks"][0].update(classes=100_000_000))
    with pytest.raises(SettingsError, match="names 100000000 classes"):
        load_network(tmp_path / "artifact", cells=1, channels=2)


def test_several_tasks_and_bare_genotypes_need_a_number_of_classes() -> None:
    for source in (META, PDARTS):
        with pytest.raises(SettingsError, match="name it: classes=10"):
            load_network(source)
    assert config(source=META, classes=3, cells=1)["classes"] == 3


def test_random_weights_come_from_the_seed() -> None:
    nets = [load_network(ZOO, cells=1, channels=4, seed=seed) for seed in (0, 0, 1)]
    weights = [net.state_dict()["stem.0.weight"] for net in nets]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert all(net.training for net in nets)


def test_the_auxiliary_tower() -> None:
    net = load_network(ZOO, cells=3, channels=4, auxiliary=True)
    assert isinstance(net, DerivedNetwork)
    assert net.auxiliary is not None


@pytest.fixture
def training(genotype: Genotype, tmp_path: Path) -> Path:
    """The run directory of a training, as far as loading looks at it."""
    run = tmp_path / "run"
    network = DerivedNetwork(genotype, classes=2, cells=2, channels=4)
    model = Classifier(
        network, mean=torch.zeros(3), std=torch.ones(3), image_size=8, class_names=("a", "b")
    )
    model.save(run / "model.safetensors")
    genotype.save(run / "genotype.json")
    (run / "config.json").write_text('{"format": 1}')
    return run


def test_a_trained_model(training: Path, genotype: Genotype) -> None:
    x = torch.rand(2, 3, 8, 8)
    for source in (training, str(training), training / "model.safetensors"):
        model = load_network(source)
        assert isinstance(model, Classifier)
        assert not model.training
        assert torch.equal(model(x), Classifier.load(training / "model.safetensors")(x))
    assert find_genotype(training) == genotype
    with pytest.raises(SettingsError, match=f"{training} .*leave out classes, cells,"):
        load_network(training, classes=2, cells=4)
    with pytest.raises(SettingsError, match=f"leave out auxiliary, .*{training / 'genotype.json'}"):
        load_network(training / "model.safetensors", auxiliary=True)


def test_a_search_run(training: Path, genotype: Genotype) -> None:
    (training / "model.safetensors").unlink()
    with pytest.raises(SettingsError, match="name it: classes=10"):
        load_network(training)
    (training / "artifact").symlink_to(pull("dtd-10@2").directory)
    assert config(source=training)["classes"] == 10
    assert config(source=training)["genotype"] == genotype.to_json()
    (training / "genotype.json").unlink()
    with pytest.raises(RunError, match=r"no genotype yet.*--resume"):
        load_network(training)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ReferenceNotFoundError, match=r"cifar10-1001, .*registry .* did"):
        load_network("cifar10-1001")
    with pytest.raises(RegistryError, match=r"a/b\.json, and artifact name"):
        load_network("a/b.json")
    with pytest.raises(SpaceError, match="cannot read the genotype"):
        load_network(tmp_path / "cell.json")
    with pytest.raises(ArtifactError, match="not a trained model"):
        load_network(tmp_path / "net.safetensors")
    with pytest.raises(RunError, match="not a run directory"):
        load_network(tmp_path)
    with pytest.raises(SpaceError, match="not valid JSON"):
        load_network("{not json")


@pytest.mark.parametrize(
    ("old", "new", "what", "expected"),
    [
        ("('skip_connect', 0)", "('skip_connect', 1)", ("node 2", "sources [1, 1]"), "once"),
        ("sep_conv_5x5", "sep_conv_7x7", "'sep_conv_7x7' is not", "one of none"),
        ("_concat=range(2, 6)", "_concat=range(4, 6)", "normal_concat", "intermediate nodes"),
    ],
)
def test_cells_of_other_kinds_are_refused(old: str, new: str, what: object, expected: str) -> None:
    with pytest.raises(SpaceError) as caught:
        load_network(PDARTS.replace(old, new, 1), classes=10)
    assert_fields(caught.value, what=what, expected=expected)
    assert "\n" not in str(caught.value)


def test_a_long_text_is_no_path() -> None:
    pairs = ", ".join(f"('sep_conv_3x3', np.int64({n % 2}))" for n in range(8))
    cell = f"[{pairs}]"
    log = (
        f"03/02 10:11:12 AM genotype = Genotype (normal={cell}, normal_concat=[2, 3, 4, 5], "
        f"reduce={cell}, reduce_concat=[2, 3, 4, 5])\n03/02 10:11:13 AM epoch 1\n"
    )
    assert find_genotype(log).count("sep_conv_3x3") == 8
    fenced = f"```json\n{json.dumps(find_genotype(PDARTS).to_json())}\n```"
    assert find_genotype(fenced) == find_genotype(PDARTS)
    with pytest.raises(RegistryError):
        load_network("sep_conv_3x3" * 1000)
    with pytest.raises(SpaceError, match=r"does not contain Genotype\("):
        load_network("epoch 1\n" * 1000)


def test_an_unknown_stem() -> None:
    with pytest.raises(SettingsError, match="cifar or imagenet") as caught:
        load_network(ZOO, stem="large")  # type: ignore[arg-type]
    assert (caught.value.what, caught.value.found) == ("stem", "'large'")
