"""A trained model as a folder that timm loads.

``config.json`` names the registered architecture, its arguments (the genotype among them) and
the preprocessing; ``model.safetensors`` holds the weights under timm's names. Hub repositories
of timm models consist of the same two files and a card, so the folder can be uploaded as it is.
"""

import json
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped, unused-ignore]
from markupsafe import Markup
from safetensors.torch import save

from wsdarts_registry._files import is_vacant, staged, write_flushed
from wsdarts_registry._format import count
from wsdarts_registry._templates import markdown_page
from wsdarts_registry._text import code_span
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.space import CELL_KINDS
from wsdarts_registry.drawing.cells import cell_text
from wsdarts_registry.errors import ExportError
from wsdarts_sdk.models.prediction import TrainedModel

# As in ``timm_model``, which loads timm: importing it takes seconds.
_ARCHITECTURE = "wsdarts_network"
# By these the Hub finds it, and offers timm to load it.
_METADATA = {
    "library_name": "timm",
    "pipeline_tag": "image-classification",
    "tags": ["timm", "image-classification", "wsdarts-hub", "neural-architecture-search", "darts"],
}
_MOST_NAMES = 50


def save_timm(model: TrainedModel, directory: str | Path) -> Path:
    """Write a trained model as a folder for ``timm.create_model("local-dir:…")``.

    The preprocessing becomes timm's transform: images are squashed, divided by 255 and
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
            text = json.dumps(_config(model), indent=2, ensure_ascii=False) + "\n"
            write_flushed(folder / "config.json", text.encode())
            write_flushed(folder / "README.md", _card(model).encode())
    except OSError as error:
        raise ExportError(
            f"cannot write {target} ({error.strerror or error})",
            hint="name a directory that can be written and has room",
        ) from error
    return target


def _config(model: TrainedModel) -> dict[str, Any]:
    config, size = model.network.config, model.image_size
    return {
        "architecture": _ARCHITECTURE,
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
            "crop_mode": "squash",
            "mean": model.mean.flatten().tolist(),
            "std": model.std.flatten().tolist(),
            "first_conv": "stem.0",
            "classifier": "classifier",
        },
    }


def _card(model: TrainedModel) -> str:
    """The ``README.md``: what the files say, and how they are loaded."""
    config, names = model.network.config, model.class_names
    genotype = Genotype.from_json(config["genotype"])
    listed = ", ".join(code_span(name, 100) for name in names[:_MOST_NAMES])
    more = f" and {count(len(names) - _MOST_NAMES)} more" if len(names) > _MOST_NAMES else ""
    return markdown_page(
        "timm_card.md.j2",
        head=Markup(yaml.safe_dump(_METADATA, sort_keys=False)),  # noqa: S704 - constants
        classes=count(len(names)),
        cells=config["cells"],
        channels=config["channels"],
        size=model.image_size,
        drawn="\n\n".join(cell_text(genotype, kind) for kind in CELL_KINDS),
        names=Markup(listed + more),  # noqa: S704 - code spans
    )
