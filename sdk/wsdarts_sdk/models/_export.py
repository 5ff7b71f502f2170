"""Export of a trained model as an ONNX file.

An ONNX file is compared with the model before it gets its name. Input ``images``: RGB in [0, 1],
float32, shape ``(batch, 3, size, size)``; the normalisation is part of the graph. Output
``logits``: shape ``(batch, classes)``. The file's metadata hold ``class_names`` (a JSON list in the
order of the logits), ``image_size``, ``resize`` (``squash``, or ``crop``: the shorter side to the
size, then the middle of the longer one) and ``genotype``.
"""

import copy
import json
import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsdarts_registry._files import check_writable, expanded, write_atomically
from wsdarts_registry._libraries import install_extra, naming_hidden_libraries
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.errors import ExportError
from wsdarts_sdk.data.decoding import CorruptImage
from wsdarts_sdk.models.prediction import AnyImage, TrainedModel, as_input, decoded_images

TOLERANCE = 1e-4
"""Greatest difference between logits of model and file, relative to the greatest logit (or 1)."""
_BATCH = 32
_NOISE = (1, 7)  # batches of other sizes than the one that is traced


@dataclass(frozen=True, kw_only=True)
class OnnxFile:
    """An ONNX file that computes what the model computes.

    Attributes:
        path: Where it is.
        difference: Greatest difference found, as for ``TOLERANCE``.
        images: How many images it was found on, those of random numbers included.
    """

    path: Path
    difference: float
    images: int


def save_onnx(
    model: TrainedModel, path: str | Path, *, images: AnyImage | Iterable[AnyImage] = ()
) -> OnnxFile:
    """Export a trained model, and compare both on random and on real images.

    A model of another floating type is exported as its float32 copy is.

    Args:
        model: The trained model.
        path: The file; one that is there is replaced if all went well.
        images: Real images to compare on, in the forms of ``Classifier.predict``.

    Raises:
        ExportError: The packages are missing, torch cannot export the model, an image does not
            decode, the two differ, or the file cannot be written. There is no file then.
    """
    _check_packages()
    target = expanded(path)
    with _writing(target):
        check_writable(target)
    copied = copy.deepcopy(model).cpu().float().eval()  # the file computes in float32
    content = _exported(copied)
    difference, count = _compare(copied, content, images)
    if not difference <= TOLERANCE:  # a NaN fails, too
        raise ExportError(
            (
                "the ONNX file computes something else than the model (relative difference "
                f"{difference:.1e}, allowed {TOLERANCE:.0e})"
            ),
            hint="nothing was written. Try other versions of torch and onnxscript",
        )
    with _writing(target):
        write_atomically(target, content)
    return OnnxFile(path=target, difference=difference, images=count)


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ExportError(
            f"cannot write {target} ({error.strerror or error})",
            hint="name a file in a directory that can be written and has room",
        ) from error


def _check_packages() -> None:
    try:
        with naming_hidden_libraries():
            import onnxscript  # noqa: F401, PLC0415
            from onnx.helper import set_model_props  # noqa: F401, PLC0415
            from onnxruntime import InferenceSession  # noqa: F401, PLC0415
    except ImportError as error:
        raise ExportError(
            f"ONNX needs the package {error.name}: {install_extra('onnx')}"
        ) from error


def _exported(model: TrainedModel) -> bytes:
    from onnx.helper import set_model_props  # noqa: PLC0415

    example = torch.rand(2, 3, model.image_size, model.image_size)
    with _quiet():
        try:
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
        except Exception as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise ExportError(
                f"torch cannot export this model ({reason})",
                hint="try other versions of torch and onnxscript",
            ) from error
    if program is None:
        raise ExportError("torch exported nothing", hint="try another version of torch")
    proto: Any = program.model_proto
    set_model_props(proto, _onnx_metadata(model))
    return bytes(proto.SerializeToString())


def _onnx_metadata(model: TrainedModel) -> dict[str, str]:
    return {
        "class_names": json.dumps(list(model.class_names), ensure_ascii=False),
        "image_size": str(model.image_size),
        "resize": model.resize,
        "genotype": Genotype.from_json(model.network.config["genotype"]).to_darts(),
    }


def _compare(
    model: TrainedModel, content: bytes, images: AnyImage | Iterable[AnyImage]
) -> tuple[float, int]:
    """Return the greatest relative difference of the logits, and the number of images."""
    from onnxruntime import InferenceSession  # noqa: PLC0415

    session = InferenceSession(content, providers=["CPUExecutionProvider"])
    worst, count = 0.0, 0
    for x in _batches(model, images):
        with torch.no_grad():
            expected = model(x)
        (found,) = session.run(["logits"], {"images": x.numpy()})
        gap = (torch.from_numpy(found) - expected).abs().max() / expected.abs().max().clamp(min=1)
        worst = max(worst, float(gap)) if gap.isfinite() else float("nan")
        count += len(x)
        if not worst <= TOLERANCE:
            break
    return worst, count


def _batches(model: TrainedModel, images: AnyImage | Iterable[AnyImage]) -> Iterator[Tensor]:
    size = model.image_size
    draws = torch.Generator().manual_seed(0)
    for batch in _NOISE:
        yield torch.rand(batch, 3, size, size, generator=draws)
    names, decoded = decoded_images(images, size, resize=model.resize)
    good = []
    for row, pixels in decoded:
        if isinstance(pixels, CorruptImage):
            raise ExportError(
                f"the model cannot be compared on {names[row]}: {pixels.reason}",
                hint="leave it out",
            )
        good.append(pixels)
        if len(good) == _BATCH:
            yield as_input(np.stack(good))
            good = []
    if good:
        yield as_input(np.stack(good))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's own messages and warnings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
