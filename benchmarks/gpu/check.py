"""Whether this project works on a GPU at all, and what fell back and why: the first job.

    python benchmarks/gpu/check.py

Ends within three minutes, is resumed by calling it again, and needs no data: images are made here.
Every part says whether it worked, what it ran on, and how far its results are from the CPU's; a
part that fails is kept with its error, and the others go on. Writes
``benchmarks/results/gpu/check.json`` after each part:

* ``kernels``: which ones were chosen for float32 and bfloat16, why, and why not others.
* ``gradient``: α's gradient and the loss of one batch, against the CPU's in float64.
* ``search``: TAS in three stages, in float32 and in bfloat16; how its steps ran (graphs or not,
  with what was measured); its supernet's loss beside the CPU's.
* ``warm start``: from what that search found, with weights, in both dtypes.
* ``training``: of its genotype, beside the CPU's.
* ``embedding``: by the shipped probe; its distance from the CPU's.
* ``tests``: those of this project's tests that need a GPU, if pytest is there.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from job import BENCHMARKS, Results, Time, parser_for, say

from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import DARTS
from wsdarts_registry.embedding.distance import symmetric_distance
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_sdk.data.loader import Batch
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.devices import dtype_of
from wsdarts_sdk.pipelines.search import search
from wsdarts_sdk.pipelines.train import train
from wsdarts_sdk.pipelines.warm_start import warm_start
from wsdarts_sdk.presets import TINY, Preset
from wsdarts_sdk.search.state import exact_float32
from wsdarts_sdk.setting_fields import COMPUTE_DTYPES
from wsdarts_sdk.supernet.kernel_choice import VARIABLE, choose_kernels
from wsdarts_sdk.supernet.kernels.portable import PortableKernels
from wsdarts_sdk.supernet.network import Supernet
from wsdarts_sdk.task2vec.embedding import embed
from wsdarts_sdk.task2vec.loading import load_probe

SECONDS = 90.0  # and what is begun before, and the start of the machine: three minutes
TESTS = (
    "tests/sdk/search/test_graphs.py",
    "tests/sdk/data/test_loader.py",
    "tests/sdk/artifacts/test_check.py::test_on_cuda",
)
_TESTS_SECONDS = 45.0
_CLASSES, _IMAGES, _SIZE = 3, 96, 24
_CPU = torch.device("cpu")
Part = Callable[[torch.device], dict[str, Any]]


def kernels(device: torch.device) -> dict[str, Any]:
    """What the engine runs on, in each dtype."""
    found = {name: choose_kernels(device, dtype_of(name)) for name in COMPUTE_DTYPES}
    return {name: {"kernels": c.kernels.name, "why": c.why} for name, c in found.items()}


def gradient(device: torch.device) -> dict[str, Any]:
    """α's gradient in each dtype beside float64 on the CPU."""
    images, labels = _batch()

    def alpha(where: torch.device, net: Supernet) -> tuple[torch.Tensor, float]:
        batch = Batch(images=images.to(where, net.cell_weights.dtype), labels=labels.to(where))
        found = net.gradients(batch, "alpha")
        gradients = torch.cat([each.double().flatten().cpu() for each in found.alpha])
        return gradients, float(found.loss)

    exact = _network().double()
    exact.use(PortableKernels())
    right, loss = alpha(_CPU, exact)
    told: dict[str, Any] = {"loss_float64": loss}
    for name in COMPUTE_DTYPES:
        net = _network().to(device)
        net.compute_dtype = None if name == "float32" else dtype_of(name)
        with exact_float32():
            found, here = alpha(device, net)
        told[name] = {
            "kernels": net.kernels.name,
            "loss": here,
            "relative_error": float((found - right).norm() / right.norm()),
            "signs_that_agree": float((found.sign() == right.sign()).double().mean()),
        }
    return told


def searched(device: torch.device) -> dict[str, Any]:
    """A search in each dtype, and one on the CPU."""
    found = {name: _told(_search(device, name)) for name in COMPUTE_DTYPES}
    with _plain_kernels():  # compiling others would take longer than the search
        found["cpu"] = _told(_search(_CPU, "float32"))
    return found


def warm_started(device: torch.device) -> dict[str, Any]:
    """A warm start with weights in each dtype, from the search in float32."""
    told = {}
    for name in COMPUTE_DTYPES:
        folder = _folder()
        DirectoryStore(folder / "registry", create=True).publish(
            _search(device, "float32").artifact, f"source-{name}"
        )
        found = warm_start(
            _task(),
            source=f"source-{name}",
            mode="trained",
            registry=folder / "registry",
            out=folder / f"warm-{device.type}-{name}",
            preset=_preset(name),
            device=str(device),
            progress=_silent,
        )
        told[name] = _told(found)
    return told


def trained(device: torch.device) -> dict[str, Any]:
    """The final network of a genotype, here and on the CPU."""
    genotype = _search(device, "float32").genotype
    told = {}
    for where in (device, _CPU):
        out = _folder() / f"train-{where.type}-{len(told)}"
        run = train(
            genotype,
            _task(),
            out=out,
            preset=_preset("float32"),
            device=str(where),
            progress=_silent,
        )
        told[f"{where.type} {len(told)}"] = {"accuracy": run.accuracy}
    return told


def embedded(device: torch.device) -> dict[str, Any]:
    """The embedding by the shipped probe, and its distance from the CPU's."""
    one, other = (
        embed(
            _task(),
            load_probe("shipped", device=str(where)),
            cache_dir=_folder() / f"embedding-{number}",  # of its own: found again, it says nothing
        ).values
        for number, where in enumerate((device, _CPU))
    )
    return {"distance_from_cpu": float(symmetric_distance(one, other[None])[0])}


def tested(device: torch.device) -> dict[str, Any]:
    """The tests that need a GPU; those that need none run, too."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
    if device.type != "cuda":
        return {"left_out": f"they need a GPU, this is {device}"}
    try:
        found = subprocess.run(
            command,
            cwd=BENCHMARKS.parent,
            capture_output=True,
            text=True,
            timeout=_TESTS_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"left_out": f"they took more than {_TESTS_SECONDS:g} seconds"}
    if "No module named pytest" in found.stderr:
        return {"left_out": "there is no pytest here"}
    lines = found.stdout.strip().splitlines()
    if found.returncode:
        raise RuntimeError(" | ".join(lines[-5:] or found.stderr.splitlines()[-5:]))
    return {"passed": lines[-1]}


PARTS: dict[str, Part] = {
    "kernels": kernels,
    "gradient": gradient,
    "search": searched,
    "warm start": warm_started,
    "training": trained,
    "embedding": embedded,
    "tests": tested,
}


def main() -> None:
    """Run what has not worked yet, as far as the time goes."""
    parser = parser_for(__doc__)
    parser.set_defaults(seconds=SECONDS)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    arguments: argparse.Namespace = parser.parse_args()
    left = Time(arguments.seconds)
    results = Results(arguments.results / "check.json", arguments.device, {})
    todo = [name for name in arguments.parts if not results.done.get(name, {}).get("worked")]
    for number, name in enumerate(list(todo)):
        if number and left.left() <= 0:
            break
        results.keep(name, attempted(PARTS[name], arguments.device))
        todo.remove(name)
        print(f"{name}: {json.dumps(results.done[name])}", flush=True)
    failed = [name for name in arguments.parts if not results.done.get(name, {}).get("worked")]
    print(f"failed or left out: {', '.join(failed) or 'nothing'}", flush=True)
    say(len(todo), "parts")


def attempted(part: Part, device: torch.device) -> dict[str, Any]:
    """What a part tells, or the error that ended it."""
    begun = time.perf_counter()
    try:
        found = part(device) | {"worked": True}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the job is to find out
        found = {"worked": False, "error": f"{type(error).__name__}: {error}"[:2000]}
    return found | {"seconds": round(time.perf_counter() - begun, 1)}


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="wsdarts-check-"))


@cache
def _task() -> ImageTask:
    """Stripes of three directions under noise."""
    draws = np.random.default_rng(0)
    labels = np.arange(_IMAGES) % _CLASSES
    rows, columns = np.mgrid[0:_SIZE, 0:_SIZE] / 3
    angles = labels * np.pi / _CLASSES
    waves = np.sin(
        np.cos(angles)[:, None, None] * columns
        + np.sin(angles)[:, None, None] * rows
        + draws.uniform(0, 6, size=(_IMAGES, 1, 1))
    )
    noisy = waves[..., None] + 0.3 * draws.normal(size=(_IMAGES, _SIZE, _SIZE, 3))
    images = np.clip(128 + 60 * noisy, 0, 255).astype(np.uint8)
    return ImageTask.load((images, labels), name="stripes", cache_dir=_folder() / "cache")


def _batch() -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(0)
    images = torch.randn(16, 3, _SIZE, _SIZE, generator=draws, dtype=torch.float64)
    return images, torch.arange(16) % _CLASSES


def _network() -> Supernet:
    masks = OperationMasks.full(DARTS)
    return Supernet(masks, cells=5, channels=16, classes=[_CLASSES], seed=0).train()


def _preset(dtype: str) -> Preset:
    stages = tuple(replace(stage, epochs=2) for stage in TINY.search.stages)
    settings = replace(TINY.search, stages=stages, steps_per_epoch=6, compute_dtype=dtype)
    training = replace(TINY.training, epochs=2, steps_per_epoch=6)
    return replace(TINY, name="check", search=settings, training=training)


@cache
def _search(device: torch.device, dtype: str) -> Any:
    return search(
        _task(),
        out=_folder() / f"search-{device.type}-{dtype}",
        preset=_preset(dtype),
        device=str(device),
        resume=True,
        progress=_silent,
    )


def _told(run: Any) -> dict[str, Any]:
    rows = run.result.rows
    return {
        "compute_dtype": rows[-1]["compute_dtype"],
        "steps_run": {str(row["stage"]): row["steps_run"] for row in rows},
        "alpha_loss": rows[-1]["alpha_loss"],
        "alpha_accuracy": rows[-1]["alpha_accuracy"],
        "seconds_by_phase": run.seconds,
        "genotype": run.genotype.to_darts(),
    }


@contextmanager
def _plain_kernels() -> Iterator[None]:
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "portable"
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def _silent(_what: str, _done: int, _total: int, /) -> None:
    """Tell nothing: what is found is told."""


if __name__ == "__main__":
    sys.exit(main())
