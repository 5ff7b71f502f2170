"""Putting weights from a file into a backbone, with nothing missing and nothing left over."""

from typing import Any

import torch
from torch import nn

from wsdarts_registry.errors import ProbeError
from wsdarts_sdk.task2vec.probe_file import Arrays

_SHOWN = 3
# Counts the batches of the training; eval mode does not read it.
_COUNTER = "num_batches_tracked"


def load_weights(network: nn.Module, weights: Arrays, *, what: str) -> None:
    """Load a backbone strictly; weights of the classifier, which a probe drops, may be there.

    Args:
        network: A timm network without classifier.
        weights: Arrays by name; floating-point ones of any precision.
        what: Name of the file, for the message.

    Raises:
        ProbeError: Names are missing or unexpected, a shape differs, or a weight is not
            finite.
    """
    wanted = {n: t for n, t in network.state_dict().items() if not n.endswith(_COUNTER)}
    classifiers = _classifiers(network)
    given = {
        name: torch.from_numpy(array.copy())
        for name, array in weights.items()
        if not name.endswith(_COUNTER) and not name.startswith(classifiers)
    }
    problems = {
        "missing": [name for name in wanted if name not in given],
        "unexpected": [name for name in given if name not in wanted],
        "of another shape": [
            f"{name} {tuple(given[name].shape)} (expected {tuple(tensor.shape)})"
            for name, tensor in wanted.items()
            if name in given and given[name].shape != tensor.shape
        ],
        "not finite": [name for name, tensor in given.items() if not tensor.isfinite().all()],
    }
    found = "; ".join(f"{_few(names)} {problem}" for problem, names in problems.items() if names)
    if found:
        raise ProbeError(
            f"the weights in {what} do not fit the network: {found}. Expected the state dict of "
            "that timm network: name it as NETWORK=PATH, with its options after ?"
        )
    network.load_state_dict(given, strict=False)


def _classifiers(network: nn.Module) -> tuple[str, ...]:
    published: Any = network.pretrained_cfg
    names = published.get("classifier") or ()
    return tuple(f"{n}." for n in ((names,) if isinstance(names, str) else names))


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
