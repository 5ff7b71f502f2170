"""Views of objects in notebooks, found by the name of the class.

A result inherits ``Viewable`` and imports nothing; the packages above it register the views.
"""

from collections.abc import Mapping
from importlib import import_module

_views: dict[str, str] = {}


def register_views(views: Mapping[str, str]) -> None:
    """Register the function that writes the HTML of a class; both are named ``module:name``."""
    _views.update(views)


class Viewable:
    """An object that a notebook shows by the view registered for its class."""

    def _repr_html_(self) -> str:
        """Return the HTML that a notebook shows.

        Raises:
            NotImplementedError: No view is registered; a notebook shows text then.
        """
        for cls in type(self).__mro__:
            view = _views.get(f"{cls.__module__}:{cls.__qualname__}")
            if view is not None:
                module, _, name = view.partition(":")
                return str(getattr(import_module(module), name)(self))
        raise NotImplementedError(f"no view of {type(self).__name__} is registered")
