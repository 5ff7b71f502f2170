"""``push_to_hub`` and ``from_pretrained``, by the Hub's own client on a Hub of this machine."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import HfApi, ModelCard, constants
from safetensors.torch import save

import wsdarts_hub.timm  # noqa: F401 - registers the networks
from tests.hub_server import ALICE, ALICE_READS, BOB, Fault, HubServer
from tests.hub_server.fixture import hub_server, start_hub
from tests.registry.factories import make_artifact
from tests.registry.hostile import LINE
from wsdarts_hub import TINY, Classifier, ImageTask, TrainingRun, push, train
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.errors import ArtifactError, RegistryError, RegistryWarning
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_sdk.models.facts import BaselineFacts, LineageFacts, ModelFacts
from wsdarts_sdk.models.model_folder import folder_files
from wsdarts_sdk.models.network import DerivedNetwork
from wsdarts_sdk.progress import silent

__all__ = ["hub_server", "start_hub"]

FACTS = ModelFacts(
    accuracy=0.5,
    images=8,
    held_out="validation",
    baseline=BaselineFacts(name="linear", accuracy=0.75),
    lineage=LineageFacts(digest=f"sha256:{'0' * 64}", mode="cold"),
)

OWN_CARD = "---\nlicense: mit\n---\n\nMy own words.\n"


@pytest.fixture
def model(genotype: Genotype) -> Classifier:
    return Classifier(
        DerivedNetwork(genotype, classes=2, cells=3, channels=4, seed=1),
        mean=torch.tensor([0.1, 0.2, 0.3]),
        std=torch.tensor([0.4, 0.5, 0.6]),
        image_size=8,
        class_names=("one", LINE),
        facts=FACTS,
    ).eval()


@pytest.fixture
def api(hub_server: HubServer, monkeypatch: pytest.MonkeyPatch) -> HfApi:
    """Alice's client; the environment names the Hub and her token."""
    monkeypatch.setenv("HF_ENDPOINT", hub_server.url)
    monkeypatch.setenv("HF_TOKEN", ALICE.token)
    return HfApi(endpoint=hub_server.url, token=ALICE.token)


def commits(api: HfApi, name: str = "alice/digits") -> list[str]:
    return [each.title for each in api.list_repo_commits(name)]


def test_what_is_pushed_is_loaded_the_same(model: Classifier, api: HfApi) -> None:
    pushed = model.push_to_hub("alice/digits")
    assert pushed.made
    assert pushed.url == f"{api.endpoint}/alice/digits"
    assert {*api.list_repo_files("alice/digits")} >= {"README.md", "config.json"}
    found = Classifier.from_pretrained("alice/digits")
    x = torch.rand(3, 3, 8, 8)
    assert torch.equal(found(x), model(x))
    assert not found.training
    assert (found.class_names, found.image_size) == (model.class_names, 8)
    assert found.facts == FACTS
    assert torch.equal(Classifier.from_pretrained("hf://alice/digits")(x), model(x))


def test_timm_loads_it_by_its_name(
    model: Classifier, api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.push_to_hub("alice/digits")
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, api.endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    found = timm.create_model("hf-hub:alice/digits", pretrained=True).eval()
    x = torch.rand(2, 3, 8, 8)
    expected = model(x)
    assert torch.allclose(found((x - model.mean) / model.std), expected, atol=1e-6)


def test_the_same_content_makes_no_commit(model: Classifier, api: HfApi) -> None:
    first = model.push_to_hub("alice/digits")
    again = model.push_to_hub("alice/digits")
    assert (again.made, again.commit) == (False, first.commit)
    before = len(commits(api))
    with torch.no_grad():
        model.network.classifier.bias.add_(1)
    assert model.push_to_hub("alice/digits", commit_message="Train longer").made
    assert len(commits(api)) == before + 1
    assert commits(api)[0] == "Train longer"


def test_visibility_revision_and_token(model: Classifier, api: HfApi) -> None:
    model.push_to_hub("alice/digits", private=True)
    assert api.model_info("alice/digits").private
    with torch.no_grad():
        model.network.classifier.bias.add_(1)
    pushed = model.push_to_hub("alice/digits", revision="next")
    x = torch.rand(1, 3, 8, 8)
    main = Classifier.from_pretrained("alice/digits")
    assert not torch.equal(main(x), model(x))
    for revision in ("next", pushed.commit):
        assert torch.equal(
            Classifier.from_pretrained("alice/digits", revision=revision)(x), model(x)
        )
    with pytest.raises(RegistryError):
        Classifier.from_pretrained("alice/digits", revision="nosuch")
    with pytest.raises(RegistryError):
        Classifier.from_pretrained("alice/digits", token=BOB.token)
    with pytest.raises(RegistryError):
        model.push_to_hub("alice/digits", revision="other", token=ALICE_READS.token)
    with pytest.raises(RegistryError):
        Classifier.from_pretrained("digits")


def test_the_card_is_one_that_the_hub_reads(model: Classifier, api: HfApi) -> None:
    model.push_to_hub("alice/digits", license="my own", tags=["tiny"], description="Only a *test*")
    card = ModelCard.load(api.hf_hub_download("alice/digits", "README.md"))
    assert card.data.license == "other"
    assert "tiny" in (card.data.tags or [])
    info = api.model_info("alice/digits")
    assert info.pipeline_tag == "image-classification"
    assert "wsdarts-hub" in (info.tags or [])
    text = card.text
    for shown in ("50.0 %", "75.0 %", "linear", r"Only a \*test\*", "8 images", "sha256:000"):
        assert shown in text
    assert ALICE.token not in text


def test_a_card_that_somebody_edited_is_kept(model: Classifier, api: HfApi) -> None:
    model.push_to_hub("alice/digits")
    api.upload_file(
        path_or_fileobj=OWN_CARD.encode(), path_in_repo="README.md", repo_id="alice/digits"
    )
    with torch.no_grad():
        model.network.classifier.bias.add_(1)
    with pytest.warns(RegistryWarning):
        assert model.push_to_hub("alice/digits").made
    with pytest.warns(RegistryWarning):
        assert not model.push_to_hub("alice/digits").made
    path = api.hf_hub_download("alice/digits", "README.md")
    assert Path(path).read_text() == OWN_CARD


def test_what_others_made_is_not_replaced(
    model: Classifier, api: HfApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.create_repo("alice/bert")
    api.upload_file(
        path_or_fileobj=b'{"architectures": ["Bert"]}',
        path_in_repo="config.json",
        repo_id="alice/bert",
    )
    make_artifact(tmp_path / "made", "flowers")
    push(tmp_path / "made", "flowers", registry="hf://alice")
    for name in ("alice/bert", "alice/flowers"):
        before = commits(api, name)
        with pytest.raises(RegistryError):
            model.push_to_hub(name)
        assert commits(api, name) == before


def test_a_push_that_fails_leaves_nothing_half_written(
    model: Classifier, api: HfApi, hub_server: HubServer
) -> None:
    first = model.push_to_hub("alice/digits")
    with torch.no_grad():
        model.network.classifier.bias.add_(1)
    hub_server.add_fault(Fault(kind="refuse", path="/commit/", status=403, times=10))
    with pytest.raises(RegistryError) as caught:
        model.push_to_hub("alice/digits")
    assert ALICE.token not in str(caught.value)
    assert api.model_info("alice/digits").sha == first.commit


def test_no_token_is_logged(
    model: Classifier, api: HfApi, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        model.push_to_hub("alice/digits")
        Classifier.from_pretrained("alice/digits")
    assert ALICE.token not in caplog.text


def test_offline_what_was_loaded_before_is_loaded_again(
    model: Classifier, api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.push_to_hub("alice/digits")
    Classifier.from_pretrained("alice/digits")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(Classifier.from_pretrained("alice/digits")(x), model(x))
    with pytest.raises(RegistryError):
        Classifier.from_pretrained("alice/other")


def upload(api: HfApi, files: dict[str, bytes]) -> None:
    api.create_repo("alice/odd", exist_ok=True)
    for name, content in files.items():
        api.upload_file(path_or_fileobj=content, path_in_repo=name, repo_id="alice/odd")


def spoilt(model: Classifier, what: str) -> dict[str, bytes]:
    """Files of a model, one of them spoilt."""
    files = folder_files(model)
    config = json.loads(files["config.json"])
    if what == "other weights than the digest":
        files["model.safetensors"] = save({"x": torch.zeros(3)}, {"format": "pt"})
    elif what == "a pickle alone":
        files["pytorch_model.bin"] = files.pop("model.safetensors")
    elif what == "no safetensors":
        del config["wsdarts_hub"]
        files["model.safetensors"] = b"no tensors"
    elif what == "another architecture":
        config["architecture"] = "resnet18"
    elif what == "a network that is larger than its weights":
        config["model_args"]["channels"] = 4096
    elif what == "an image size of nothing":
        config["pretrained_cfg"]["input_size"] = [3, 0, 0]
    elif what == "a path for a genotype":
        config["model_args"]["genotype"] = "/etc/passwd"
    elif what == "a later format":
        config["wsdarts_hub"]["format"] = 2
    files["config.json"] = json.dumps(config).encode()
    return files


@pytest.mark.parametrize(
    "what",
    [
        "other weights than the digest",
        "a pickle alone",
        "no safetensors",
        "another architecture",
        "a network that is larger than its weights",
        "an image size of nothing",
        "a path for a genotype",
        "a later format",
    ],
)
def test_what_is_loaded_is_verified(
    what: str, model: Classifier, api: HfApi, tmp_path: Path
) -> None:
    files = spoilt(model, what)
    upload(api, files)
    with pytest.raises(ArtifactError):
        Classifier.from_pretrained("alice/odd")
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    with pytest.raises(ArtifactError):
        Classifier.from_pretrained(folder)


def test_a_folder_that_timm_wrote_needs_no_facts(model: Classifier, api: HfApi) -> None:
    files = folder_files(model)
    config = json.loads(files["config.json"])
    del config["wsdarts_hub"]
    upload(api, {**files, "config.json": json.dumps(config).encode()})
    found = Classifier.from_pretrained("alice/odd")
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(found(x), model(x))
    assert found.facts is None


def test_a_download_that_breaks_off_is_not_used(
    model: Classifier, api: HfApi, hub_server: HubServer
) -> None:
    model.push_to_hub("alice/digits")
    hub_server.add_fault(Fault(kind="close_response", path="/objects/", amount=100, times=1))
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(Classifier.from_pretrained("alice/digits")(x), model(x))


@pytest.fixture
def trained(genotype: Genotype, digits_task: ImageTask, tmp_path: Path) -> TrainingRun:
    """A short training of the cells of an artifact in a registry."""
    make_artifact(tmp_path / "made", "flowers")
    DirectoryStore(tmp_path / "zoo", create=True).publish(tmp_path / "made", "flowers")
    settings = replace(
        TINY.training, cells=3, channels=4, image_size=8, epochs=2, batch_size=16, cutout=0
    )
    return train(
        "flowers@1",
        digits_task,
        registry=tmp_path / "zoo",
        preset=replace(TINY, training=settings),
        out=tmp_path / "net",
        progress=silent,
    )


def test_a_training_knows_its_facts(trained: TrainingRun, digits_task: ImageTask) -> None:
    facts = trained.model.facts
    assert facts is not None
    assert facts.accuracy == trained.accuracy
    assert facts.images == trained.result.images
    assert (facts.epochs, facts.preset) == (2, "tiny")
    assert facts.data is not None
    assert facts.data.digest == digits_task.digest
    assert facts.data.trained_on == len(digits_task.train_indices)
    assert facts.lineage is not None
    assert facts.lineage.reference == "flowers@1"
    assert facts.inherited is None
    # In the file, wherever that is; in the directory with what the result adds.
    alone = trained.model_file.rename(trained.path.parent / "alone.safetensors")
    found = Classifier.load(alone).facts
    assert found is not None
    assert found.model_copy(update={"evaluation": {}, "baseline": None}) == facts.model_copy(
        update={"evaluation": {}, "baseline": None}
    )
    assert str(trained.path) not in json.dumps(facts.to_json())


def test_result_adds_evaluation_and_baseline(trained: TrainingRun) -> None:
    file = trained.path / "result.json"
    result = json.loads(file.read_text())
    result["evaluation"] = {"macro_f1": {"value": 0.25, "low": 0.2, "high": 0.3}, "top_5": None}
    result["baseline"] = {"name": "linear", "accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}}
    file.write_text(json.dumps(result))
    facts = Classifier.load(trained.path).facts
    assert facts is not None
    assert facts.evaluation == {"macro_f1": 0.25}
    assert facts.baseline == BaselineFacts(name="linear", accuracy=0.5)


def test_the_folder_for_timm_has_the_same_card(model: Classifier, tmp_path: Path) -> None:
    folder = model.save_timm(tmp_path / "folder", license="mit")
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == "mit"
    assert "50.0 %" in card.text
    assert Classifier.from_pretrained(folder).facts == FACTS
