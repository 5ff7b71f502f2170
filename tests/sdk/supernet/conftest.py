"""The engine's kernels, one after the other."""

from collections.abc import Callable

import pytest
import torch

from wsdarts_sdk.compiler import compiled_library
from wsdarts_sdk.supernet.kernels.base import Kernels
from wsdarts_sdk.supernet.kernels.compiled import CompiledKernels
from wsdarts_sdk.supernet.kernels.portable import PortableKernels

MakeKernels = Callable[[torch.dtype], Kernels]


def compiled(dtype: torch.dtype) -> Kernels:
    """The compiled kernels; skips where no compiler is."""
    found = compiled_library()
    if found.library is None:
        pytest.skip(found.why)
    return CompiledKernels(found.library, dtype)


def portable(_: torch.dtype) -> Kernels:
    """The portable kernels."""
    return PortableKernels()


@pytest.fixture(params=[compiled, portable], ids=["compiled", "portable"])
def make_kernels(request: pytest.FixtureRequest) -> MakeKernels:
    """Kernels of a dtype."""
    made: MakeKernels = request.param
    return made


@pytest.fixture
def make_compiled() -> MakeKernels:
    """The compiled kernels of a dtype."""
    return compiled
