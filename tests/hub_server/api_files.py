"""Calls about contents: resolving files, and the storage server of LFS objects."""

import re
from pathlib import Path

from .hub import Hub
from .messages import HubError, Request, Response, Stretch, answer
from .objects import FileEntry

Parts = dict[str, str]
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_LFS_TYPE = {"Content-Type": "application/vnd.git-lfs+json"}


def resolve(hub: Hub, request: Request, parts: Parts) -> Response:
    """Answer with a file, or for an LFS file with where the storage server has it."""
    repository = hub.readable(request, parts, files=True).repository
    commit = repository.commit(parts["revision"], as_of=request.as_of)
    described = {"X-Repo-Commit": commit.oid}
    entry = commit.files.get(parts["path"])
    if entry is None:
        raise HubError(404, "Entry not found", "EntryNotFound", headers=described)
    described["ETag"] = f'"{entry.etag}"'
    if entry.sha256 is None:
        return _stretch(request, repository.objects.path(entry), entry, described)
    path = f"/{repository.kind}/{repository.name}/objects/{entry.sha256}"
    location = f"{request.storage_url}{hub.signed('GET', path)}"
    described |= {
        "Location": location,
        "X-Linked-Size": str(entry.size),
        "X-Linked-ETag": f'"{entry.sha256}"',
    }
    return Response(status=302, headers=described, body=f"Found. See {location}".encode())


def batch(hub: Hub, request: Request, parts: Parts) -> Response:
    """Answer where to put LFS objects; those that are there need no upload."""
    asked = request.json()
    if asked.get("operation") != "upload":
        raise HubError(400, "This hub speaks LFS for uploads only")
    repository = hub.writable(request, parts)
    root = f"/{repository.kind}/{repository.name}/objects"
    found = []
    for item in asked["objects"]:
        sha256, size = str(item["oid"]), int(item["size"])
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise HubError(422, f"Invalid oid: {sha256}")
        facts: dict[str, object] = {"oid": sha256, "size": size, "authenticated": True}
        if not repository.objects.has(sha256):
            verify = f"{request.hub_url}/api/{repository.kind}/{repository.name}/lfs/verify"
            href = f"{request.storage_url}{hub.signed('PUT', f'{root}/{sha256}')}"
            facts["actions"] = {"upload": {"href": href}, "verify": {"href": verify}}
        found.append(facts)
    return answer({"transfer": "basic", "objects": found}, headers=_LFS_TYPE)


def verify(hub: Hub, request: Request, parts: Parts) -> Response:
    """Answer whether an uploaded object is there and as large as it should be."""
    asked = request.json()
    objects = hub.writable(request, parts).objects
    sha256 = str(asked.get("oid"))
    if not (sha256.isalnum() and objects.has(sha256)):
        raise HubError(404, f"Object {sha256} was not uploaded")
    if objects.link(sha256).size != asked.get("size"):
        raise HubError(400, f"Object {sha256} has another size")
    return answer({})


def download(hub: Hub, request: Request, parts: Parts) -> Response:
    """Storage server: answer with an object."""
    hub.check_signature(request)
    objects = hub.stored(parts).objects
    entry = objects.link(parts["sha256"])
    return _stretch(request, objects.path(entry), entry, {"ETag": f'"{entry.sha256}"'})


def upload(hub: Hub, request: Request, parts: Parts) -> Response:
    """Storage server: take an object."""
    hub.check_signature(request)
    hub.stored(parts).objects.upload(parts["sha256"], request.chunks())
    return Response()


def _stretch(request: Request, path: Path, entry: FileEntry, headers: dict[str, str]) -> Response:
    """Answer with a file, or with the range of it that was asked for."""
    described = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **headers}
    found = _RANGE.fullmatch(request.headers.get("range", ""))
    first, last = 0, entry.size - 1
    if found is None or found.groups() == ("", ""):
        return Response(headers=described, body=Stretch(path=path, start=0, length=entry.size))
    if not found[1]:
        first = max(entry.size - int(found[2]), 0)
    else:
        first = int(found[1])
        last = min(int(found[2]) if found[2] else last, last)
    if first > last:
        raise HubError(
            416, "Range not satisfiable", headers={"Content-Range": f"bytes */{entry.size}"}
        )
    described["Content-Range"] = f"bytes {first}-{last}/{entry.size}"
    body = Stretch(path=path, start=first, length=last - first + 1)
    return Response(status=206, headers=described, body=body)
