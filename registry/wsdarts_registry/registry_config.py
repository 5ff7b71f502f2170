"""The settings of a registry, ``registry.json``."""

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from wsdarts_registry.embedding_space import EmbeddingSpace, NearThreshold
from wsdarts_registry.errors import RegistryError
from wsdarts_registry.manifest import EmbeddingSpaceRecord
from wsdarts_registry.records import Document, Line, Record


class NearRecord(Record):
    """Up to which distance a task is near in one embedding space, and who measured that."""

    space: EmbeddingSpaceRecord
    distance: Annotated[float, Field(gt=0, lt=1)]
    measured: Line


class RegistryConfig(Document):
    """``registry.json``: what a registry is called and how it ranks."""

    format: Literal[1] = 1
    name: Line
    default_probe: Line = "shipped"
    near: tuple[NearRecord, ...] = ()

    def threshold(self, space: EmbeddingSpace) -> NearThreshold | None:
        """The measured threshold of an embedding space, if there is one.

        A threshold belongs to probe and estimator rather than to a registry, so those that
        come with the package hold wherever a registry has none of its own.
        """
        for record in (*self.near, *_shipped()):
            if record.space.embedding_space == space:
                return NearThreshold(
                    space=space, distance=record.distance, measured=record.measured
                )
        return None


@cache
def _shipped() -> tuple[NearRecord, ...]:
    """The thresholds that were measured for the zoo that comes with the package."""
    path = Path(__file__).parent / "zoo_data" / "registry.json"
    return RegistryConfig.from_bytes(path.read_bytes(), what=str(path), error=RegistryError).near
