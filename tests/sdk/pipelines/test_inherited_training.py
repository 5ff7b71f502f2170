"""Trainings that begin with the weights of the supernet that found their genotype."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from timm.data import resolve_data_config

import wsdarts_hub.timm  # noqa: F401
from tests.error_fields import assert_fields
from wsdarts_hub import TINY, Classifier, Preset, load_network, train
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.errors import ArtifactError, SettingsError
from wsdarts_sdk.artifacts.loading import find_genotype, find_supernet
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.models.network import DerivedNetwork
from wsdarts_sdk.runs.directory import read_config
from wsdarts_sdk.search.settings import settings_json

FORMATS = Path(__file__).parents[2] / "golden" / "formats"
REGISTRY, RUN = FORMATS / "registry", FORMATS / "warm"


def preset(weights: str = "inherited", channels: int = 2, epochs: int = 1) -> Preset:
    training = replace(
        TINY.training,
        cells=5,
        channels=channels,
        image_size=8,
        epochs=epochs,
        batch_size=8,
        cutout=2,
        weights=weights,
    )
    return replace(TINY, training=training)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of a search, whose directory a training may be noted in."""
    return shutil.copytree(RUN, tmp_path / "run")


def test_a_training_says_what_it_inherited(
    run: Path, digits_task: ImageTask, tmp_path: Path
) -> None:
    found = train(run, digits_task, out=tmp_path / "net", preset=preset())
    result = json.loads((found.path / "result.json").read_text())
    assert result["inherited"]["source"] == str(run)
    assert 0 < result["inherited"]["share"] < 1
    assert found.result.inherited is not None
    assert found.result.inherited.weights == result["inherited"]["share"]
    assert read_config(found.path)["training"]["weights"] == "inherited"
    assert "from the weights of" in found.report.read_text()


@pytest.mark.parametrize("source", [RUN, RUN / "artifact", "colours@1"], ids=str)
def test_sources_of_weights(source: str | Path) -> None:
    found = find_supernet(source, registry=REGISTRY)
    assert (found.cells, found.channels) == (3, 2)
    assert "stem.0.weight" in found.tensors
    assert not any("alpha" in name for name in found.tensors)


@pytest.mark.parametrize("kind", ["genotype", "text", "file"])
def test_a_genotype_alone_has_no_weights(kind: str, run: Path, tmp_path: Path) -> None:
    genotype = Genotype.load(run / "genotype.json")
    alone = {
        "genotype": genotype,
        "text": genotype.to_darts(),
        "file": genotype.save(tmp_path / "cells.json"),
    }[kind]
    with pytest.raises(SettingsError) as refused:
        find_supernet(tmp_path / "cells.json" if kind == "file" else alone)
    assert "weights" in refused.value.what
    assert "training.weights=random" in refused.value.hint


def test_another_width_is_refused_before_the_data_is_read(run: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        train(run, tmp_path / "no data", out=tmp_path / "net", preset=preset(channels=4))
    assert (refused.value.what, refused.value.found) == ("channels", "4")
    assert not (tmp_path / "net").exists()


def test_a_run_from_before_the_choice_goes_on(
    run: Path, digits_task: ImageTask, tmp_path: Path
) -> None:
    random = preset("random")
    train(run, digits_task, out=tmp_path / "net", preset=random)
    assert "weights" not in read_config(tmp_path / "net")["training"]
    again = train(run, digits_task, out=tmp_path / "net", preset=random, resume=True)
    assert again.result.inherited is None


@pytest.mark.parametrize(
    ("source", "channels", "meant"),
    [("run", 2, "inherited"), ("run", 4, "random"), ("genotype", 2, "random")],
)
def test_automatic_weights_are_those_that_fit(
    source: str, channels: int, meant: str, run: Path, digits_task: ImageTask, tmp_path: Path
) -> None:
    named = run if source == "run" else Genotype.load(run / "genotype.json")
    found = train(named, digits_task, out=tmp_path / "net", preset=preset("auto", channels))
    assert (found.result.inherited is not None) == (meant == "inherited")
    # What was decided is what the run says that it was made with.
    assert read_config(found.path)["training"].get("weights", "random") == meant
    again = train(named, digits_task, out=found.path, preset=preset("auto", channels), resume=True)
    assert again.accuracy == found.accuracy


def test_damaged_weights_are_no_reason_to_begin_at_random(
    run: Path, digits_task: ImageTask, tmp_path: Path
) -> None:
    weights = run / "artifact" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ArtifactError):
        train(run, digits_task, out=tmp_path / "net", preset=preset("auto"))
    assert not (tmp_path / "net").exists()


def test_settings_of_a_sweep_are_written_as_before_the_choice() -> None:
    assert "weights" not in settings_json(TINY.selection)
    assert settings_json(preset().training)["weights"] == "inherited"
    assert settings_json(TINY.search)["weights"]["momentum"] == TINY.search.weights.momentum


def test_inherited_weights_are_those_that_a_training_begins_with(
    run: Path, digits_task: ImageTask, tmp_path: Path
) -> None:
    # A learning rate of zero leaves them as they were.
    still = preset()
    still = replace(still, training=replace(still.training, learning_rate=0.0, weight_decay=0.0))
    found = train(run, digits_task, out=tmp_path / "net", preset=still)
    tensors = find_supernet(run).tensors
    ours = load_network(found.path).state_dict()
    assert ours["network.stem.0.weight"].equal(tensors["stem.0.weight"])
    assert ours["network.cells.0.second.1.weight"].equal(tensors["cells.0.second.1.weight"])


def test_a_selection_does_not_inherit() -> None:
    with pytest.raises(SettingsError) as refused:
        replace(TINY, selection=replace(TINY.selection, weights="inherited"))
    assert "selection" in refused.value.what


def test_a_network_by_name_with_the_weights_of_its_supernet(run: Path) -> None:
    found = load_network("colours@1", registry=REGISTRY, weights="inherited", classes=3)
    assert isinstance(found, DerivedNetwork)
    supernet = find_supernet("colours@1", registry=REGISTRY)
    assert (found.config["cells"], found.config["channels"]) == (supernet.cells, supernet.channels)
    assert found.state_dict()["stem.0.weight"].equal(supernet.tensors["stem.0.weight"])
    assert found.inherited is not None
    assert found.inherited["source"] == "colours@1"
    random = load_network("colours@1", registry=REGISTRY, classes=3)
    assert isinstance(random, DerivedNetwork)
    assert random.inherited is None
    with pytest.raises(SettingsError) as refused:
        load_network(run, classes=3, channels=4, weights="inherited")
    assert refused.value.found == "4"


def test_a_trained_model_keeps_its_weights(
    run: Path, digits_task: ImageTask, tmp_path: Path
) -> None:
    trained = train(run, digits_task, out=tmp_path / "net", preset=preset())
    loaded = load_network(trained.path)
    assert isinstance(loaded, Classifier)
    assert loaded.network.inherited == trained.model.network.inherited
    assert loaded.network.inherited is not None
    with pytest.raises(SettingsError) as refused:
        load_network(trained.path, weights="inherited")
    assert "weights" in refused.value.hint


def test_timm_takes_the_inherited_weights(run: Path) -> None:
    network = load_network(run, classes=3, weights="inherited")
    model = timm.create_model("wsdarts_network", genotype=network, pretrained=True, num_classes=7)
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(model.eval().forward_features(images), network.eval().run_cells(images)[0])
    assert model(images).shape == (2, 7)
    assert model.inherited == network.inherited
    untrained = timm.create_model("wsdarts_network", genotype=network, num_classes=7)
    assert not untrained.stem[0].weight.equal(network.stem[0].weight)
    with pytest.raises(SettingsError) as refused:
        timm.create_model("wsdarts_network", genotype=network, pretrained=True, in_chans=1)
    assert refused.value.found == "1"


@pytest.mark.parametrize("pretrained", [True, False])
def test_timm_keeps_the_shape_of_a_network(run: Path, pretrained: bool) -> None:
    network = load_network(run, classes=3, weights="inherited")
    shape = {name: network.config[name] for name in ("cells", "channels", "stem")}
    assert isinstance(network, DerivedNetwork)
    given = {"genotype": network, "pretrained": pretrained}
    assert timm.create_model("wsdarts_network", **given, **shape).config == network.config
    for name, value in {"cells": 20, "channels": 36, "stem": "imagenet"}.items():
        with pytest.raises(SettingsError) as refused:
            timm.create_model("wsdarts_network", **given, **{name: value})
        assert_fields(refused.value, what=name, found=value, expected=shape[name], hint=name)


def test_timm_knows_classes_and_image_size_of_a_network(run: Path) -> None:
    network = load_network(run, classes=3, weights="inherited")
    size = json.loads((RUN / "artifact" / "artifact.json").read_text())["network"]["image_size"]
    assert size not in (84, 224)  # the defaults of this library and timm
    model = timm.create_model("wsdarts_network", genotype=network, pretrained=True)
    assert model.num_classes == model.pretrained_cfg["num_classes"] == 3
    assert model.default_cfg["architecture"] == "wsdarts_network"
    assert resolve_data_config({}, model=model)["input_size"] == (3, size, size)
    other = timm.create_model("wsdarts_network", genotype=network, num_classes=7)
    assert (other.num_classes, other.pretrained_cfg["num_classes"]) == (7, 3)
    overlay = {"input_size": (3, 24, 24)}
    asked = timm.create_model("wsdarts_network", genotype=network, pretrained_cfg_overlay=overlay)
    assert resolve_data_config({}, model=asked)["input_size"] == (3, 24, 24)
    assert asked.pretrained_cfg["num_classes"] == 3
    # The other stem leaves an eighth of an image, and wants larger ones than a search takes.
    large = load_network(run, classes=3, stem="imagenet", cells=5, channels=4)
    for unknown in (large, load_network(find_genotype(run), classes=3, cells=5, channels=4)):
        model = timm.create_model("wsdarts_network", genotype=unknown)
        assert resolve_data_config({}, model=model)["input_size"] == (3, 84, 84)


def test_features_of_timm_have_the_inherited_weights(run: Path) -> None:
    network = load_network(run, classes=3, weights="inherited")
    assert isinstance(network, DerivedNetwork)
    arguments = {"genotype": network, "pretrained": True}
    model = timm.create_model("wsdarts_network", features_only=True, **arguments).eval()
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(model(images)[-1], network.eval().run_cells(images)[0])


def test_timm_has_no_weights_of_a_genotype_alone(run: Path) -> None:
    genotype = find_genotype(run)
    for name in ("wsdarts_network", "wsdarts_pdarts_cifar"):
        with pytest.raises(SettingsError) as refused:
            timm.create_model(name, genotype=genotype, pretrained=True)
        hint = ("wsdarts_network", "genotype=load_network", 'weights="inherited"')
        assert_fields(refused.value, what="pretrained", found=True, expected=name, hint=hint)
    weights = timm.create_model("wsdarts_network", genotype=genotype, num_classes=3).state_dict()
    overlay = {"state_dict": weights, "num_classes": 3}
    model = timm.create_model(
        "wsdarts_network", genotype=genotype, pretrained=True, pretrained_cfg_overlay=overlay
    )
    assert model.stem[0].weight.equal(weights["stem.0.weight"])
