"""Calls about commits: making them, and reading trees and histories."""

import base64
import json
from typing import Any

from .api_repositories import paged
from .commits import Commit, changed
from .hub import Hub
from .messages import HubError, Request, Response, answer
from .objects import FileEntry
from .repositories import LFS_SUFFIXES, Repository, now

Parts = dict[str, str]


def preupload(hub: Hub, request: Request, parts: Parts) -> Response:
    """Answer which files are LFS files, and what lies at their paths already."""
    asked = request.json()
    repository = hub.writable(request, parts)
    files = repository.commit(parts["revision"]).files
    answers = []
    for file in asked["files"]:
        path, size = str(file["path"]), int(file["size"])
        # Git's own test of what is binary: a zero byte near the start.
        is_binary = b"\0" in base64.b64decode(file.get("sample", ""))
        is_lfs = is_binary or size >= hub.settings.lfs_size or path.endswith(LFS_SUFFIXES)
        facts = {"path": path, "uploadMode": "lfs" if is_lfs else "regular", "shouldIgnore": False}
        answers.append({**facts, "oid": files[path].etag} if path in files else facts)
    return answer({"files": answers})


def commit(hub: Hub, request: Request, parts: Parts) -> Response:
    """Make a commit on a branch, all or nothing; a stale parent is 412."""
    header, operations = _parse(request.body())
    repository = hub.writable(request, parts)
    assert request.account is not None
    if request.flag("create_pr"):
        raise HubError(400, "This hub knows no pull requests")
    branch = parts["revision"].removeprefix("refs/heads/")
    with repository.lock:
        head = _head(repository, branch)
        parent = str(header.get("parentCommit") or head.oid)
        if not head.oid.startswith(parent):
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        made = repository.commits.add(
            changed(head.files, operations, repository.objects),
            parent=head,
            title=str(header["summary"]),
            message=str(header.get("description", "")),
            author=request.account.name,
            date=now(),
        )
        repository.change(branches={**repository.now().branches, branch: made.oid})
    address = f"{request.hub_url}/{repository.path}/commit/{made.oid}"
    return answer({"success": True, "commitOid": made.oid, "commitUrl": address})


def history(hub: Hub, request: Request, parts: Parts) -> Response:
    """List the commits before a revision, newest first."""
    repository = hub.readable(request, parts).repository
    newest = repository.commit(parts["revision"], as_of=request.as_of)
    entries = [(item.number, item) for item in repository.commits.history(newest.oid)]
    return paged(hub, request, entries, _told, falling=True)


def tree(hub: Hub, request: Request, parts: Parts) -> Response:
    """List the files and folders of a folder, or with ``recursive`` of all below it."""
    repository = hub.readable(request, parts).repository
    found = repository.commit(parts["revision"], as_of=request.as_of)
    folder = parts.get("path") or ""
    inside = f"{folder}/" if folder else ""
    paths = [path for path in _everything(found) if path.startswith(inside)]
    if folder and not paths:
        raise HubError(404, f"{folder} does not exist on {parts['revision']}", "EntryNotFound")
    if not request.flag("recursive"):
        paths = [path for path in paths if "/" not in path.removeprefix(inside)]
    return paged(
        hub,
        request,
        [(path, path) for path in paths],
        lambda path: _entry(found, path),
    )


def paths_info(hub: Hub, request: Request, parts: Parts) -> Response:
    """Describe those of the paths that exist."""
    asked = request.fields()
    repository = hub.readable(request, parts).repository
    found = repository.commit(parts["revision"], as_of=request.as_of)
    existing = set(_everything(found))
    paths = [path.rstrip("/") for path in asked.get("paths", [])]
    return answer([_entry(found, path) for path in paths if path in existing])


def _head(repository: Repository, branch: str) -> Commit:
    oid = repository.now().branches.get(branch)
    if oid is None:
        raise HubError(404, f"Invalid rev id: {branch}", "RevisionNotFound")
    return repository.commits.read(oid)


def _parse(body: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        lines = [json.loads(line) for line in body.splitlines() if line.strip()]
    except ValueError as error:
        raise HubError(400, f"Invalid ndjson: {error}") from error
    headers = [line["value"] for line in lines if line.get("key") == "header"]
    if len(headers) != 1 or not headers[0].get("summary"):
        raise HubError(400, "A commit needs one header with a summary")
    return headers[0], [line for line in lines if line["key"] != "header"]


def _told(item: Commit) -> dict[str, Any]:
    return {
        "id": item.oid,
        "title": item.title,
        "message": item.message,
        "authors": [{"user": item.author}],
        "date": item.date,
    }


def _everything(found: Commit) -> list[str]:
    """Every path of a commit, folders too, sorted."""
    folders = {
        path[:end] for path in found.files for end, letter in enumerate(path) if letter == "/"
    }
    return sorted({*found.files, *folders})


def _entry(found: Commit, path: str) -> dict[str, Any]:
    facts: dict[str, Any]
    entry: FileEntry | None = found.files.get(path)
    if entry is None:
        facts = {"type": "directory", "oid": found.folder_id(path), "size": 0, "path": path}
    else:
        facts = {"type": "file", "oid": entry.oid, "size": entry.size, "path": path}
        if (lfs := entry.lfs()) is not None:
            facts["lfs"] = lfs
    return facts
