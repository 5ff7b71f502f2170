"""The options of reading a dataset, declared once, and functions that take them as keywords.

A function takes them as ``**reading: Unpack[DataOptions]``, which type checkers and editors spell
out. ``spells_out_options`` spells them out at runtime, too: in the function's signature, in its
docstring, and in the error about a keyword that it does not have.
"""

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypedDict, TypeVar, get_type_hints

from wsdarts_registry._arguments import check_kind, check_text, did_you_mean, nearest_names

_P = ParamSpec("_P")
_Result = TypeVar("_Result")
_INDENT = " " * 4


class DataOptions(TypedDict, total=False):
    """Options of reading a dataset; one that is None or False counts as not given.

    Attributes:
        image_column: Column of a table that holds the images.
        label_column: Column of a table that holds the labels.
        split: Splits to join of a Hub or torchvision dataset, of a folder of ``save_to_disk`` or of
            folders with metadata (``"train"``, ``"train+test"``); without it, a split on this
            machine is kept, and others are joined with a note. ``"given"`` keeps those of the Hub
            or of torchvision as train, validation and test part, by their names.
        split_column: Column of a table, or of the metadata of a folder, that names the part of each
            image: train, validation or test.
        validation: Another dataset of the same classes, as the validation part.
        test: Another dataset of the same classes, as the test part.
        groups: Column of a table, or of the metadata of a folder, with what belongs together, such
            as a patient: a group is in one part of the split. For arrays, a value for each image.
        skip_corrupt: Leave out images that do not decode, instead of refusing the dataset.
    """

    image_column: str | None
    label_column: str | None
    split: str | Sequence[str] | None
    split_column: str | None
    validation: Any
    test: Any
    groups: str | Sequence[object] | None
    skip_corrupt: bool


def given_options(options: DataOptions) -> dict[str, Any]:
    """Return the options that are given, by name."""
    return {n: value for n, value in options.items() if value is not None and value is not False}


def check_options(options: DataOptions) -> None:
    """Refuse an option of another kind than it is declared.

    Raises:
        ArgumentError: Says which, and what it may be.
    """
    check_text(options.get("image_column"), "image_column", optional=True)
    check_text(options.get("label_column"), "label_column", optional=True)
    check_text(options.get("split_column"), "split_column", optional=True)
    if (split := options.get("split")) is not None:
        check_kind(split, (str, Sequence), "split", "a name such as 'train', or several names")
    check_kind(options.get("skip_corrupt", False), bool, "skip_corrupt", "True or False")


def option_parameters() -> list[inspect.Parameter]:
    """Return the options as parameters of a function: by keyword alone, each with its default."""
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if kind is bool else None,
            annotation=kind,
        )
        for name, kind in get_type_hints(DataOptions).items()
    ]


def spells_out_options(
    name: str, advice: Callable[[str], str] = lambda _: ""
) -> Callable[[Callable[_P, _Result]], Callable[_P, _Result]]:
    """Make a function suggest the nearest keyword for an unknown one.

    Args:
        name: What users call the function.
        advice: Returns what to do about an unknown keyword; empty where the nearest parameter
            and all others are to be named.

    Returns:
        A decorator; the function raises a TypeError for an unknown keyword. Where it takes
        ``DataOptions``, they stand in its signature and docstring one by one.
    """

    def decorate(function: Callable[_P, _Result]) -> Callable[_P, _Result]:
        signature = _expanded(inspect.signature(function))
        known = [
            parameter.name
            for parameter in signature.parameters.values()
            if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
            and parameter.name not in ("self", "cls")
        ]

        @wraps(function)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _Result:
            unknown = next((word for word in kwargs if word not in known), None)
            if unknown is not None:
                what = advice(unknown) or _nearest(unknown, known)
                raise TypeError(f"{name}() has no parameter {unknown!r}; {what}")
            return function(*args, **kwargs)

        call.__signature__ = signature  # type: ignore[attr-defined]
        call.__doc__ = _described(function.__doc__)
        return call

    return decorate


def _nearest(unknown: str, known: Sequence[str]) -> str:
    close = nearest_names(unknown, known, most=1, least=0.5)
    return f"{did_you_mean([repr(name) for name in close])}it has {', '.join(known)}"


def _expanded(signature: inspect.Signature) -> inspect.Signature:
    """Return a signature with the options in place of ``**reading``."""
    *others, last = signature.parameters.values()
    if last.kind is not last.VAR_KEYWORD:
        return signature
    return signature.replace(parameters=[*others, *option_parameters()])


def _described(docstring: str | None) -> str | None:
    """Return a function's docstring with the options' lines in place of the one of ``reading``."""
    lines = inspect.cleandoc(docstring or "").splitlines(keepends=True)
    found = [number for number, line in enumerate(lines) if line.startswith(f"{_INDENT}reading:")]
    if not found:
        return docstring
    return "".join([*lines[: found[0]], *_lines_of_options(), *lines[found[0] + 1 :]])


def _lines_of_options() -> Iterable[str]:
    lines = inspect.cleandoc(DataOptions.__doc__ or "").splitlines()
    return (f"{line}\n" for line in lines[lines.index("Attributes:") + 1 :])
