"""Which handler answers which method and path."""

import re
from collections.abc import Callable
from urllib.parse import unquote

from . import api_commits, api_files, api_refs, api_repositories
from .hub import Hub
from .messages import HubError, Request, Response

Handler = Callable[[Hub, Request, dict[str, str]], Response]

_REPOSITORY = r"(?P<namespace>[^/]+)/(?P<name>[^/]+)"
_API = rf"/api/(?P<kind>models|datasets)/{_REPOSITORY}"
_PAGE = rf"/(?:(?P<kind>datasets)/)?{_REPOSITORY}"
_REVISION = r"(?P<revision>[^/]+)"
_OBJECT = rf"/(?P<kind>models|datasets)/{_REPOSITORY}/objects/(?P<sha256>[0-9a-f]{{64}})"

_Routes = list[tuple[str, re.Pattern[str], Handler]]


def _routes(*rows: tuple[str, str, Handler]) -> _Routes:
    return [(methods, re.compile(pattern), handler) for methods, pattern, handler in rows]


HUB_ROUTES = _routes(
    ("GET", r"/api/whoami-v2", api_repositories.who_am_i),
    ("POST", r"/api/validate-yaml", api_repositories.validate_yaml),
    ("POST", r"/api/repos/create", api_repositories.create),
    ("DELETE", r"/api/repos/delete", api_repositories.delete),
    ("GET", r"/api/(?P<kind>models|datasets)", api_repositories.listing),
    ("GET", _API, api_repositories.info),
    ("GET", rf"{_API}/revision/{_REVISION}", api_repositories.info),
    ("PUT", rf"{_API}/settings", api_repositories.settings),
    ("POST", rf"{_API}/user-access-request/grant", api_repositories.grant),
    ("GET", rf"{_API}/refs", api_refs.refs),
    ("POST", rf"{_API}/tag/{_REVISION}", api_refs.create_tag),
    ("DELETE", rf"{_API}/tag/{_REVISION}", api_refs.delete_tag),
    ("POST", rf"{_API}/branch/{_REVISION}", api_refs.create_branch),
    ("POST", rf"{_API}/preupload/{_REVISION}", api_commits.preupload),
    ("POST", rf"{_API}/commit/{_REVISION}", api_commits.commit),
    ("GET", rf"{_API}/commits/{_REVISION}", api_commits.history),
    ("GET", rf"{_API}/tree/{_REVISION}(?:/(?P<path>.*))?", api_commits.tree),
    ("POST", rf"{_API}/paths-info/{_REVISION}", api_commits.paths_info),
    ("POST", rf"{_API}/lfs/verify", api_files.verify),
    ("POST", rf"{_PAGE}\.git/info/lfs/objects/batch", api_files.batch),
    ("GET HEAD", rf"{_PAGE}/resolve/{_REVISION}/(?P<path>.+)", api_files.resolve),
)

STORAGE_ROUTES = _routes(
    ("GET HEAD", _OBJECT, api_files.download),
    ("PUT", _OBJECT, api_files.upload),
)


def dispatch(hub: Hub, request: Request, routes: _Routes) -> Response:
    """Answer a request.

    Raises:
        HubError: The hub refuses it, or does not speak this call (404).
    """
    for methods, pattern, handler in routes:
        found = pattern.fullmatch(request.path)
        if found is not None and request.method in methods.split():
            parts = {key: unquote(part) for key, part in found.groupdict().items() if part}
            return handler(hub, request, parts)
    raise HubError(404, f"This hub does not speak {request.method} {request.path}")
