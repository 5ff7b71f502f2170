"""What the interpreter forgives, a compiler does not: every Triton kernel is made for a GPU.

Made, not run: Triton brings all that it needs, so this needs no GPU. A process of its own, as
Triton decides when it is imported whether kernels are compiled.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

_PROGRAM = """
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import JITFunction, driver

class Driver:
    def get_current_target(self): return GPUTarget("cuda", {arch}, 32)
    def get_current_device(self): return 0
    def get_current_stream(self, device): return 0

driver.set_active(Driver())
made = set()

def compile_only(self, grid):
    def call(*args, **kwargs):
        kernel = self.run(*args, grid=grid, warmup=True, **kwargs)
        assert kernel.asm["cubin"]
        made.add(self.fn.__name__)
    return call

JITFunction.__getitem__ = compile_only

from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import SearchSpace
from wsdarts_sdk.data.loader import Batch
from wsdarts_sdk.supernet.kernels.base import SkipDropout
from wsdarts_sdk.supernet.network import Supernet
from wsdarts_sdk.supernet.kernels.triton_kernels import TritonKernels

TritonKernels.check = lambda *_: None  # the tensors lie here; nothing runs on them
candidates = ("max_pool_3x3", "skip_connect", "sep_conv_3x3")
masks = OperationMasks.full(SearchSpace(nodes=2, candidates=candidates))
net = Supernet(masks, cells=1, channels=16, classes=[2], seed=0)
net.compute_dtype = torch.{dtype}
net.use(TritonKernels())
batch = Batch(images=torch.randn(2, 3, 8, 8), labels=torch.arange(2))
net.gradients(batch, "both", skip=SkipDropout(rate=0.3, seed=1))
print(*sorted(made))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "dtype"), [(90, "bfloat16"), (80, "float32")])
def test_every_kernel_compiles(arch: int, dtype: str, tmp_path: Path) -> None:
    surroundings = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(arch=arch, dtype=dtype)],
        env=surroundings | {"TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        *("coefficients", "finish", "forward", "gradient_sums", "identity", "mix", "mix_sums"),
        *("moments", "norm_backward", "to_source", "to_weights"),
    ]
