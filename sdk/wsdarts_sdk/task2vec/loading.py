"""Loading of probes: from the package, a local safetensors file, or timm's pretrained weights.

| source | what it is |
|---|---|
| none, or ``shipped`` | the small probe that the package ships |
| ``PATH.safetensors`` | a local file; its metadata or its name says which timm network it is |
| ``NETWORK=PATH.safetensors`` | a local file of weights of that timm network |
| ``NETWORK`` or ``timm:NETWORK`` | timm's pretrained weights, such as ``resnet34.tv_in1k`` |

A file may be followed by ``?name=value&…``: ``size``, ``mean`` and ``std`` (one number or three,
by commas) replace the preprocessing, any other name is an option of ``timm.create_model``, as
in ``mobilenetv2_100.safetensors?pad_type=same&size=224&mean=0.5&std=0.5``. Weights are loaded
strictly: none missing, none left over.
"""

import json
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl

import huggingface_hub
import numpy as np
import timm
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from wsdarts_registry._arguments import did_you_mean, nearest_names
from wsdarts_registry._files import expanded, read_regular
from wsdarts_registry._libraries import UPDATE, naming_hidden_libraries
from wsdarts_registry._tensors import read_tensors
from wsdarts_registry.errors import ProbeError
from wsdarts_sdk.devices import TooLargeError, at_most
from wsdarts_sdk.task2vec.probe import Option, Preprocessing, Probe, first_line

Arrays = dict[str, NDArray[np.generic]]


class ProbeCard(BaseModel):
    """The description of a probe in the metadata of its file; weights of other origin have none.

    Attributes:
        format: Version of this card.
        name: Short name of the probe.
        architecture: Name of a timm network.
        options: Options of ``timm.create_model``.
        size: Height and width of the input in pixels.
        mean: Mean of the three channels, of the range 0 … 1.
        std: Standard deviation of the three channels, of the same range.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    format: Literal[1]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    architecture: str
    options: dict[str, str | int | float | bool | list[int]]
    size: int
    mean: list[float] = Field(min_length=3, max_length=3)
    std: list[float] = Field(min_length=3, max_length=3)


def read_probe_file(path: Path) -> tuple[Arrays, ProbeCard | None]:
    """Read weights, and the card if there is one.

    Raises:
        ProbeError: The file is missing, damaged, or has a card of another form or version.
    """
    try:
        content = read_regular(path)
    except OSError as error:
        raise ProbeError(
            f"cannot read the probe {path}: {error.strerror}",
            expected="a safetensors file of weights of a timm network",
        ) from error
    arrays, metadata = read_tensors(content, what=f"the probe {path}", error=ProbeError)
    return dict(arrays), None if metadata is None else _read_card(path, metadata)


def _read_card(path: Path, data: Any) -> ProbeCard:
    try:
        return ProbeCard.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ProbeError(
            f"the card of the probe {path} is malformed at {where or 'its top'}: {first['msg']}",
            expected="a file of this version",
            hint=f"update with {UPDATE}",
        ) from error


_SHOWN = 3
# Counts the batches of the training; eval mode does not read it.
_COUNTER = "num_batches_tracked"


def load_weights(network: nn.Module, weights: Arrays, *, what: str) -> None:
    """Load a backbone strictly; weights of the classifier, which a probe drops, may be there.

    Args:
        network: A timm network without classifier.
        weights: Arrays by name; floating-point ones of any precision.
        what: Name of the file, for the message.

    Raises:
        ProbeError: Names are missing or unexpected, a shape differs, or a weight is not
            finite.
    """
    wanted = {n: t for n, t in network.state_dict().items() if not n.endswith(_COUNTER)}
    classifiers = _classifiers(network)
    given = {
        name: torch.from_numpy(array.copy())
        for name, array in weights.items()
        if not name.endswith(_COUNTER) and not name.startswith(classifiers)
    }
    problems = {
        "missing": [name for name in wanted if name not in given],
        "unexpected": [name for name in given if name not in wanted],
        "of another shape": [
            f"{name} {tuple(given[name].shape)} (expected {tuple(tensor.shape)})"
            for name, tensor in wanted.items()
            if name in given and given[name].shape != tensor.shape
        ],
        "not finite": [name for name, tensor in given.items() if not tensor.isfinite().all()],
    }
    found = "; ".join(f"{_few(names)} {problem}" for problem, names in problems.items() if names)
    if found:
        raise ProbeError(
            f"the weights in {what} do not fit the network: {found}",
            expected="the state dict of that timm network",
            hint="name it as NETWORK=PATH, with its options after ?",
        )
    network.load_state_dict(given, strict=False)


def _classifiers(network: nn.Module) -> tuple[str, ...]:
    published: Any = network.pretrained_cfg
    names = published.get("classifier") or ()
    return tuple(f"{n}." for n in ((names,) if isinstance(names, str) else names))


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


SHIPPED = Path(__file__).parent / "shipped" / "probe.safetensors"
_SUFFIX = ".safetensors"
# Arguments of create_model itself. Some of these would fetch or unpickle files.
_RESERVED = {
    "cache_dir",
    "checkpoint_path",
    "exportable",
    "features_only",
    "in_chans",
    "model_name",
    "no_jit",
    "num_classes",
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "pretrained_strict",
    "scriptable",
}
_SPARE = 2**26
# More layers or heads than any network of timm has; each costs time, and little memory.
_LARGEST_OPTION = 16_384
_PREPROCESSING = {"size", "mean", "std"}
_NAMED = re.compile(r"([A-Za-z0-9_.]+)=(.+)", re.DOTALL)


def load_probe(source: str | Path | None = None, *, device: str = "cpu") -> Probe:
    """Load a probe.

    Args:
        source: See the table at the top of this module; a ``Path`` is a local file.
        device: Device of its weights, such as ``"cuda"``.

    Raises:
        ProbeError: No such network, file or weights; a damaged file; weights that do not fit
            the network; or a network that cannot be a probe.
    """
    text = "shipped" if source is None else str(source)
    if text == "shipped":
        probe = _from_file(str(SHIPPED))
    elif text.partition("?")[0].endswith(_SUFFIX) or isinstance(source, Path):
        probe = _from_file(text)
    else:
        probe = _from_timm(text.removeprefix("timm:"))
    probe.model.to(device)
    return probe


def _from_file(text: str) -> Probe:
    location, _, query = text.partition("?")
    named = _NAMED.fullmatch(location)
    path = expanded(named[2] if named else location)
    options = _read_query(query)
    weights, card = read_probe_file(path)
    if named:
        architecture = named[1]
    else:
        architecture = path.name.removesuffix(_SUFFIX) if card is None else card.architecture
    replaced = {name: options.pop(name) for name in _PREPROCESSING & set(options)}
    known: dict[str, Option] = {} if card is None or named else dict(card.options)
    known.update(options)
    numbers = sum(array.size for array in weights.values())
    # As much again as the weights, for intermediate results.
    network = build_network(architecture, known, at_most_bytes=_SPARE + 2 * 4 * numbers)
    load_weights(network, weights, what=str(path))
    return Probe.of(
        network,
        name=architecture if card is None or named else card.name,
        architecture=architecture,
        options=known,
        preprocessing=_preprocessing(network, None if named else card, replaced),
    )


def _from_timm(name: str) -> Probe:
    network = build_network(name, {})
    found: Any = network.pretrained_cfg
    if not found.get("hf_hub_id"):
        raise ProbeError(
            f"timm has no published weights for {name}",
            expected=(
                f"one of {_pretrained(name) or 'timm.list_pretrained()'}, or a local file as "
                f"{name}=PATH{_SUFFIX}"
            ),
        )
    file = found.get("hf_hub_filename") or f"model{_SUFFIX}"
    try:
        path = huggingface_hub.hf_hub_download(found["hf_hub_id"], file)
    except OSError as error:
        raise ProbeError(
            f"the pretrained weights of {name} cannot be fetched ({first_line(error)})",
            expected="a connection to the Hugging Face Hub, or weights in its cache",
            hint=(
                f"go online, use the shipped probe, or name a local file as {name}=PATH{_SUFFIX}"
            ),
        ) from error
    weights, _ = read_probe_file(Path(path))
    load_weights(network, weights, what=f"{found['hf_hub_id']}/{file}")
    architecture = found["architecture"]
    return Probe.of(
        network,
        name=f"{architecture}.{found['tag']}" if found.get("tag") else architecture,
        architecture=architecture,
        options={},
        preprocessing=_preprocessing(network, None, {}),
    )


@naming_hidden_libraries()
def build_network(
    architecture: str, options: dict[str, Option], *, at_most_bytes: int | None = None
) -> nn.Module:
    """Build a timm network without classifier and without pretrained weights.

    Args:
        architecture: Name of a timm network.
        options: Options of ``timm.create_model``.
        at_most_bytes: Memory that it may take; any by default, for a network that a user named.

    Raises:
        ProbeError: timm has no such network (names close ones), or refuses an option; or it
            takes more memory.
    """
    _check_architecture(architecture)
    _check_options(options)
    arguments: dict[str, Any] = dict(options)
    limit = nullcontext() if at_most_bytes is None else at_most(at_most_bytes)
    try:
        with limit:
            return timm.create_model(architecture, pretrained=False, num_classes=0, **arguments)
    except TooLargeError as error:
        raise ProbeError(
            f"{architecture} is a larger network than the file holds weights of",
            hint=f"name the network of these weights as NETWORK=PATH{_SUFFIX}",
        ) from error
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        given = ", ".join(f"{name}={value}" for name, value in options.items()) or "none"
        raise ProbeError(
            f"timm does not build {architecture} with the options {given} ({first_line(error)})",
            expected="options of timm.create_model for this network",
        ) from error


def _check_architecture(architecture: str) -> None:
    base, _, tag = architecture.partition(".")
    if not re.fullmatch(r"[A-Za-z0-9_]+", base) or not timm.is_model(base):
        raise ProbeError(
            f"timm has no network {base!r}",
            expected=(
                f"a name of timm.list_models(), 'shipped', or a local file as NETWORK=PATH{_SUFFIX}"
            ),
            hint=did_you_mean(nearest_names(base, timm.list_models())).strip(),
        )
    if tag and architecture not in timm.list_pretrained(f"{base}.*"):
        raise ProbeError(
            f"timm has no weights {architecture!r}", expected=f"one of {_pretrained(base) or base}"
        )


def _check_options(options: dict[str, Option]) -> None:
    reserved = sorted(_RESERVED & set(options))
    if reserved:
        raise ProbeError(
            f"{', '.join(reserved)} cannot be set for a probe",
            expected="options of the network itself, such as pad_type",
        )
    numbers = [n for value in options.values() for n in _numbers(value)]
    if any(not -_LARGEST_OPTION <= number <= _LARGEST_OPTION for number in numbers):
        raise ProbeError(
            "an option of the probe",
            found=max(numbers, key=abs),
            expected=f"numbers up to {_LARGEST_OPTION}",
        )


def _numbers(value: Option) -> tuple[int | float, ...]:
    if isinstance(value, list):
        return tuple(value)
    return () if isinstance(value, str) else (value,)


def _pretrained(name: str) -> str:
    base = name.partition(".")[0]
    return ", ".join(timm.list_pretrained(f"{base}.*"))


def _preprocessing(
    network: nn.Module, card: ProbeCard | None, replaced: dict[str, Option]
) -> Preprocessing:
    published: Any = network.pretrained_cfg
    values: dict[str, Any] = {
        "size": published["input_size"][-1] if card is None else card.size,
        "mean": list(published["mean"]) if card is None else card.mean,
        "std": list(published["std"]) if card is None else card.std,
    }
    values |= replaced
    if type(values["size"]) is not int:
        raise ProbeError(
            "size", found=f"{values['size']!r}", expected="a number of pixels such as 224"
        )
    return Preprocessing(
        size=values["size"],
        mean=_channels("mean", values["mean"]),
        std=_channels("std", values["std"]),
    )


def _channels(what: str, value: Any) -> tuple[float, float, float]:
    values = value if isinstance(value, list) else [value] * 3
    if len(values) != 3 or not all(type(v) in (int, float) for v in values):
        raise ProbeError(what, found=repr(value), expected="one number, or three by commas")
    red, green, blue = (float(v) for v in values)
    return red, green, blue


def _read_query(query: str) -> dict[str, Option]:
    if not query:
        return {}
    try:
        pairs = parse_qsl(query, strict_parsing=True, keep_blank_values=True)
    except ValueError as error:
        raise ProbeError(
            f"the probe's options {query!r} cannot be read", expected="name=value, joined by &"
        ) from error
    if len({name for name, _ in pairs}) < len(pairs):
        raise ProbeError(f"the probe's options {query!r} name one twice", expected="each once")
    return {name: _read_value(text) for name, text in pairs}


def _read_value(text: str) -> Option:
    """Return a number, true or false, a list of numbers by commas, or else the text itself."""
    try:
        values: list[Any] = json.loads(f"[{text}]")
    except ValueError:
        return text
    scalar = len(values) == 1 and type(values[0]) in (int, float, bool)
    numbers = len(values) > 1 and all(type(value) in (int, float) for value in values)
    if not scalar and not numbers:
        return text
    value: Option = values[0] if scalar else values
    return value
