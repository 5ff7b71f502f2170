"""Every class that shows itself in a notebook has a view that can be loaded."""

from importlib import import_module

import pytest

import wsdarts_sdk.pipelines  # noqa: F401 - registers the views of runs
from wsdarts_registry import _views


def _loaded(place: str) -> object:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def test_classes_and_views_are_where_they_are_registered() -> None:
    for place, view in _views._views.items():
        shown = _loaded(place)
        assert isinstance(shown, type)
        assert issubclass(shown, _views.Viewable)
        assert callable(_loaded(view))


def test_all_viewable_classes_are_registered() -> None:
    for place in tuple(_views._views):
        _loaded(place)
    classes = {
        f"{cls.__module__}:{cls.__qualname__}"
        for cls in _views.Viewable.__subclasses__()
        if cls.__module__.startswith("wsdarts_")
    }
    assert classes == set(_views._views)


def test_a_notebook_shows_text_where_no_view_is_registered() -> None:
    class Other(_views.Viewable):
        pass

    with pytest.raises(NotImplementedError):
        Other()._repr_html_()
