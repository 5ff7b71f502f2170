"""A Hub that attacks: nothing outside the cache changes, and no token goes to another host."""

import itertools
import json
import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from huggingface_hub import constants, get_session

from tests.hub_server import ALICE, HubServer
from tests.registry.stores.huggingface.conftest import LOCATION, Make
from tests.registry.stores.huggingface.hostile_hub import HostileHub, Request, Response, Spoil
from wsdarts_registry._files import cache_directory
from wsdarts_registry.errors import ArtifactError, RegistryError, WsdartsError
from wsdarts_registry.stores.huggingface._artifact_repository import ArtifactRepository, State
from wsdarts_registry.stores.huggingface._client import HuggingFaceClient
from wsdarts_registry.stores.huggingface._transport import guarded_api
from wsdarts_registry.stores.huggingface.location import Endpoint
from wsdarts_registry.stores.huggingface.store import HubStore

pytestmark = [
    pytest.mark.usefixtures("impatient"),
    pytest.mark.filterwarnings("ignore::wsdarts_registry.errors.RegistryWarning"),
]
ENDLESS = itertools.repeat(b"x" * 2**16)


@pytest.fixture
def evil(hub_server: HubServer, store: HubStore, make: Make) -> Iterator[HostileHub]:
    """A hub with one artifact, honest until a test makes it evil."""
    store.publish(make("first"), "flowers")
    with HostileHub(hub_server) as hub:
        yield hub


def _at(evil: HostileHub) -> HubStore:
    return HubStore(LOCATION, endpoint=evil.url)


def _state(evil: HostileHub) -> State:
    return ArtifactRepository(HuggingFaceClient(evil.url), "acme", "flowers").state()


def _error(work: Callable[[], object]) -> str:
    """The error that a work ends in, one line; empty if it succeeds."""
    try:
        work()
    except WsdartsError as error:
        return str(error) if str(error).isprintable() else pytest.fail(f"no line: {error}")
    return ""


def _json(path: str, change: Any) -> Spoil:
    """Change the JSON of the answers to a path."""

    def spoil(request: Request, response: Response) -> None:
        if re.search(path, request.path) and response.status == 200:
            assert isinstance(response.body, bytes)
            data = json.loads(response.body)
            response.body = json.dumps(change(data)).encode()

    return spoil


def _header(path: str, name: str, value: str) -> Spoil:
    def spoil(request: Request, response: Response) -> None:
        if re.search(path, request.path):
            response.set(name, value)

    return spoil


def test_a_tag_that_is_a_path_writes_no_file(evil: HostileHub, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (commit,) = (state.head.commit for state in [_state(evil)] if state.head)
    for target in (
        str(precious),
        f"{'../' * 20}{str(precious)[1:]}",
        f"{'a' * 40}/../../{'../' * 20}{str(precious)[1:]}",
    ):

        def redirect_tags(data: Any, target: str = target) -> Any:
            return {**data, "tags": [{**tag, "targetCommit": target} for tag in data["tags"]]}

        def serve_it(path: str, target: str = target) -> str:
            return path.replace(quote(target, safe=""), commit).replace(quote(target), commit)

        # The client would keep where a revision points in a file of that name.
        evil.spoil, evil.instead = _json("flowers/refs", redirect_tags), serve_it
        error = _error(lambda: _at(evil).pull("flowers"))
        assert precious.read_text() == "mine"
        assert "acme/flowers on http" in error
        assert "tags.0.targetCommit" in error


@pytest.mark.parametrize("name", ["X-Repo-Commit", "ETag", "X-Linked-ETag"])
def test_a_header_that_is_a_path_writes_no_file(
    evil: HostileHub, tmp_path: Path, name: str
) -> None:
    precious = tmp_path / "precious"
    evil.spoil = _header("/resolve/", name, f'"{precious}"' if "ETag" in name else str(precious))
    assert _at(evil).pull("flowers").directory.is_relative_to(cache_directory())
    assert not precious.exists()
    assert not any(Path(constants.HF_HUB_CACHE).rglob("*"))


@pytest.mark.parametrize(
    "value", ["main", "A" * 40, "a" * 39, "a" * 40 + "\n", 5, None, ["a" * 40]]
)
def test_a_head_that_is_no_commit(evil: HostileHub, value: Any) -> None:
    evil.spoil = _json("models/acme/flowers$", lambda data: {**data, "sha": value})
    if value is None:  # a repository without a commit
        assert _at(evil).versions("flowers") == ()
        return
    with pytest.raises(RegistryError, match=r"acme/flowers .*\(.*sha"):
        _at(evil).versions("flowers")


@pytest.mark.parametrize("answer", [[], {}, "x", None, 7, [[]], {"tags": {}}, {"tags": [[]]}])
def test_another_kind_of_answer(evil: HostileHub, answer: Any) -> None:
    evil.spoil = _json("/refs|/paths-info|/api/models$", lambda data: answer)
    for work in (lambda: _at(evil).pull("flowers"), lambda: _at(evil).entries()):
        # An empty list of repositories is one.
        assert _error(work) or answer == []


def test_a_remembered_answer_is_checked_again(
    evil: HostileHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a version that checked nothing would have left it.
    _at(evil).pull("flowers")
    for path in (cache_directory() / "hub").glob("*.json"):
        if b'"v1"' in path.read_bytes():
            path.write_text('{"v1":"/etc/passwd"}\n')
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RegistryError, match="HF_HUB_OFFLINE is set"):
        _at(evil).pull("flowers")


@pytest.mark.parametrize("announced", ["", None])
def test_an_answer_without_end_is_given_up(evil: HostileHub, announced: str | None) -> None:
    """Neither a length nor the end of the connection limits it: its reader does."""

    def spoil(request: Request, response: Response) -> None:
        if "/refs" in request.path:
            response.body, response.length = ENDLESS, announced

    evil.spoil = spoil
    with pytest.raises(RegistryError, match="than the 16777216 bytes"):
        _at(evil).pull("flowers")
    assert evil.sent < 40 * 2**20


@pytest.mark.parametrize("announced", ["", None, "489000000"])
def test_a_file_that_is_longer_than_announced_is_given_up(
    evil: HostileHub, announced: str | None
) -> None:
    def spoil(request: Request, response: Response) -> None:
        if "registry.json" in request.path and "/resolve/" in request.path:
            response.body, response.length = ENDLESS, announced

    evil.spoil = spoil
    with pytest.raises(RegistryError, match=r"\d+ at most|\d+ bytes"):
        _at(evil).pull("flowers")
    assert evil.sent < 20 * 2**20


def test_a_packed_answer_is_not_unpacked(evil: HostileHub) -> None:
    evil.spoil = _header("/refs", "Content-Encoding", "gzip")
    with pytest.raises(RegistryError, match="compressed"):
        _at(evil).pull("flowers")


def test_an_answer_that_trickles_is_given_up(
    evil: HostileHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsdarts_registry.stores.huggingface._transport.TIMEOUT", 0.2)

    def trickle() -> Iterator[bytes]:
        while True:
            evil.closing.wait(0.02)
            yield b" "

    def spoil(request: Request, response: Response) -> None:
        if "/refs" in request.path:
            response.body, response.length = trickle(), None

    evil.spoil = spoil
    with pytest.raises(RegistryError, match="too slowly"):
        _at(evil).pull("flowers")


def _redirect(other: HostileHub, path: str, status: int, method: str = "") -> Spoil:
    """Redirect what is asked of a path."""

    def spoil(request: Request, response: Response) -> None:
        if re.search(path, request.path) and method in ("", request.method):
            response.status = status
            response.set("Location", f"{other.url}{request.path}")

    return spoil


def _elsewhere(other: HostileHub) -> dict[str, Spoil]:
    """The ways by which a hub leads to another host."""
    writing = "/repos/create|/preupload/|/validate-yaml|/objects/batch|/tag/"
    return {
        "next page": _header("/api/models[?]", "Link", f'<{other.url}/api/models>; rel="next"'),
        "redirect": _redirect(other, "/refs", 307),
        "redirect of a commit": _redirect(other, "/commit/", 307),
        "redirect of a file": _redirect(other, "/resolve/", 302),
        "redirect of an upload": _redirect(other, "", 307, "PUT"),
        "change of an upload": _redirect(other, "", 302, "PUT"),
        "redirect of other writes": _redirect(other, writing, 308),
        "verification of an upload": _json(
            "objects/batch",
            lambda data: {
                **data,
                "objects": [
                    {
                        **item,
                        "actions": {
                            "upload": {"href": f"{other.url}/put"},
                            "verify": {"href": f"{other.url}/verify"},
                        },
                    }
                    for item in data["objects"]
                ],
            },
        ),
    }


@pytest.mark.parametrize(
    "way",
    [
        *("next page", "redirect", "redirect of a commit", "redirect of a file"),
        *("verification of an upload", "redirect of an upload", "change of an upload"),
        "redirect of other writes",
    ],
)
def test_no_token_goes_to_another_host(evil: HostileHub, make: Make, way: str) -> None:
    with HostileHub(None, host="localhost") as other:
        evil.spoil = _elsewhere(other)[way]
        for work in (
            lambda: _at(evil).names(),
            lambda: _at(evil).pull("flowers"),
            lambda: _at(evil).publish(make("second"), "birds"),
        ):
            _error(work)
        assert any(request.token for request in evil.requests)
        assert not any(request.token for request in other.requests)
        # What may lead elsewhere are contents; what has a token may not, nor what is sent.
        followed = {"redirect", "redirect of a file", "verification of an upload"}
        assert bool(other.requests) == (way in followed)
        if way == "verification of an upload":
            assert {request.method for request in other.requests} == {"PUT"}


def test_a_list_that_never_ends(evil: HostileHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsdarts_registry.stores.huggingface._transport.MAX_PAGES", 20)
    numbers = itertools.count()

    def spoil(request: Request, response: Response) -> None:
        if request.path.startswith("/api/models?"):
            response.set("Link", f'<{evil.url}/api/models?page={next(numbers)}>; rel="next"')

    evil.spoil = spoil
    with pytest.raises(RegistryError, match="more than 20 pages"):
        _at(evil).names()
    evil.spoil = _header("/api/models[?]", "Link", "</api/models?page=0>; rel=next")
    with pytest.raises(RegistryError, match="in a circle"):
        _at(evil).names()


@pytest.mark.parametrize(
    "where", ["{self}", "file:///etc/passwd", "http://[x", "http://192.0.2.1/"]
)
def test_a_redirect_that_leads_nowhere(evil: HostileHub, where: str) -> None:
    def spoil(request: Request, response: Response) -> None:
        if "/refs" in request.path:
            response.status = 307
            response.set("Location", where.format(self=request.path))

    evil.spoil = spoil
    with pytest.raises(RegistryError, match=r"redirects more than|leads to"):
        _at(evil).pull("flowers")


def _refused_objects(data: Any) -> Any:
    error = {"code": 403, "message": "quota exceeded"}
    return {**data, "objects": [{**item, "error": error} for item in data["objects"]]}


def test_an_upload_that_is_not_described(evil: HostileHub, make: Make) -> None:
    for spoil, message in (
        (_json("/preupload/", lambda data: {"files": []}), "not what a Hub answers"),
        (_json("objects/batch", lambda data: []), "not what a Hub answers"),
        (_json("objects/batch", lambda data: {"objects": [{}]}), "not what a Hub answers"),
        # The client uploads nothing then, and the Hub takes no commit of what it lacks.
        (_json("objects/batch", lambda data: {"objects": []}), "status 400"),
        (_json("objects/batch", _refused_objects), "refused to write to.*quota exceeded"),
    ):
        evil.spoil = spoil
        with pytest.raises(RegistryError, match=message):
            _at(evil).publish(make("second"), "birds")
    # A commit that was made, whatever the answer says, is found by looking.
    evil.spoil = _json("/commit/", lambda data: {**data, "commitOid": "../../x"})
    assert _at(evil).publish(make("second"), "birds").version == 1


def test_a_file_that_the_hub_would_leave_out(evil: HostileHub, make: Make) -> None:
    """The client would commit the others, and say nothing."""
    evil.spoil = _json(
        "/preupload/",
        lambda data: {"files": [{**file, "shouldIgnore": True} for file in data["files"]]},
    )
    with pytest.raises(RegistryError, match=r"\.gitignore there excludes \S+"):
        _at(evil).publish(make("second"), "flowers")
    evil.spoil = None
    assert [entry.version for entry in _at(evil).entries()] == [1]


def test_a_name_that_the_client_does_not_touch(evil: HostileHub, make: Make) -> None:
    evil.spoil = _json(
        "models/acme/flowers$",
        lambda data: {**data, "siblings": [*data["siblings"], {"rfilename": ".cache/x"}]},
    )
    assert _at(evil).publish(make("second"), "flowers").version == 2


def test_an_endless_file_takes_no_space(evil: HostileHub) -> None:
    def spoil(request: Request, response: Response) -> None:
        if "/objects/" in request.path:
            response.body, response.length = ENDLESS, None

    evil.spoil = spoil
    with pytest.raises((RegistryError, ArtifactError), match="more than the"):
        _at(evil).pull("flowers")
    kept = sum(path.stat().st_size for path in cache_directory().rglob("*") if path.is_file())
    assert kept < 2**20
    assert not list((cache_directory() / "hub" / "files").glob(".*"))  # nor what was begun


def test_a_token_that_is_echoed_is_not_said(evil: HostileHub) -> None:
    def spoil(request: Request, response: Response) -> None:
        response.status = 418
        response.set("X-Error-Message", f"who sends {request.token}? a-word-of-another-form")

    evil.spoil = spoil
    store = HubStore(LOCATION, endpoint=evil.url, token="a-word-of-another-form")  # noqa: S106
    error = _error(lambda: store.pull("flowers"))
    assert "418" in error
    assert "another-form" not in error


def test_a_login_is_sent_to_the_hub_itself(evil: HostileHub) -> None:
    _at(evil).pull("flowers")
    sent = {request.token for request in evil.requests if "/objects/" not in request.path}
    assert sent == {f"Bearer {ALICE.token}"}


def _uploads_to(url: str) -> Spoil:
    """Name an address to upload to."""
    return _json(
        "objects/batch",
        lambda data: {
            **data,
            "objects": [{**o, "actions": {"upload": {"href": url}}} for o in data["objects"]],
        },
    )


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://192.0.2.1/x", r"leads to 192\.0\.2\.1, .*not encrypted"),
        ("http://a:b@192.0.2.1/x", r"leads to 192\.0\.2\.1, .*not encrypted"),
        ("file:///etc/passwd", "acme/birds on http"),
        ("http://[x", "acme/birds on http"),
        ("x", "acme/birds on http"),
    ],
)
def test_an_upload_to_where_nothing_may_be_sent(
    evil: HostileHub, make: Make, url: str, message: str
) -> None:
    evil.spoil = _uploads_to(url)
    with pytest.raises(RegistryError, match=message):
        _at(evil).publish(make("second"), "birds")
    assert not any(
        "/commit/" in request.path and "birds" in request.path for request in evil.requests
    )


def test_a_failed_upload_does_not_end_the_guard(evil: HostileHub, make: Make) -> None:
    # The client would make a session anew after a failed connection, and ask again and again.
    session = get_session()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens there
        evil.spoil = _uploads_to(f"http://127.0.0.1:{closed.getsockname()[1]}/x")
        with pytest.raises(RegistryError, match=r"connection failed \(ConnectError\)"):
            _at(evil).publish(make("second"), "birds")
    assert get_session() is session


def test_the_session_is_as_before(evil: HostileHub, make: Make) -> None:
    before = {kind: list(hooks) for kind, hooks in get_session().event_hooks.items()}
    xet = constants.HF_HUB_DISABLE_XET
    _at(evil).publish(make("second"), "birds")
    evil.spoil = _header("/preupload/", "Content-Encoding", "gzip")
    with pytest.raises(RegistryError, match="compressed"):
        _at(evil).publish(make("third"), "birds")
    assert get_session().event_hooks == before
    assert xet == constants.HF_HUB_DISABLE_XET


def test_what_others_do_with_the_client_is_let_alone(evil: HostileHub, make: Make) -> None:
    """While a push runs, another thread reads from elsewhere with its own token."""
    met: list[object] = []
    with HostileHub(None, host="localhost") as other:
        other.spoil = _header("", "Content-Encoding", "identity, identity")

        def spoil(request: Request, response: Response) -> None:
            if "/preupload/" in request.path:
                for method in ("GET", "POST"):
                    headers = {"Authorization": "Bearer other"}
                    met.append(get_session().request(method, other.url, headers=headers))

        evil.spoil = spoil
        _at(evil).publish(make("second"), "birds")
        assert {request.token for request in other.requests} == {"Bearer other"}
    assert len(met) >= 2


@pytest.mark.parametrize("announced", ["", None])
@pytest.mark.parametrize("path", ["/preupload/", "objects/batch", "/objects/", "/commit/", "/tag/"])
def test_an_answer_without_end_to_what_writes(
    evil: HostileHub, make: Make, path: str, announced: str | None
) -> None:
    def spoil(request: Request, response: Response) -> None:
        if path in request.path and request.method != "GET":
            response.body, response.length = ENDLESS, announced

    evil.spoil = spoil
    with pytest.raises(RegistryError, match="than the 16777216 bytes"):
        _at(evil).publish(make("second"), "flowers")


def test_a_wait_that_no_one_would_watch(evil: HostileHub, make: Make) -> None:
    """Neither the client nor the registry sleeps that long."""

    def spoil(request: Request, response: Response) -> None:
        if "/preupload/" in request.path or request.method == "PUT":
            response.status = 429
            response.set("Retry-After", "100000")
            response.set("ratelimit", '"api";r=0;t=100000')

    slept: list[float] = []
    evil.spoil = spoil
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.sleep", slept.append)
        with pytest.raises(RegistryError, match=r"answers 429.* 100000 s"):
            _at(evil).publish(make("second"), "birds")
    assert sum(slept) < 60


def test_a_creation_that_is_to_be_repeated_for_ever(
    evil: HostileHub, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsdarts_registry.stores.huggingface._transport._MAX_REQUESTS", 20)

    def spoil(request: Request, response: Response) -> None:
        if "/repos/create" in request.path:
            response.status = 409
            response.body = b"Cannot create repo: another conflicting operation is in progress"

    evil.spoil = spoil
    with pytest.raises(RegistryError, match="more than 20 requests"):
        _at(evil).publish(make("second"), "birds")


def test_what_a_hub_says_is_not_printed(
    evil: HostileHub, make: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    def spoil(request: Request, response: Response) -> None:
        response.set("X-HF-Warning", "topic; \x1b[2Jgone")
        if "/validate-yaml" in request.path:
            response.body = json.dumps({"warnings": [{"message": "\x1b[2Jgone"}]}).encode()

    evil.spoil = spoil
    _at(evil).publish(make("second"), "birds")
    assert "gone" not in "".join(capfd.readouterr())


def test_two_hubs_are_written_to_at_once(evil: HostileHub, make: Make) -> None:
    """Each call is held to its own Hub, whatever others run."""
    with HostileHub(evil.honest) as second:
        evil.spoil = _elsewhere(second)["redirect of a commit"]
        stores = [HubStore(LOCATION, endpoint=hub.url) for hub in (evil, second)]
        made = [make("second"), make("third")]
        names = ["birds", "cars"]
        with ThreadPoolExecutor(2) as pool:
            errors = list(
                pool.map(
                    lambda p: _error(lambda: p[0].publish(p[1], p[2])),
                    zip(stores, made, names, strict=True),
                )
            )
        assert "has a token" in errors[0]
        assert errors[1] == ""
        assert not any("birds/commit" in request.path for request in second.requests)


def test_xet_is_for_the_official_hub_alone(
    evil: HostileHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    official = Endpoint(url="https://huggingface.co")
    with guarded_api(official, None):
        assert not constants.HF_HUB_DISABLE_XET
        with guarded_api(Endpoint(url=evil.url), None):
            assert constants.HF_HUB_DISABLE_XET
        assert not constants.HF_HUB_DISABLE_XET
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with guarded_api(official, None):
        assert constants.HF_HUB_DISABLE_XET
