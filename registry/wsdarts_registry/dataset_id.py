"""Ids of datasets on the Hugging Face Hub, ``OWNER/NAME`` or ``NAME``."""

import re

_PART = r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
DATASET_ID_PATTERN = rf"^({_PART}/)?{_PART}$"
"""All of the Hub's rule but what ``is_dataset_id`` adds: JSON Schema's and Rust's patterns can say
no more."""

_DATASET_ID = re.compile(DATASET_ID_PATTERN, re.ASCII)


def is_dataset_id(text: str) -> bool:
    """Whether a text can be the id of a dataset on the Hub.

    The rule is that of ``huggingface_hub.utils.validate_repo_id``, without importing that library:
    what lists a registry must not wait for it.
    """
    return (
        _DATASET_ID.fullmatch(text) is not None
        and "--" not in text
        and ".." not in text
        and not text.endswith(".git")
    )
