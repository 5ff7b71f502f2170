"""A trained model as a folder that timm loads.

``config.json`` names the registered architecture, its arguments (the genotype among them) and
the preprocessing; ``model.safetensors`` holds the weights under timm's names. Hub repositories
of timm models consist of the same two files.
"""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save

from wsdarts_registry.errors import ExportError
from wsdarts_registry.staging import is_vacant, staged, write_flushed
from wsdarts_sdk.network.classifier import Classifier

# As in ``timm_model``, which loads timm: importing it takes seconds.
_ARCHITECTURE = "wsdarts_network"


def save_timm(model: Classifier, directory: str | Path) -> Path:
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
            raise ExportError(f"{target} is there already; name a new or an empty directory")
        with staged(target) as folder:
            write_flushed(folder / "model.safetensors", save(tensors, {"format": "pt"}))
            text = json.dumps(_config(model), indent=2, ensure_ascii=False) + "\n"
            write_flushed(folder / "config.json", text.encode())
    except OSError as error:
        raise ExportError(
            f"cannot write {target} ({error.strerror or error}); name a directory that can be "
            "written and has room"
        ) from error
    return target


def _config(model: Classifier) -> dict[str, Any]:
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
