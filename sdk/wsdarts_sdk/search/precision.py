"""What the cells of a search are computed in.

Weights, α and its softmax, batch statistics and both optimisers are float32 always.
"""

import torch

from wsdarts_sdk.search.settings import SearchSettings


def compute_dtype(settings: SearchSettings, device: torch.device) -> torch.dtype:
    """The dtype that a search on a device begins with."""
    if settings.compute_dtype != "auto":
        return dtype_of(settings.compute_dtype)
    return usual_dtype(device)


def usual_dtype(device: torch.device) -> torch.dtype:
    """What ``auto`` is: bfloat16 on a GPU that computes with it, float32 anywhere else.

    Where memory traffic is the limit, half of the bytes are half of the time.
    """
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32


def dtype_of(name: str) -> torch.dtype:
    """``float32`` or ``bfloat16`` by its name."""
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def name_of(dtype: torch.dtype) -> str:
    """The name that ``dtype_of`` takes."""
    return str(dtype).removeprefix("torch.")
