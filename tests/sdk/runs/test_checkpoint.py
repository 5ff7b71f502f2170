"""Checkpoints: exact round trips, and files that are not whole."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from wsdarts_registry.errors import RunError
from wsdarts_sdk.runs.checkpoints import Checkpoint


def make(value: float = 1.5) -> Checkpoint:
    shared = torch.full((4, 3), value)
    return Checkpoint(
        tensors={
            "weights": shared,
            "window": shared[1:3].t(),  # neither contiguous nor its own memory
            "count": torch.tensor(7),
            "double": torch.tensor([1 / 3], dtype=torch.float64),
        },
        facts={"position": [1, 2, 3], "seconds": [0.1 + 0.2], "name": "α"},
    )


def test_round_trip(tmp_path: Path) -> None:
    path, made = tmp_path / "checkpoint.safetensors", make()
    made.save(path)
    found = Checkpoint.load(path)
    assert found.facts == made.facts
    assert found.tensors.keys() == made.tensors.keys()
    for name, value in made.tensors.items():
        assert torch.equal(found.tensors[name], value)
        assert found.tensors[name].dtype == value.dtype


def test_loaded_tensors_do_not_depend_on_the_file(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    make(1.5).save(path)
    found = Checkpoint.load(path)
    content = path.read_bytes()
    path.write_bytes(bytes(len(content)))  # in place: the same file
    assert torch.equal(found.tensors["weights"], torch.full((4, 3), 1.5))
    found.tensors["weights"].add_(1)  # and they can be written


def test_saving_replaces_the_one_before_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    make(1.0).save(path)
    make(2.0).save(path)
    assert Checkpoint.load(path).tensors["weights"][0, 0] == 2
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.safetensors"]


@pytest.mark.parametrize("keep", [0, 1, 8, 60, -1])
def test_truncated(keep: int, tmp_path: Path) -> None:
    path = tmp_path / "search.checkpoint.safetensors"
    make().save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RunError, match="cannot be read") as caught:
        Checkpoint.load(path)
    assert str(path) in caught.value.what
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_another_safetensors_file(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_file({"a": torch.ones(1)}, path)
    with pytest.raises(RunError, match="cannot be read"):
        Checkpoint.load(path)
