"""Calls about tags."""

from .hub import Hub
from .messages import HubError, Request, Response, answer
from .repositories import checked_ref

Parts = dict[str, str]


def refs(hub: Hub, request: Request, parts: Parts) -> Response:
    """List main and the tags with the commits that they name."""
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
