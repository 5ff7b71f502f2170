"""Pages and cards from the templates of ``wsdarts_cards``, sanitized by default.

A template may print any value: what is not ``Markup`` is made harmless on its way out, for
HTML by ``sanitize`` and escaping, for Markdown by ``escape_markdown``. Only markup that this
code base made itself (drawings, charts, code blocks) is wrapped in ``Markup``.
"""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from wsdarts_registry._format import count, duration, percent, pluralize, points, size
from wsdarts_registry._text import code_span, escape_markdown, fenced_code, sanitize

_LONGEST_VALUE = 1000


def html_page(template: str, /, **values: object) -> str:
    """Fill an HTML template of ``wsdarts_cards``; every value but ``Markup`` is escaped."""
    return _pages().get_template(template).render(values)


def html_environment(folder: str = "templates") -> Environment:
    """Return the HTML templates in a folder of ``wsdarts_cards``, to fill many of them."""
    return _environment(folder, autoescape=True, finalize=_finalize_html)


def markdown_page(template: str, /, **values: object) -> str:
    """Fill a Markdown template of ``wsdarts_cards``; every value but ``Markup`` is literal text.

    The filters ``code`` and ``fenced`` write code spans and fenced blocks.
    """
    return _cards().get_template(template).render(values)


@cache  # compiling a template takes longer than filling it
def _pages() -> Environment:
    return html_environment()


@cache
def _cards() -> Environment:
    environment = _environment("templates", autoescape=False, finalize=_finalize_markdown)
    environment.filters["code"] = lambda value: Markup(code_span(str(value)))  # noqa: S704
    environment.filters["literal"] = lambda value: Markup(sanitize(str(value)))  # noqa: S704
    environment.filters["fenced"] = lambda value, language="": Markup(  # noqa: S704
        fenced_code(str(value), language)
    )
    return environment


def _environment(folder: str, **options: Any) -> Environment:
    environment = Environment(  # noqa: S701 - the caller says how values are escaped
        loader=PackageLoader("wsdarts_cards", folder),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )
    environment.globals.update(
        count=count,
        duration=duration,
        pluralize=pluralize,
        percent=percent,
        points=points,
        size=size,
    )
    return environment


def _finalize_html(value: object) -> object:
    return value if isinstance(value, Markup) else sanitize(str(value), _LONGEST_VALUE)


def _finalize_markdown(value: object) -> object:
    return value if isinstance(value, Markup) else escape_markdown(str(value), _LONGEST_VALUE)
