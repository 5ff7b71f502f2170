"""Calls about branches and tags."""

from .hub import Hub
from .messages import HubError, Request, Response, answer
from .repositories import MAIN, checked_ref

Parts = dict[str, str]


def refs(hub: Hub, request: Request, parts: Parts) -> Response:
    """List branches and tags with the commits that they name."""
    state = hub.readable(request, parts).state

    def described(kind: str, names: dict[str, str]) -> list[dict[str, str]]:
        return [
            {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": oid}
            for name, oid in names.items()
        ]

    found = {
        "branches": described("heads", state.branches),
        "tags": described("tags", state.tags),
        "converts": [],
    }
    return answer(found)


def create_tag(hub: Hub, request: Request, parts: Parts) -> Response:
    """Tag a revision; a tag that exists is 409 and stays where it is."""
    tag = checked_ref(str(request.json().get("tag")))
    repository = hub.writable(request, parts)
    with repository.lock:
        commit = repository.commit(parts["revision"])
        tags = repository.now().tags
        if tag in tags:
            raise HubError(409, f"Tag reference exists already: {tag}")
        repository.change(tags={**tags, tag: commit.oid})
    return answer({})


def delete_tag(hub: Hub, request: Request, parts: Parts) -> Response:
    """Delete a tag."""
    repository = hub.writable(request, parts)
    with repository.lock:
        tags = dict(repository.now().tags)
        if tags.pop(parts["revision"], None) is None:
            raise HubError(404, f"Invalid rev id: {parts['revision']}", "RevisionNotFound")
        repository.change(tags=tags)
    return answer({})


def create_branch(hub: Hub, request: Request, parts: Parts) -> Response:
    """Branch off a revision (main if none is given); a branch that exists is 409."""
    start = str(request.json().get("startingPoint") or MAIN)
    branch = checked_ref(parts["revision"])
    repository = hub.writable(request, parts)
    with repository.lock:
        commit = repository.commit(start)
        branches = repository.now().branches
        if branch in branches:
            raise HubError(409, f"Reference already exists: refs/heads/{branch}")
        repository.change(branches={**branches, branch: commit.oid})
    return answer({})
