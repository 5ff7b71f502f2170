"""What the cells of a search are computed in.

Weights, α and its softmax, batch statistics and both optimisers are float32 always.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from wsdarts_sdk.search.settings import SearchSettings


def compute_dtype(settings: SearchSettings) -> torch.dtype:
    """The dtype that a search begins with."""
    return dtype_of(settings.compute_dtype)


@contextmanager
def exact_float32() -> Iterator[None]:
    """Multiply float32 as float32 on CUDA, and put back how it was.

    By default torch lets cuDNN round the factors of convolutions to TF32, of ten bits, and programs
    may allow the same to matrix products. A search steps by the signs of α's gradient, in which
    such roundings show (``docs/decisions/search-precision.md``). The settings are torch's,
    for the whole process.
    """
    places = _tf32()
    before = [getattr(place, name) for place, name, _ in places]
    try:
        for place, name, exact in places:
            setattr(place, name, exact)
        yield
    finally:
        for (place, name, _), value in zip(places, before, strict=True):
            setattr(place, name, value)


def _tf32() -> list[tuple[Any, str, Any]]:
    """Where torch keeps what float32 may be rounded to, with the value that means not at all."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    newer = [(place, "fp32_precision", "ieee") for place in (matmul, getattr(cudnn, "conv", None))]
    if getattr(torch.backends, "fp32_precision", "none") == "tf32":
        return newer
    try:
        _ = cudnn.allow_tf32, matmul.allow_tf32
    except RuntimeError:  # a program has used torch's newer names, which exclude the older ones
        return newer
    return [(matmul, "allow_tf32", False), (cudnn, "allow_tf32", False)]


def dtype_of(name: str) -> torch.dtype:
    """``float32`` or ``bfloat16`` by its name."""
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def name_of(dtype: torch.dtype) -> str:
    """The name that ``dtype_of`` takes."""
    return str(dtype).removeprefix("torch.")
