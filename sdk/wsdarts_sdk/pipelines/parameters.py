"""What a public job says of a parameter that it does not have."""

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from wsdarts_registry._arguments import did_you_mean, nearest_names
from wsdarts_sdk.data import ImageTask
from wsdarts_sdk.presets import SMALL

_P = ParamSpec("_P")
_Result = TypeVar("_Result")


def public_job(
    name: str, *, settings: Sequence[str] = ()
) -> Callable[[Callable[_P, _Result]], Callable[_P, _Result]]:
    """Let a function say, of a keyword that it does not know, which was probably meant.

    Args:
        name: What users call the function.
        settings: Which parts of a preset it uses, such as ``training``.

    Returns:
        A decorator; the function keeps its signature, and raises a TypeError that names the
        nearest parameter, or the setting of a preset with that name.
    """

    def decorate(function: Callable[_P, _Result]) -> Callable[_P, _Result]:
        known = [
            parameter.name
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
            and parameter.name != "self"
        ]

        @wraps(function)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _Result:
            unknown = next((word for word in kwargs if word not in known), None)
            if unknown is not None:
                advice = _advice(unknown, known, settings)
                raise TypeError(f"{name}() has no parameter {unknown!r}; {advice}")
            return function(*args, **kwargs)

        return call

    return decorate


def _advice(unknown: str, known: Sequence[str], settings: Sequence[str]) -> str:
    paths = [path for part in settings for path in _paths(part, getattr(SMALL, part))]
    of_preset = [path for path in paths if path.rpartition(".")[2] == unknown]
    if of_preset:
        path = of_preset[0]
        return (
            f"it is the setting {' or '.join(of_preset[:2])} of a preset: give preset a changed "
            f"copy (dataclasses.replace), or use `--set {path}=…` on the command line"
        )
    if unknown in inspect.signature(ImageTask.load).parameters:
        return f"load the dataset with it: ImageTask.load(data, {unknown}=…), and give that"
    close = nearest_names(unknown, known, most=1, least=0.5)
    return f"{did_you_mean([repr(name) for name in close])}it has {', '.join(known)}"


def _paths(where: str, value: Any) -> Iterator[str]:
    """Names of all settings below a part of a preset, as ``--set`` takes them."""
    if isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
        for number in range(len(value), 0, -1):  # the last stage first: every search has it
            yield from _paths(f"{where}.{number}", value[number - 1])
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield f"{where}.{field.name}"
            yield from _paths(f"{where}.{field.name}", getattr(value, field.name))
