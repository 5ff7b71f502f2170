"""A job that goes on elsewhere than where it began."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.pipelines.run_context import open_context
from wsdarts_sdk.presets import TINY
from wsdarts_sdk.search.settings import settings_json


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_another_number_of_threads_is_told_in_one_line(
    tmp_path: Path, digits_task: ImageTask
) -> None:
    said: list[str] = []
    for threads in (1, 1, 2):
        torch.set_num_threads(threads)
        said.append("")
        with open_context(
            "search",
            [digits_task],
            TINY,
            out=tmp_path / "run",
            resume=True,
            device=torch.device("cpu"),
            progress=lambda what, _done, _total, /: said.append(what),
            search=settings_json(TINY.search),
        ) as context:
            assert context.run.read_json("environment.json")["threads"] == threads
    assert said[:3] == ["", "", ""]
    (line,) = said[3:]
    assert "2 threads" in line
    assert "begun with 1" in line
