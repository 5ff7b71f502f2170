"""Export of a trained model: as an ONNX file, and as a folder that timm loads.

An ONNX file is compared with the model before it gets its name. Input ``images``: RGB in [0, 1],
float32, shape ``(batch, 3, size, size)``; the normalisation is part of the graph. Output
``logits``: shape ``(batch, classes)``. The file's metadata hold ``class_names`` (a JSON list in the
order of the logits), ``image_size``, ``resize`` (``squash``, or ``crop``: the shorter side to the
size, then the middle of the longer one) and ``genotype``.

A folder for timm holds ``config.json``, which names the registered architecture, its arguments (the
genotype among them) and the preprocessing; ``model.safetensors`` with the weights under timm's
names; and a card. timm's repositories on Hugging Face hold the same files.
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
import yaml  # type: ignore[import-untyped, unused-ignore]
from markupsafe import Markup
from safetensors.torch import save
from torch import Tensor

from wsdarts_registry._files import expanded, is_vacant, staged, write_atomically, write_flushed
from wsdarts_registry._format import count
from wsdarts_registry._libraries import install_extra, naming_hidden_libraries
from wsdarts_registry._templates import markdown_page
from wsdarts_registry._text import code_span
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.drawing.cells import cell_text
from wsdarts_registry.errors import ExportError
from wsdarts_sdk.data.decoding import CorruptImage, Resize
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
    target = expanded(path)
    try:
        write_atomically(target, content)
    except OSError as error:
        raise ExportError(
            f"cannot write {target} ({error.strerror or error})",
            hint="name a file in a directory that can be written and has room",
        ) from error
    return OnnxFile(path=target, difference=difference, images=count)


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


# As in ``timm_model``, which loads timm: importing it takes seconds.
_TIMM_ARCHITECTURE = "wsdarts_network"
# By these the Hub finds it, and offers timm to load it.
_CARD_METADATA = {
    "library_name": "timm",
    "pipeline_tag": "image-classification",
    "tags": ["timm", "image-classification", "wsdarts-hub", "neural-architecture-search", "darts"],
}
_MOST_NAMES = 50
_CROP_MODES: dict[Resize, str] = {"squash": "squash", "crop": "center"}  # in timm's words


def save_timm(model: TrainedModel, directory: str | Path) -> Path:
    """Write a trained model as a folder for ``timm.create_model("local-dir:…")``.

    The preprocessing becomes timm's transform: images are made squares, divided by 255 and
    normalised, and the network gets the result (the ``Classifier`` itself takes images in
    [0, 1] and normalises them).

    Args:
        model: The trained model.
        directory: New or empty.

    Returns:
        The directory.

    Raises:
        ExportError: The directory is not empty or cannot be written.
    """
    target = Path(directory)
    tensors = {
        name: value.detach().cpu().clone().contiguous()
        for name, value in model.network.state_dict().items()
        if not name.startswith("auxiliary.")
    }
    try:
        if not is_vacant(target):
            raise ExportError(f"{target} is there already", hint="name a new or an empty directory")
        with staged(target) as folder:
            write_flushed(folder / "model.safetensors", save(tensors, {"format": "pt"}))
            text = json.dumps(_timm_config(model), indent=2, ensure_ascii=False) + "\n"
            write_flushed(folder / "config.json", text.encode())
            write_flushed(folder / "README.md", _timm_card(model).encode())
    except OSError as error:
        raise ExportError(
            f"cannot write {target} ({error.strerror or error})",
            hint="name a directory that can be written and has room",
        ) from error
    return target


def _timm_config(model: TrainedModel) -> dict[str, Any]:
    config, size = model.network.config, model.image_size
    return {
        "architecture": _TIMM_ARCHITECTURE,
        "num_classes": config["classes"],
        "num_features": model.network.classifier.in_features,
        "global_pool": "avg",
        "label_names": list(model.class_names),
        "model_args": {name: config[name] for name in ("genotype", "cells", "channels", "stem")},
        "pretrained_cfg": {
            "num_classes": config["classes"],
            "input_size": [3, size, size],
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": _CROP_MODES[model.resize],
            "mean": model.mean.flatten().tolist(),
            "std": model.std.flatten().tolist(),
            "first_conv": "stem.0",
            "classifier": "classifier",
        },
    }


def _timm_card(model: TrainedModel) -> str:
    """Return the ``README.md``: a description of the model and how to load it."""
    config, names = model.network.config, model.class_names
    genotype = Genotype.from_json(config["genotype"])
    listed = ", ".join(code_span(name, 100) for name in names[:_MOST_NAMES])
    more = f" and {count(len(names) - _MOST_NAMES)} more" if len(names) > _MOST_NAMES else ""
    return markdown_page(
        "timm_card.md.j2",
        head=Markup(yaml.safe_dump(_CARD_METADATA, sort_keys=False)),  # noqa: S704 - constants
        classes=len(names),
        cells=config["cells"],
        channels=config["channels"],
        size=model.image_size,
        drawn="\n\n".join(cell_text(genotype, kind) for kind in CELL_KINDS),
        names=Markup(listed + more),  # noqa: S704 - code spans
    )
