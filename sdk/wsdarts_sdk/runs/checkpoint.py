"""Checkpoints: one safetensors file that holds tensors and the facts beside them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from wsdarts_registry.errors import RunError
from wsdarts_registry.files import open_regular, write_atomically

_FACTS = "facts"


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """Where long work stands.

    Attributes:
        tensors: By name; anything on any device.
        facts: JSON data: the position and whatever else is not a tensor.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    def save(self, path: Path) -> None:
        """Write the checkpoint so that the previous one stays until this one is whole."""
        # Independent copies: safetensors refuses tensors that share memory.
        tensors = {n: t.detach().cpu().clone().contiguous() for n, t in self.tensors.items()}
        write_atomically(path, save(tensors, {_FACTS: json.dumps(self.facts)}))

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """Read a checkpoint.

        Raises:
            RunError: The file is not one.
        """
        try:
            with open_regular(path), safe_open(path, framework="pt") as file:
                facts = json.loads((file.metadata() or {})[_FACTS])
                # Clones own their memory; the originals are windows into the file.
                names = file.keys()
                tensors = {name: file.get_tensor(name).clone() for name in names}
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            raise RunError(
                f"the checkpoint {path} cannot be read ({error}); delete it to start that part "
                "of the run again"
            ) from error
        return cls(tensors=tensors, facts=facts)
