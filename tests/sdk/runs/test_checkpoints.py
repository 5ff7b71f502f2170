"""Journals: rows that survive a cut-off line, checkpoints that survive going on."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from wsdarts_registry.errors import RunError
from wsdarts_sdk.runs.checkpoints import Checkpoint, FileJournal, Journal, MemoryJournal

pytestmark = pytest.mark.processes


@pytest.fixture(params=["file", "memory"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Journal:
    """Both kinds."""
    makers: dict[str, Callable[[], Journal]] = {
        "file": lambda: FileJournal(tmp_path, "search"),
        "memory": MemoryJournal,
    }
    return makers[request.param]()


def test_rows(journal: Journal) -> None:
    assert journal.rows() == []
    rows = [{"epoch": i, "loss": 0.1 * i, "alpha_loss": None, "name": "α"} for i in range(4)]
    for row in rows:
        journal.append(row)
    assert journal.rows() == rows
    journal.truncate(2)
    assert journal.rows() == rows[:2]
    journal.append(rows[3])
    assert journal.rows() == [*rows[:2], rows[3]]
    journal.truncate(0)
    assert journal.rows() == []


def test_checkpoints_are_copies(journal: Journal) -> None:
    assert journal.restore() is None
    tensor, facts = torch.zeros(3), {"seconds": [1.0]}
    journal.checkpoint(Checkpoint(tensors={"a": tensor}, facts=facts))
    tensor.add_(1)
    facts["seconds"].append(2.0)
    found = journal.restore()
    assert found is not None
    assert found.tensors["a"].tolist() == [0, 0, 0]
    assert found.facts == {"seconds": [1.0]}


def test_floats_come_back_bit_for_bit(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, "search")
    values = torch.rand(100, dtype=torch.float64).tolist()
    journal.append({"values": values})
    journal.truncate(1)
    assert journal.rows() == [{"values": values}]


@pytest.mark.parametrize("cut_off", ['{"epoch": 2', "{", '{"epoch": 2}', "\\u00", "x"])
def test_a_line_without_its_end_does_not_count(cut_off: str, tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, "search")
    journal.append({"epoch": 0})
    journal.append({"epoch": 1})
    path = tmp_path / "search.metrics.jsonl"
    with path.open("a", encoding="utf-8") as file:
        file.write(cut_off)
    again = FileJournal(tmp_path, "search")
    assert again.rows() == [{"epoch": 0}, {"epoch": 1}]
    again.truncate(2)
    again.append({"epoch": 2})
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [{"epoch": i} for i in range(3)]


@pytest.mark.parametrize("damage", [b"{broken}\n", b"\xff\xfe\n"])
def test_a_damaged_line_is_an_error(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / "search.metrics.jsonl").write_bytes(damage + b'{"epoch": 1}\n')
    with pytest.raises(RunError, match=r"row 1 of .*search\.metrics\.jsonl"):
        FileJournal(tmp_path, "search").rows()


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_only_regular_files_are_read(kind: str, tmp_path: Path) -> None:
    for name in ("search.metrics.jsonl", "search.checkpoint.safetensors"):
        if kind == "pipe":
            os.mkfifo(tmp_path / name)
        else:
            (tmp_path / name).symlink_to("/dev/zero")
    journal = FileJournal(tmp_path, "search")
    with pytest.raises(RunError, match=r"search\.metrics\.jsonl"):
        journal.rows()
    with pytest.raises(RunError, match=r"search\.checkpoint\.safetensors cannot be read"):
        Checkpoint.load(tmp_path / "search.checkpoint.safetensors")


def test_due_by_the_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("wsdarts_sdk.runs.checkpoints.time.monotonic", lambda: now[0])
    journal = FileJournal(tmp_path, "search", interval=20)
    found = []
    for now[0] in (119.0, 120.0):
        found.append(journal.due())
    journal.checkpoint(Checkpoint(tensors={"a": torch.ones(1)}, facts={}))
    found.append(journal.due())
    now[0] = 140.0
    found.append(journal.due())
    assert found == [False, True, False, True]
    assert not MemoryJournal().due()


def test_parts_of_a_run_keep_apart(tmp_path: Path) -> None:
    search, training = FileJournal(tmp_path, "search"), FileJournal(tmp_path, "training")
    search.append({"epoch": 0})
    search.checkpoint(Checkpoint(tensors={"a": torch.ones(1)}, facts={"of": "search"}))
    assert training.rows() == []
    assert training.restore() is None
