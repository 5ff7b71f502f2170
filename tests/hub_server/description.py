"""How the hub describes a repository, in listings and alone."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from .card import CardError, card_data, card_tags
from .commits import Commit
from .hub import View
from .repositories import MAIN, Repository

_BRIEF = (
    *("_id", "id", "modelId", "private", "downloads", "likes", "trendingScore", "tags"),
    *("createdAt", "library_name", "pipeline_tag"),
)
_FULL = (*_BRIEF, "author", "sha", "lastModified", "gated", "disabled", "siblings")
_ALONE = (*_FULL, "cardData", "usedStorage", "spaces")


def described(
    view: View,
    commit: Commit | None,
    *,
    expand: list[str],
    full: bool = False,
    card: bool = False,
    alone: bool = False,
    blobs: bool = False,
) -> dict[str, Any]:
    """Describe a repository at a commit.

    Args:
        view: The repository.
        commit: Its files; None where it has no main branch.
        expand: The facts that were asked for by name; with none, the usual ones.
        full: All that a listing says where it is asked for everything.
        card: The card's metadata too.
        alone: All that is said of a single repository.
        blobs: Sizes and hashes of the files too.
    """
    facts = _facts(view, commit, blobs=blobs)
    if expand:
        wanted: tuple[str, ...] = ("_id", "id", "modelId", *expand)
    elif alone:
        wanted = _ALONE
    else:
        wanted = (*(_FULL if full else _BRIEF), *(["cardData"] if card else []))
    absent = {key for key in ("library_name", "pipeline_tag", "cardData") if not facts[key]}
    if view.repository.kind == "datasets":
        absent |= {"modelId", "library_name", "pipeline_tag", "spaces"}
    return {key: facts[key] for key in wanted if key in facts and key not in absent}


def head(view: View) -> Commit | None:
    """Return the newest commit of the main branch."""
    oid = view.state.branches.get(MAIN)
    return None if oid is None else view.repository.commits.read(oid)


def _facts(view: View, commit: Commit | None, *, blobs: bool) -> dict[str, Any]:
    repository = view.repository
    data = {} if commit is None else _data(repository, commit)
    files = {} if commit is None else commit.files
    return {
        "_id": f"{repository.kind}-{repository.name}",
        "id": repository.name,
        "modelId": repository.name,
        "author": repository.namespace,
        "sha": None if commit is None else commit.oid,
        "lastModified": repository.created_at if commit is None else commit.date,
        "createdAt": repository.created_at,
        "private": view.state.private,
        "gated": view.state.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "trendingScore": 0,
        "spaces": [],
        "usedStorage": sum(entry.size for entry in files.values()),
        "tags": card_tags(data),
        "library_name": data.get("library_name"),
        "pipeline_tag": data.get("pipeline_tag"),
        "cardData": data,
        "siblings": [
            _sibling(path, commit, blobs=blobs) for path in ([] if commit is None else files)
        ],
    }


def _sibling(path: str, commit: Commit | None, *, blobs: bool) -> dict[str, Any]:
    if commit is None or not blobs:
        return {"rfilename": path}
    entry = commit.files[path]
    facts: dict[str, Any] = {"rfilename": path, "size": entry.size, "blobId": entry.oid}
    if (lfs := entry.lfs()) is not None:
        facts["lfs"] = {**lfs, "sha256": entry.sha256}
    return facts


def _data(repository: Repository, commit: Commit) -> dict[str, Any]:
    entry = commit.files.get("README.md")
    return {} if entry is None else _read_card(repository.objects.path(entry))


@lru_cache(maxsize=4096)
def _read_card(path: Path) -> dict[str, Any]:
    # The path names the content, so what was read once stays true.
    try:
        return card_data(path.read_text(encoding="utf-8"))
    except (CardError, UnicodeDecodeError):
        return {}
