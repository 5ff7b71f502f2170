import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
from huggingface_hub import HfApi, constants

from tests.conftest import SHORT_PAUSES
from tests.hub_server import ALICE, HubServer
from tests.hub_server.fixture import hub_server, start_hub
from wsdarts_registry.errors import RegistryError, TaskError
from wsdarts_sdk.data.task import ImageTask

__all__ = ["hub_server", "start_hub"]

Make = Callable[..., Path]
Encode = Callable[..., bytes]


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")


def _write(
    path: Path,
    encode: Encode,
    start: int,
    labels: list[int],
    more: tuple[int, list[int]] = (0, []),
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pieces = ((start, labels), more)
    images = [{"bytes": encode(first + i)} for first, some in pieces for i in range(len(some))]
    columns = {"picture": images, "kind": labels + more[1]}
    features = datasets.Features(
        {"picture": datasets.Image(), "kind": datasets.ClassLabel(names=["pot", "cup"])}
    )
    datasets.Dataset.from_dict(columns, features=features).to_parquet(path)


@pytest.fixture
def pottery(tmp_path: Path, encode: Encode) -> Path:
    """A dataset of two splits, as a folder that `datasets` understands; beside it both in one."""
    root = tmp_path / "pottery"
    _write(tmp_path / "whole.parquet", encode, 0, [0, 1] * 4, more=(100, [1, 0] * 2))
    _write(root / "train.parquet", encode, 0, [0, 1] * 4)
    _write(root / "test.parquet", encode, 100, [1, 0] * 2)
    return root


def test_all_splits_are_put_together(pottery: Path) -> None:
    task = ImageTask.load(f"hf:{pottery}")
    assert task.name == "pottery"
    assert task.class_names == ("pot", "cup")
    assert len(task) == 12
    assert not task.given_split
    assert any("splits train, test" in note for note in task.notes)
    whole = ImageTask.load(pottery.parent / "whole.parquet")
    assert task.digest == whole.digest  # the same images, read as parquet
    assert (task.pixels(12) == whole.pixels(12)).all()


def test_a_dataset_of_the_hub_is_known_by_its_id_and_is_the_same_task(
    pottery: Path, hub_server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = HfApi(endpoint=hub_server.url, token=ALICE.token)
    api.create_repo("acme/pottery", repo_type="dataset")
    api.upload_folder(repo_id="acme/pottery", folder_path=pottery, repo_type="dataset")
    monkeypatch.setenv("HF_TOKEN", ALICE.token)
    for place in (datasets.config, constants):
        for name in ("HF_ENDPOINT", "ENDPOINT"):
            monkeypatch.setattr(place, name, hub_server.url, raising=False)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace("http://127.0.0.1:9", hub_server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    task = ImageTask.load("hf:acme/pottery")
    assert task.dataset == "acme/pottery"
    assert task.subset(range(10)).dataset == "acme/pottery"
    # A label: the same images from elsewhere are the same task.
    whole = ImageTask.load(pottery.parent / "whole.parquet")
    assert whole.dataset is None
    assert whole.digest == task.digest


def test_what_lies_on_this_machine_is_no_dataset_of_the_hub(
    pottery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ImageTask.load(f"hf:{pottery}").dataset is None
    monkeypatch.chdir(pottery.parent)  # where its name could be an id
    assert ImageTask.load("hf:pottery").dataset is None
    monkeypatch.chdir(pottery)
    assert ImageTask.load("hf:parquet").dataset is None  # the builder, for the files here


def test_splits_can_be_chosen(pottery: Path) -> None:
    train = ImageTask.load(f"hf:{pottery}", split="train")
    assert len(train) == 8
    assert train.digest == ImageTask.load(pottery / "train.parquet").digest
    whole = ImageTask.load(f"hf:{pottery}", split="test+train")
    assert whole.digest == ImageTask.load(f"hf:{pottery}", split=["train", "test"]).digest


@pytest.mark.parametrize("split", ["validation", "train+validation", "train+train", ""])
def test_unknown_splits_are_refused(pottery: Path, split: str) -> None:
    with pytest.raises(TaskError) as caught:
        ImageTask.load(f"hf:{pottery}", split=split)
    assert caught.value.found == repr(split)
    assert "train, test" in caught.value.expected


def test_hidden_labels_of_a_split(pottery: Path, encode: Encode) -> None:
    _write(pottery / "test.parquet", encode, 100, [-1] * 4)
    with pytest.raises(TaskError, match=r"row 0 .*'kind' .*'test' .*-1.*split="):
        ImageTask.load(f"hf:{pottery}")
    assert len(ImageTask.load(f"hf:{pottery}", split="train")) == 8


def test_an_image_folder_through_datasets(make_folder: Make) -> None:
    folder = make_folder({"a": 4, "b": 5})
    task = ImageTask.load(f"hf:{folder}")  # its images are paths, not bytes
    assert task.class_names == ("a", "b")
    assert task.digest == ImageTask.load(folder).digest


def test_corrupt_images_are_named_by_row_and_split(make_folder: Make) -> None:
    folder = make_folder({"a": 4, "b": 5})
    (folder / "b" / "4.png").write_bytes(b"no image")
    with pytest.raises(TaskError, match=r"row 8 .*'train' "):
        ImageTask.load(f"hf:{folder}")
    assert len(ImageTask.load(f"hf:{folder}", skip_corrupt=True)) == 8


def test_unlabelled_datasets(make_folder: Make) -> None:
    folder = make_folder({"a": 3}) / "a"
    with pytest.raises(TaskError, match=r"label column .*image \(Image\)"):
        ImageTask.load(f"hf:{folder}")


def test_a_missing_local_dataset(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TaskError, match=r"'.*empty' .*hf:NAME:CONFIG"):
        ImageTask.load(f"hf:{tmp_path / 'empty'}")


def test_a_token_is_not_sent_by_plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://hub.example")
    with pytest.raises(RegistryError, match=r"'http://hub.example' is not encrypted.*--insecure"):
        ImageTask.load("hf:somebody/pottery")


@pytest.mark.parametrize("offline", ["1", "0"])
def test_offline_is_one_clear_line(tmp_path: Path, offline: str) -> None:
    program = (
        "from wsdarts_registry.errors import TaskError\n"
        "from wsdarts_sdk.data.task import ImageTask\n"
        "try:\n    ImageTask.load('hf:somebody/pottery')\n"
        "except TaskError as error:\n    print(error)\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(SHORT_PAUSES), *sys.path]),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": offline,
        "HF_ENDPOINT": "http://127.0.0.1:9",  # nobody listens there
    }
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "'somebody/pottery'" in result.stdout
    assert result.stdout.count("\n") == 1
    assert "'hf:NAME:CONFIG'" in result.stdout
