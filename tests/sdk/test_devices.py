"""What a device has left."""

import sys
from pathlib import Path

import pytest
import torch

from wsdarts_sdk.devices import _left_in_container, free_memory


def test_some_memory_is_free_and_it_is_counted_in_bytes() -> None:
    free = free_memory(torch.device("cpu"))
    assert 10_000_000 < free < 2**50


@pytest.mark.parametrize(
    ("most", "used", "left"),
    [
        ("1000", "700", 350),  # 50 are files that would be given up
        ("1000", "1100", 0),
        ("max", "700", sys.maxsize),
    ],
)
def test_a_container_has_less(tmp_path: Path, most: str, used: str, left: int) -> None:
    (tmp_path / "memory.max").write_text(f"{most}\n")
    (tmp_path / "memory.current").write_text(f"{used}\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 50\nactive_file 9\n")
    assert _left_in_container(tmp_path) == left


def test_no_container(tmp_path: Path) -> None:
    assert _left_in_container(tmp_path) == sys.maxsize
