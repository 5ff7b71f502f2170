"""A trained model as a folder or a repository on the Hugging Face Hub, for timm and this library.

It holds ``config.json``, which names the registered architecture, its arguments (the genotype among
them), the preprocessing, and under ``wsdarts_hub`` the facts about the model and the hashes of the
other files; ``model.safetensors`` with the weights under timm's names; and a card, ``README.md``,
whose YAML head the Hugging Face Hub reads to list and find a model and to offer timm to load it.
timm's own repositories hold the same files. Nothing in them runs.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import yaml  # type: ignore[import-untyped, unused-ignore]
from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from wsdarts_registry import _json
from wsdarts_registry._files import is_directory, is_vacant, open_regular, staged, write_flushed
from wsdarts_registry._format import count, pluralize
from wsdarts_registry._json import explain
from wsdarts_registry._libraries import UPDATE
from wsdarts_registry._templates import markdown_page
from wsdarts_registry._text import code_span, sanitize
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.artifact.checked_files import check_file, file_record, read_limited
from wsdarts_registry.artifact.facts import hub_licence
from wsdarts_registry.artifact.manifest import FileRecord, is_dataset_id
from wsdarts_registry.drawing.cells import cell_text
from wsdarts_registry.errors import ArtifactError, ExportError, RegistryError, SettingsError
from wsdarts_registry.stores.huggingface.location import is_huggingface
from wsdarts_sdk.data.decoding import Resize
from wsdarts_sdk.models.facts import ModelFacts, parse_facts
from wsdarts_sdk.models.prediction import TrainedModel

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
_FORMAT = 1
# As in ``timm_model``, which loads timm: importing it takes seconds.
_ARCHITECTURE = "wsdarts_network"
_CROP_MODES: dict[Resize, Literal["squash", "center"]] = {"squash": "squash", "crop": "center"}
_MAX_CONFIG_BYTES = 16 * 2**20
_MAX_WEIGHTS_BYTES = 2 * 2**30
_TASK_TYPE = "image-classification"
_TAGS = ("timm", _TASK_TYPE, "wsdarts-hub", "neural-architecture-search", "darts")
_MOST_NAMES, _MOST_TAGS = 50, 50
_UNNAMED = "path/to/this/folder"


class _Own(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    format: int
    weights: FileRecord | None = None
    card: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    trained_on: Any = None
    inherited: Any = None
    facts: Any = None


class _Preprocessing(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)

    input_size: tuple[int, int, int] = Field(strict=False)
    mean: tuple[float, float, float] = Field(strict=False)
    std: tuple[float, float, float] = Field(strict=False)
    crop_mode: Literal["squash", "center"] = "squash"


class _Config(BaseModel):
    """The fields of ``config.json`` that are read here; timm has more."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    architecture: str
    num_classes: int
    label_names: Annotated[tuple[str, ...], Field(max_length=100_000, strict=False)]
    model_args: dict[str, Any]
    pretrained_cfg: _Preprocessing
    wsdarts_hub: _Own | None = None


def folder_files(
    model: TrainedModel,
    *,
    name: str | None = None,
    license: str | None = None,  # noqa: A002
    tags: Sequence[str] = (),
    description: str | None = None,
) -> dict[str, bytes]:
    """Return the files of a folder by name; see ``render_model_card`` for the arguments."""
    tensors = {
        name: value.detach().cpu().clone().contiguous()
        for name, value in model.network.state_dict().items()
        if not name.startswith("auxiliary.")
    }
    weights = save(tensors, {"format": "pt"})
    card = render_model_card(
        model, name=name, license=license, tags=tags, description=description
    ).encode()
    own: dict[str, Any] = {
        "format": _FORMAT,
        "weights": file_record(weights).model_dump(),
        "card": hashlib.sha256(card).hexdigest(),
    }
    # As the facts name it: a network itself may know a path of this machine.
    begun = None if model.facts is None else model.facts.inherited
    kept = {
        "trained_on": model.trained_on,
        "inherited": None if begun is None else begun.model_dump(),
    }
    own |= {name: value for name, value in kept.items() if value is not None}
    if model.facts is not None:
        own["facts"] = model.facts.to_json()
    config = json.dumps({**_timm_config(model), "wsdarts_hub": own}, indent=2, ensure_ascii=False)
    return {CONFIG: f"{config}\n".encode(), WEIGHTS: weights, CARD: card}


def save_timm(
    model: TrainedModel,
    directory: str | Path,
    *,
    license: str | None = None,  # noqa: A002
    tags: Sequence[str] = (),
    description: str | None = None,
) -> Path:
    """Write a trained model as a folder for ``timm.create_model("local-dir:…")``.

    The preprocessing becomes timm's transform: images are made squares, divided by 255 and
    normalised, and the network gets the result (the ``Classifier`` itself takes images in
    [0, 1] and normalises them).

    Args:
        model: The trained model.
        directory: New or empty.
        license: Licence for the card, such as ``"cc-by-4.0"``.
        tags: Further tags for the card.
        description: A few words for the card.

    Returns:
        The directory.

    Raises:
        ExportError: The directory is not empty or cannot be written.
    """
    target = Path(directory)
    files = folder_files(model, license=license, tags=tags, description=description)
    try:
        if not is_vacant(target):
            raise ExportError(f"{target} is there already", hint="name a new or an empty directory")
        with staged(target) as folder:
            for name, content in files.items():
                write_flushed(folder / name, content)
    except OSError as error:
        raise ExportError(
            f"cannot write {target} ({error.strerror or error})",
            hint="name a directory that can be written and has room",
        ) from error
    return target


def read_folder(
    source: str | Path, *, revision: str | None = None, token: str | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a folder of ``save_timm``, or such a repository on the Hub.

    Args:
        source: The folder, which is read as one if it is there; else ``"OWNER/NAME"``.
        revision: Branch, tag or commit of the repository; main by default.
        token: A token; the one that huggingface_hub finds by default.

    Returns:
        What describes the network as in the file of ``Classifier.save``, with ``mean``, ``std``
        and ``facts``; and the network's weights by name.

    Raises:
        ArtifactError: A file is missing, damaged, too large, or not of such a model.
        RegistryError: The Hub cannot be asked, or there is no such repository or revision.
    """
    text = str(source)
    if not is_huggingface(text) and (isinstance(source, Path) or is_directory(Path(source))):
        folder = Path(source)
        config = _parse(read_limited(folder, CONFIG, _MAX_CONFIG_BYTES), text)
        if config.wsdarts_hub is not None and config.wsdarts_hub.weights is not None:
            check_file(folder, WEIGHTS, config.wsdarts_hub.weights)
        return _described(config), _tensors(folder / WEIGHTS)
    # Imported here: who reads a folder needs no client of the Hub.
    from wsdarts_registry.stores.huggingface.models import ModelRepository  # noqa: PLC0415

    repository = ModelRepository(text, token=token)
    head = repository.head(revision)
    for name in (CONFIG, WEIGHTS):
        if name not in head.files:
            raise _no_model(f"{repository.id} at {head.commit[:12]}", f"it has no {name}")
    config = _parse(repository.read(head, CONFIG), repository.id)
    record = None if config.wsdarts_hub is None else config.wsdarts_hub.weights
    path = repository.fetch(head, WEIGHTS, _MAX_WEIGHTS_BYTES, record)
    return _described(config), _tensors(path)


def may_replace(repository: str, config: bytes | None, card: bytes | None) -> bool:
    """Return whether the card of a repository is one of ours, unedited, or missing.

    Raises:
        RegistryError: Its ``config.json`` is that of another model.
    """
    own = None
    if config is not None:
        try:
            own = _parse(config, repository).wsdarts_hub
        except ArtifactError as error:
            raise RegistryError(
                f"{repository} is another model on the Hub ({error})", hint="choose another name"
            ) from error
    return card is None or (own is not None and own.card == hashlib.sha256(card).hexdigest())


def _timm_config(model: TrainedModel) -> dict[str, Any]:
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
            "crop_mode": _CROP_MODES[model.resize],
            "mean": model.mean.flatten().tolist(),
            "std": model.std.flatten().tolist(),
            "first_conv": "stem.0",
            "classifier": "classifier",
        },
    }


def _no_model(what: str, reason: str) -> ArtifactError:
    return ArtifactError(
        what,
        found=f"not a trained model of this library ({reason})",
        expected="what `push_to_hub` or `save_timm` of a Classifier wrote",
    )


def _parse(content: bytes, what: str) -> _Config:
    data = _json.load(content, what=f"{CONFIG} of {what}")
    try:
        config = _Config.model_validate_json(_json.dump(data))
    except ValidationError as error:
        raise _no_model(what, f"{CONFIG}: {explain(error)}") from None
    if config.architecture != _ARCHITECTURE:
        raise _no_model(what, f"its architecture is {config.architecture[:80]!r}")
    own = config.wsdarts_hub
    if own is not None and own.format != _FORMAT:
        raise _no_model(
            what,
            f"it has format {own.format} and this version reads {_FORMAT}: update with {UPDATE}",
        )
    return config


def _described(config: _Config) -> dict[str, Any]:
    """Return the description of a network in a file of ``Classifier.save``."""
    own, preprocessing = config.wsdarts_hub, config.pretrained_cfg
    return {
        **{name: config.model_args.get(name) for name in ("genotype", "cells", "channels")},
        "stem": config.model_args.get("stem", "cifar"),
        "classes": config.num_classes,
        "image_size": preprocessing.input_size[-1],
        "class_names": list(config.label_names),
        "resize": next(
            ours for ours, timms in _CROP_MODES.items() if timms == preprocessing.crop_mode
        ),
        "trained_on": None if own is None else own.trained_on,
        "inherited": None if own is None else own.inherited,
        "mean": torch.tensor(preprocessing.mean),
        "std": torch.tensor(preprocessing.std),
        "facts": None if own is None else parse_facts(own.facts),
    }


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        with open_regular(path), safe_open(path, framework="pt") as file:
            names = file.keys()
            return {name: file.get_tensor(name).clone() for name in names}
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise _no_model(str(path), reason) from error


def render_model_card(
    model: TrainedModel,
    *,
    name: str | None = None,
    license: str | None = None,  # noqa: A002
    tags: Sequence[str] = (),
    description: str | None = None,
) -> str:
    """Return the card of a model.

    Args:
        model: The trained model.
        name: Its repository on the Hub; by default the card is that of a folder.
        license: Its licence, such as ``"cc-by-4.0"``; left to the author by default.
        tags: Further tags.
        description: A few words, as plain text.

    Raises:
        SettingsError: A tag is no text, or there are too many.
    """
    if isinstance(tags, str) or not all(isinstance(tag, str) and tag for tag in tags):
        raise SettingsError("tags", found=repr(tags)[:80], expected="a list of words")
    if len(tags) > _MOST_TAGS:
        raise SettingsError("tags", found=f"{len(tags)} of them", expected=f"at most {_MOST_TAGS}")
    config, names = model.network.config, model.class_names
    genotype = Genotype.from_json(config["genotype"])
    listed = ", ".join(code_span(each, 100) for each in names[:_MOST_NAMES])
    more = f" and {count(len(names) - _MOST_NAMES)} more" if len(names) > _MOST_NAMES else ""
    head = _head(model.facts, name=name, license=license, tags=tags)
    return markdown_page(
        "classifier_card.md.j2",
        head=Markup(yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=1000)),  # noqa: S704 - YAML quotes
        title=None if name is None else name.partition("/")[2],
        place=name or _UNNAMED,
        timm_place=f"local-dir:{_UNNAMED}" if name is None else f"hf-hub:{name}",
        description=description,
        license=license,
        facts=model.facts,
        classes=len(names),
        cells=config["cells"],
        channels=config["channels"],
        size=model.image_size,
        drawn="\n\n".join(cell_text(genotype, kind) for kind in CELL_KINDS),
        names=Markup(listed + more),  # noqa: S704 - code spans
    )


def _head(
    facts: ModelFacts | None,
    *,
    name: str | None,
    license: str | None,  # noqa: A002
    tags: Sequence[str],
) -> dict[str, Any]:
    data: dict[str, Any] = {} if license is None else dict(hub_licence(license))
    data |= {"library_name": "timm", "pipeline_tag": _TASK_TYPE}
    data["tags"] = list(dict.fromkeys([*_TAGS, *(sanitize(tag, 80) for tag in tags)]))
    if facts is None:
        return data
    data["metrics"] = ["accuracy"]
    if facts.lineage is not None and facts.lineage.repository is not None:
        data["base_model"] = facts.lineage.repository
    if facts.data is not None:
        if _dataset_id(facts) is not None:
            data["datasets"] = [_dataset_id(facts)]
        data["model-index"] = _model_index(name or "model", facts)
    return data


def _dataset_id(facts: ModelFacts) -> str | None:
    known = None if facts.data is None else facts.data.dataset
    return known if known is not None and is_dataset_id(known) else None


def _model_index(name: str, facts: ModelFacts) -> list[dict[str, Any]]:
    """Return the accuracy as the Hub lists it: reported by the author, never as verified."""
    from huggingface_hub import EvalResult  # noqa: PLC0415 - it takes long to load
    from huggingface_hub.repocard_data import eval_results_to_model_index  # noqa: PLC0415

    assert facts.data is not None  # noqa: S101
    part = f"{facts.held_out} part, {pluralize(facts.images, 'image')}"
    result = EvalResult(
        task_type=_TASK_TYPE,
        # A digest's colon keeps it from being the id of somebody else's dataset.
        dataset_type=_dataset_id(facts) or facts.data.digest,
        dataset_name=sanitize(facts.data.name),
        metric_type="accuracy",
        metric_value=facts.accuracy,
        metric_name=f"accuracy on the {sanitize(part)}, one training",
    )
    return eval_results_to_model_index(name.partition("/")[2] or name, [result])
