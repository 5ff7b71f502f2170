"""What the Hub reads from the front matter of a README."""

import re
from typing import Any

import yaml  # type: ignore[import-untyped, unused-ignore]

_FRONT_MATTER = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)
_PREFIXED = ("license", "dataset", "arxiv", "base_model")


class CardError(Exception):
    """The front matter is not what the Hub accepts."""


def card_data(readme: str) -> dict[str, Any]:
    """Return the metadata of a README; empty where it has none.

    Raises:
        CardError: It is no YAML mapping, or its tags are no list of words.
    """
    found = _FRONT_MATTER.match(readme)
    if found is None:
        return {}
    try:
        data = yaml.safe_load(found.group(1)) or {}
    except yaml.YAMLError as error:
        raise CardError(f"YAML Metadata Error: {error}") from error
    if not isinstance(data, dict):
        raise CardError("YAML Metadata Error: the metadata must be an object")
    for key in ("tags", "language", "datasets"):
        if not all(isinstance(tag, str) for tag in _listed(data.get(key))):
            raise CardError(f'YAML Metadata Error: "{key}" must be a string or a list of strings')
    _check_results(data.get("model-index"))
    return data


def _check_results(index: object) -> None:
    """Hold a model index to what the Hub's specification of model cards requires."""
    for model in _listed(index):
        required: list[Any] = []
        try:
            required.append(model["name"])
            for result in model["results"]:
                dataset = result["dataset"]
                required += [result["task"]["type"], dataset["type"], dataset["name"]]
                for metric in result["metrics"]:
                    required += [metric["type"], metric["value"]]
        except (KeyError, TypeError) as error:
            raise CardError(f'YAML Metadata Error: "model-index" lacks {error}') from error
        if any(value in (None, "") for value in required):
            raise CardError('YAML Metadata Error: "model-index" has an empty value')


def validation(content: str) -> tuple[int, dict[str, Any]]:
    """Return status and answer of ``validate-yaml``."""
    try:
        data = card_data(content)
    except CardError as error:
        return 400, {"errors": [{"message": str(error)}], "warnings": []}
    warning = {"message": "empty or missing yaml metadata in repo card"}
    return 200, {"errors": [], "warnings": [] if data else [warning]}


def card_tags(data: dict[str, Any]) -> list[str]:
    """Return the tags by which the Hub finds a repository with this metadata."""
    tags = [data.get("library_name"), data.get("pipeline_tag"), *_listed(data.get("tags"))]
    tags += _listed(data.get("language"))
    for key in _PREFIXED:
        values = _listed(data.get(key, data.get(f"{key}s")))
        tags += [f"{key}:{value}" for value in values]
    return list(dict.fromkeys(str(tag) for tag in [*tags, "region:us"] if tag))


def _listed(value: object) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
