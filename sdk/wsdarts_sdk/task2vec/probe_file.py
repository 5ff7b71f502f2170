"""Probe weights on the disk: safetensors, with a card in the metadata that says what they are."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wsdarts_registry.errors import ProbeError
from wsdarts_registry.files import read_regular
from wsdarts_registry.installation import UPDATE
from wsdarts_registry.tensors import read_tensors

Arrays = dict[str, NDArray[np.generic]]


class ProbeCard(BaseModel):
    """What a probe file says of itself; weights of other origin have none.

    Attributes:
        format: Version of this card.
        name: Short name of the probe.
        architecture: Name of a timm network.
        options: Options of ``timm.create_model``.
        size: Height and width of the input in pixels.
        mean: Mean of the three channels, of the range 0 … 1.
        std: Standard deviation of the three channels, of the same range.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    format: Literal[1]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    architecture: str
    options: dict[str, str | int | float | bool | list[int]]
    size: int
    mean: list[float] = Field(min_length=3, max_length=3)
    std: list[float] = Field(min_length=3, max_length=3)


def read_probe_file(path: Path) -> tuple[Arrays, ProbeCard | None]:
    """Read weights, and the card if there is one.

    Raises:
        ProbeError: The file is missing, damaged, or has a card of another form or version.
    """
    try:
        content = read_regular(path)
    except OSError as error:
        raise ProbeError(
            f"cannot read the probe {path}: {error.strerror}; expected a safetensors file of "
            "weights of a timm network"
        ) from error
    arrays, metadata = read_tensors(content, what=f"the probe {path}", error=ProbeError)
    return dict(arrays), None if metadata is None else _read_card(path, metadata)


def _read_card(path: Path, data: Any) -> ProbeCard:
    try:
        return ProbeCard.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ProbeError(
            f"the card of the probe {path} is malformed at {where or 'its top'}: {first['msg']}; "
            f"expected a file of this version: update with {UPDATE}"
        ) from error
