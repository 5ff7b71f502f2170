"""A supernet's weights and running statistics under the names of a network of modules.

Hooks of ``state_dict`` and ``load_state_dict``: in memory there are three vectors, on disk one
tensor for each weight and each statistic of each operation.
"""

from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from wsdarts_sdk.supernet.network import Supernet

_VECTOR = "cell_weights"
_STATISTICS = {"running_mean": "running_mean", "running_var": "running_variance"}


def write_names(net: "Supernet", state: dict[str, Any], prefix: str, _: Any) -> None:
    """Replace the vectors in a state dict by named views."""
    views = net.layout.views(state.pop(prefix + _VECTOR)) | _statistics(net)
    state |= {prefix + name: view for name, view in views.items()}


def read_names(
    net: "Supernet",
    state: dict[str, Any],
    prefix: str,
    _metadata: Any,
    _strict: bool,
    missing: list[str],
    _unexpected: list[str],
    errors: list[str],
) -> None:
    """Copy the named tensors of a state dict into the vectors."""
    vector = net.cell_weights.detach()
    places = net.layout.views(vector) | _statistics(net)
    for name, place in places.items():
        value = state.pop(prefix + name, None)
        if value is None:
            missing.append(prefix + name)
        elif value.shape != place.shape:
            errors.append(
                f"size mismatch for {prefix}{name}: copying a param with shape {value.shape} "
                f"from checkpoint, the shape in current model is {place.shape}."
            )
        else:
            place.copy_(value)
    for name in net.statistics.runs:  # modules count their batches; nothing depends on it
        state.pop(f"{prefix}{name}.num_batches_tracked", None)
    state[prefix + _VECTOR] = vector


def _statistics(net: "Supernet") -> dict[str, Tensor]:
    return {
        f"{name}.{suffix}": view
        for suffix, buffer in _STATISTICS.items()
        for name, view in net.statistics.views(net.get_buffer(buffer).detach()).items()
    }
