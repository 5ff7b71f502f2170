"""A kernel that gets no memory raises: an exception that left the library would end the process."""

import subprocess
import sys

import pytest

from wsdarts_sdk.compiler import compiled_library

HEAD = """
import ctypes, torch
from wsdarts_sdk.supernet.kernels import compiled
from wsdarts_sdk.compiler import compiled_library
calls = compiled.CompiledKernels(compiled_library().library, torch.float32).calls
SIZE = compiled._SIZE
"""
# More than there is: before the parallel loop, and within it.
CALLS = {
    "before the loop": """
calls["mix_backward"](
    SIZE(2**44), SIZE(1), SIZE(1), SIZE(8), None, SIZE(0), None, SIZE(8), None, None
)
""",
    "within the loop": """
shape = compiled._Shape(
    branches=1, images=1, height=2**22, width=2**22, channels=8, pitch=8, rows=1, columns=1,
    kernel=3, stride=1, dilation=1,
)
norm = ctypes.byref(compiled._Statistics())
calls["pool_forward"](ctypes.byref(shape), SIZE(1), None, None, norm)
""",
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_an_allocation_that_fails_raises(call: str) -> None:
    if compiled_library().library is None:
        pytest.skip("no C++ compiler")
    found = subprocess.run(
        [sys.executable, "-c", HEAD + call], capture_output=True, text=True, check=False
    )
    assert found.returncode == 1, found.stderr
    assert found.stderr.splitlines()[-1].startswith("MemoryError: "), found.stderr
