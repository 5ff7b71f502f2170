"""Errors of the public jobs for keywords that they do not have."""

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import ParamSpec, TypeVar

from wsdarts_registry._advice import did_you_mean, nearest_names
from wsdarts_sdk.data import ImageTask
from wsdarts_sdk.presets import SMALL
from wsdarts_sdk.setting_fields import setting_kinds

_P = ParamSpec("_P")
_Result = TypeVar("_Result")


def public_job(
    name: str, *, settings: Sequence[str] = ()
) -> Callable[[Callable[_P, _Result]], Callable[_P, _Result]]:
    """Make a function name the nearest parameter where a keyword is unknown.

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
    of_preset = [
        path
        for path, _ in sorted(setting_kinds(SMALL), reverse=True)  # every search has the last stage
        if path.partition(".")[0] in settings and path.rpartition(".")[2] == unknown
    ]
    if of_preset:
        return (
            f"it is the setting {' or '.join(of_preset[:2])} of a preset: give preset a changed "
            f"copy (dataclasses.replace), or use `--set {of_preset[0]}=…` on the command line"
        )
    if unknown in inspect.signature(ImageTask.load).parameters:
        return f"load the dataset with it: ImageTask.load(data, {unknown}=…), and give that"
    close = nearest_names(unknown, known, most=1, least=0.5)
    return f"{did_you_mean([repr(name) for name in close])}it has {', '.join(known)}"
