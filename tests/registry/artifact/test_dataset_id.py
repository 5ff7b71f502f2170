"""The rule for ids of datasets is the Hub's own."""

import re

import pytest
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from hypothesis import example, given
from hypothesis import strategies as st

from wsdarts_registry.artifact.manifest import DATASET_ID_PATTERN, is_dataset_id

_NEAR_IDS = st.text(alphabet="aZ9_.-/ é\n", max_size=12) | st.text(alphabet="a-.", max_size=4).map(
    lambda text: f"owner/{text}git"
)


@given(_NEAR_IDS)
@example("a" * 96)
@example("a" * 97)
@example(f"{'a' * 96}/{'b' * 96}")
@example(f"{'a' * 97}/b")
@example("")
def test_the_client_of_the_hub_takes_and_refuses_the_same(text: str) -> None:
    try:
        validate_repo_id(text)
    except HFValidationError:
        assert not is_dataset_id(text)
    else:
        # Clients before 2 let letters of any script pass, long owners, and a line break at the end.
        lax = not text.isascii() or len(text) > 97 or text.endswith("\n")
        assert is_dataset_id(text) or lax


@pytest.mark.parametrize("text", ["a", "a" * 96, f"{'a' * 96}/{'b' * 96}", "_a/b_", "a.b/c-d"])
def test_ids_that_there_can_be(text: str) -> None:
    assert is_dataset_id(text)
    validate_repo_id(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a" * 97,
        f"{'a' * 97}/b",
        "a/b@main",
        "../a",
        "/a/b",
        "C:\\a",
        "datasets/a/b",
        "https://x/a",
        "~/a",
        "a b",
        "ä/b",
    ],
)
def test_revisions_paths_and_addresses_are_no_ids(text: str) -> None:
    assert not is_dataset_id(text)
    assert re.search(DATASET_ID_PATTERN, text) is None  # as JSON Schema applies it
