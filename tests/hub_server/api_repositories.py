"""Calls about whole repositories: creation, deletion, settings, description, listing."""

import json
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlencode

from .card import validation
from .description import described, head
from .hub import Hub, View, page, stored_kind
from .messages import HubError, Request, Response, answer
from .repositories import Kind

Parts = dict[str, str]
T = TypeVar("T")
_SORTS = ("createdAt", "lastModified", "trendingScore", "likes", "downloads")


def who_am_i(hub: Hub, request: Request, parts: Parts) -> Response:
    """Answer who sent the token."""
    if request.account is None:
        raise HubError(401, "Invalid username or password.")
    return answer(request.account.identity())


def validate_yaml(hub: Hub, request: Request, parts: Parts) -> Response:
    """Answer what is wrong with a card's metadata."""
    status, found = validation(str(request.json().get("content", "")))
    return answer(found, status)


def create(hub: Hub, request: Request, parts: Parts) -> Response:
    """Create a repository; one that exists is 409, with its address."""
    asked = request.json()
    kind, name = stored_kind(asked), _full_name(request, asked)
    hub.check_write(request.account, name.partition("/")[0])
    assert request.account is not None
    address = f"{request.hub_url}/{name if kind == 'models' else f'{kind}/{name}'}"
    try:
        hub.repositories.create(
            kind, name, author=request.account.name, private=_is_private(asked) or False
        )
    except HubError as error:
        if error.status == 409:
            error.facts["url"] = address
        raise
    return answer({"url": address, "name": name, "id": f"{kind}-{name}"})


def delete(hub: Hub, request: Request, parts: Parts) -> Response:
    """Delete a repository."""
    asked = request.json()
    namespace, _, name = _full_name(request, asked).partition("/")
    where = {"kind": stored_kind(asked), "namespace": namespace, "name": name}
    hub.repositories.delete(hub.writable(request, where))
    return answer({})


def settings(hub: Hub, request: Request, parts: Parts) -> Response:
    """Change who may read a repository."""
    asked = request.json()
    repository = hub.writable(request, parts)
    changes: dict[str, Any] = {}
    if (private := _is_private(asked)) is not None:
        changes["private"] = private
    if "gated" in asked:
        if asked["gated"] not in (False, "auto", "manual"):
            raise HubError(400, f"Invalid gated: {asked['gated']!r}")
        changes["gated"] = asked["gated"]
    with repository.lock:
        repository.change(**changes)
    return answer(changes)


def grant(hub: Hub, request: Request, parts: Parts) -> Response:
    """Let a user read the files of a gated repository."""
    user = str(request.json().get("user"))
    repository = hub.writable(request, parts)
    with repository.lock:
        if user in repository.now().granted:
            raise HubError(400, f"{user} has access already")
        repository.change(granted=(*repository.now().granted, user))
    return answer({})


def info(hub: Hub, request: Request, parts: Parts) -> Response:
    """Describe one repository at a revision."""
    view = hub.readable(request, parts)
    revision = parts.get("revision") or "main"
    commit = view.repository.commit(revision, as_of=request.as_of)
    return answer(
        described(
            view,
            commit,
            expand=request.values("expand"),
            alone=True,
            blobs=request.flag("blobs"),
        )
    )


def listing(hub: Hub, request: Request, parts: Parts) -> Response:
    """List the repositories that the request may see, page by page."""
    kind: Kind = "datasets" if parts["kind"] == "datasets" else "models"
    sort = request.value("sort") or "createdAt"
    if sort not in _SORTS:
        raise HubError(400, f"Invalid sort: {sort}; expected one of {', '.join(_SORTS)}")
    falling = request.value("direction") != "1"
    found = []
    for repository in hub.repositories.all(kind):
        view = hub.visible(request, repository)
        if view is not None:
            facts = described(view, head(view), expand=[sort, "tags"])
            if _is_wanted(view, request, facts["tags"]):
                found.append(([facts[sort], repository.name], view))
    found.sort(key=lambda entry: entry[0], reverse=falling)
    return paged(hub, request, found, lambda view: _listed(view, request), falling=falling)


def paged(
    hub: Hub,
    request: Request,
    entries: list[tuple[Any, T]],
    describe: Callable[[T], dict[str, Any]],
    *,
    falling: bool = False,
) -> Response:
    """Answer with a page, and with the address of the next one in ``Link``."""
    try:
        cursor = json.loads(request.value("cursor") or "null")
        size = min(int(request.value("limit") or hub.settings.page_size), hub.settings.page_size)
    except ValueError as error:
        raise HubError(400, f"Invalid paging: {error}") from error
    found, following = page(entries, cursor, max(size, 1), falling=falling)
    values = [describe(value) for value in found]
    if following is None:
        return answer(values)
    query = {**request.query, "cursor": [json.dumps(following)]}
    address = f"{request.hub_url}{request.path}?{urlencode(query, doseq=True)}"
    return answer(values, headers={"Link": f'<{address}>; rel="next"'})


def _is_wanted(view: View, request: Request, tags: list[str]) -> bool:
    """Whether a listing's filters let a repository through."""
    name = view.repository.name.lower()
    author = (request.value("author") or view.repository.namespace).lower()
    wanted = {tag for value in request.values("filter") for tag in value.split(",")}
    return (
        author == view.repository.namespace.lower()
        and all(word.lower() in name for word in request.values("search"))
        and wanted <= set(tags)
    )


def _listed(view: View, request: Request) -> dict[str, Any]:
    """Describe a repository for a listing."""
    return described(
        view,
        head(view),
        expand=request.values("expand"),
        full=request.flag("full"),
        card=request.flag("cardData"),
    )


def _is_private(asked: dict[str, Any]) -> bool | None:
    """What a creation or a change of settings says of privacy; None where it says nothing."""
    if "visibility" in asked:
        if asked["visibility"] not in ("public", "private"):
            raise HubError(400, f"Invalid visibility: {asked['visibility']!r}")
        return bool(asked["visibility"] == "private")
    return None if asked.get("private") is None else bool(asked["private"])


def _full_name(request: Request, asked: dict[str, Any]) -> str:
    own = "" if request.account is None else request.account.name
    return f"{asked.get('organization') or own}/{asked.get('name')}"
