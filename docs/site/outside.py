"""Pages for files outside of ``docs/`` that its pages link to, so that the site is whole.

The repository may be anywhere, so a link to a file of it leads to a page with its text. README,
CONTRIBUTING and CHANGELOG have pages of their own names; of an HTML page the copy is the page.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).resolve().parents[2]
_DOCS = "docs"
_PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}
_PAGES["CHANGELOG.md"] = "changelog.md"
_LINK = re.compile(r"(?<=\]\()([^)#\s]+)(?=[)#])")
_FENCE = re.compile(r"^ *(```+)", re.MULTILINE)
_LANGUAGES = {".json": "json", ".py": "python", ".sh": "bash", ".toml": "toml"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, and those that they link to in turn."""
    todo = [*_PAGES, *(f"{_DOCS}/{file.src_uri}" for file in files.documentation_pages())]
    seen = set(todo)
    for origin in todo:
        place = site_place(origin)
        if not origin.startswith(f"{_DOCS}/") and files.get_file_from_path(place) is None:
            files.append(_made(origin, place, config))
        if not origin.endswith(".md"):
            continue
        for link in _links((_ROOT / origin).read_text(encoding="utf-8")):
            target = _target(origin, link)
            if target not in seen and not target.startswith(f"{_DOCS}/"):
                if (_ROOT / target).is_file():
                    todo.append(target)
                seen.add(target)
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Let links lead to where their targets stand in the site."""
    origin = _origin(page.file)
    if not origin.endswith(".md"):
        return markdown
    here = posixpath.dirname(page.file.src_uri)

    def moved(link: re.Match[str]) -> str:
        if _is_elsewhere(link[0]):
            return link[0]
        return posixpath.relpath(site_place(_target(origin, link[0])), here or ".")

    return "".join(
        text if is_code else _LINK.sub(moved, text) for text, is_code in _parts(markdown)
    )


def site_place(origin: str) -> str:
    """Return the place of a file of the repository in the site, relative to its root."""
    if origin.startswith(f"{_DOCS}/"):
        return origin.removeprefix(f"{_DOCS}/")
    if origin in _PAGES:
        return _PAGES[origin]
    suffix = "" if PurePosixPath(origin).suffix in {".md", ".html"} else ".md"
    return f"source/{origin}{suffix}"


def _made(origin: str, place: str, config: MkDocsConfig) -> File:
    """The page, or the copy, of a file outside of ``docs/``."""
    text = (_ROOT / origin).read_text(encoding="utf-8")
    suffix = PurePosixPath(origin).suffix
    if suffix not in {".md", ".html"}:
        language = _LANGUAGES.get(suffix, "text")
        text = f"# {PurePosixPath(origin).name}\n\n`{origin}`\n\n````{language}\n{text}\n````\n"
    made = File.generated(config, place, content=text)
    made.wsdarts_origin = origin  # type: ignore[attr-defined]
    return made


def _origin(file: File) -> str:
    return str(getattr(file, "wsdarts_origin", f"{_DOCS}/{file.src_uri}"))


def _target(origin: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(origin), link))


def _links(markdown: str) -> Iterator[str]:
    for text, is_code in _parts(markdown):
        if not is_code:
            yield from (link for link in _LINK.findall(text) if not _is_elsewhere(link))


def _is_elsewhere(link: str) -> bool:
    return "://" in link or link.startswith(("/", "mailto:"))


def _parts(markdown: str) -> Iterator[tuple[str, bool]]:
    """The text in parts, each with whether it is a block of code."""
    lines: list[str] = []
    fence = ""
    for line in markdown.splitlines(keepends=True):
        found = _FENCE.match(line)
        if fence:
            lines.append(line)
            if found and found[1] == fence:
                yield "".join(lines), True
                lines, fence = [], ""
        elif found:
            yield "".join(lines), False
            lines, fence = [line], found[1]
        else:
            lines.append(line)
    yield "".join(lines), bool(fence)
