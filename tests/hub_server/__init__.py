"""A small Hugging Face Hub for tests, spoken to by the real client over real sockets.

What it is: models and datasets with commits on main, tags and LFS files, kept in a directory;
users with read and write tokens, organisations, private and gated repositories; listings by tag,
author and name, page by page; errors with the codes by which the client chooses its exceptions.
Every request is recorded and any can be made to go wrong (`Fault`). It runs in the test's own
process (`HubServer`, fixture ``hub_server``) or in another one (``python -m tests.hub_server``,
fixture ``hub_process``), there with the same controls (`RemoteHub`).

What it is not: it speaks neither Xet (set ``HF_HUB_DISABLE_XET=1``) nor git; it has no spaces,
branches, pull requests, uploads in parts, renaming, downloads or likes; a revision is main, a tag
or a whole commit hash; ``.gitattributes`` and ``.gitignore`` are not obeyed: which files are LFS
files is decided by suffix, size and a zero byte. A stale read cannot see a repository that was
deleted since.

    def test_an_interrupted_download(hub_server: HubServer) -> None:
        api = HfApi(endpoint=hub_server.url, token=ALICE.token)
        api.create_repo("alice/cells")
        hub_server.add_fault(Fault(kind="close_response", path="/objects/", amount=1000))
        ...
        assert [found.sent for found in hub_server.exchanges("GET", "/objects/")] == [...]

Clients: pass ``endpoint=hub.url`` and ``token=ALICE.token``, or set ``HF_ENDPOINT`` before
`huggingface_hub` is imported: in a subprocess, ``env={**os.environ, "HF_ENDPOINT": hub.url}``.
Some calls of the client go to the official host whatever its endpoint (`ModelCard.validate` and
`HfApi.grant_access` in 1.31); the fixtures let no name but this machine's be looked up.
"""

from .accounts import ALICE, ALICE_READS, BOB, CAROL, DORA, EVERYONE, Account
from .control import Controlled, RemoteHub
from .faults import Fault
from .hub import Settings
from .record import Exchange
from .server import HubServer

__all__ = [
    "ALICE",
    "ALICE_READS",
    "BOB",
    "CAROL",
    "DORA",
    "EVERYONE",
    "Account",
    "Controlled",
    "Exchange",
    "Fault",
    "HubServer",
    "RemoteHub",
    "Settings",
]
