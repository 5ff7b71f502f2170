"""The hub's state and its rules of access, which every handler asks."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from .accounts import EVERYONE, Account
from .messages import HubError, Request
from .objects import write
from .repositories import Kind, Repositories, Repository, State

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a test may want smaller than it is on the real Hub.

    Args:
        accounts: Who has a token.
        page_size: Most entries of a page of a listing.
        lfs_size: Files of this many bytes are LFS files whatever they are called.
    """

    accounts: tuple[Account, ...] = EVERYONE
    page_size: int = 1000
    lfs_size: int = 10_000_000


@dataclass(frozen=True, kw_only=True)
class View:
    """A repository as a request may see it."""

    repository: Repository
    state: State


class Hub:
    """Repositories in a directory, and who may read and write them."""

    def __init__(self, directory: Path, settings: Settings) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.settings = settings
        self.repositories = Repositories(directory)
        self._secret = _secret(directory / "secret")

    def readable(self, request: Request, parts: dict[str, str], *, files: bool = False) -> View:
        """Return the repository of a path, if the request may see it (or read its files).

        Raises:
            HubError: It is missing or hidden (404; 401 without a token), or gated (403; 401).
        """
        repository = self.repositories.get(_kind(parts), f"{parts['namespace']}/{parts['name']}")
        view = None if repository is None else self.visible(request, repository)
        if view is None:
            status = 401 if request.account is None else 404
            raise HubError(status, "Repository not found", "RepoNotFound")
        if files and not self._passes_gate(request.account, view):
            status = 401 if request.account is None else 403
            message = f"Access to {view.repository.kind[:-1]} {view.repository.name} is restricted"
            raise HubError(status, message, "GatedRepo")
        return view

    def visible(self, request: Request, repository: Repository) -> View | None:
        """Return a repository as of the time that the request sees, or None if it is hidden."""
        state = repository.at(request.as_of)
        account = request.account
        if state is None:
            return None
        if state.private and not (account and account.belongs_to(repository.namespace)):
            return None
        return View(repository=repository, state=state)

    def writable(self, request: Request, parts: dict[str, str]) -> Repository:
        """Return the repository of a path, if the request may change it.

        Raises:
            HubError: As for `readable`, and 401 or 403 where it may only be read.
        """
        repository = self.readable(request, parts).repository
        self.check_write(request.account, repository.namespace)
        return repository

    def stored(self, parts: dict[str, str]) -> Repository:
        """Return the repository of a path of the storage server, whoever asks.

        Raises:
            HubError: It is not there any more (404).
        """
        repository = self.repositories.get(_kind(parts), f"{parts['namespace']}/{parts['name']}")
        if repository is None:
            raise HubError(404, "NoSuchBucket")
        return repository

    def check_write(self, account: Account | None, namespace: str) -> None:
        """Refuse one who may not write in a namespace.

        Raises:
            HubError: No token was sent (401) or the token does not suffice (403).
        """
        if account is None:
            raise HubError(401, "Invalid username or password.")
        if not account.may_write(namespace):
            message = f"You don't have the rights to write in the namespace {namespace!r}"
            raise HubError(403, f"Forbidden: {message} with a {account.role} token.")

    def signed(self, method: Literal["GET", "PUT"], path: str) -> str:
        """Return a path of the storage server with the signature that opens it."""
        return f"{path}?Signature={self._signature(method, path)}"

    def check_signature(self, request: Request) -> None:
        """Refuse a request to the storage server that no signed URL was given for.

        Raises:
            HubError: The signature is missing or another one (403).
        """
        method = "GET" if request.method == "HEAD" else request.method
        expected = self._signature(method, request.path)
        if not hmac.compare_digest(request.value("Signature") or "", expected):
            raise HubError(403, "SignatureDoesNotMatch")

    def _signature(self, method: str, path: str) -> str:
        return hmac.new(self._secret, f"{method} {path}".encode(), hashlib.sha256).hexdigest()

    def _passes_gate(self, account: Account | None, view: View) -> bool:
        if not view.state.gated:
            return True
        is_member = account is not None and account.belongs_to(view.repository.namespace)
        return is_member or (account is not None and account.name in view.state.granted)


def stored_kind(parts: dict[str, Any]) -> Kind:
    """Return the kind of repository that a creation or deletion asks for.

    Raises:
        HubError: It is neither a model nor a dataset (400).
    """
    kind = f"{parts.get('type') or 'model'}s"
    if kind == "models":
        return "models"
    if kind == "datasets":
        return "datasets"
    raise HubError(400, f"This hub holds models and datasets, no {kind}")


def page(
    entries: Iterable[tuple[Any, T]], cursor: Any, size: int, *, falling: bool = False
) -> tuple[list[T], Any]:
    """Cut a page from keyed, ordered entries.

    Args:
        entries: Key and value of each entry, by rising keys.
        cursor: Key of the last entry of the page before, or None. It need not be there any more.
        size: Most entries of the page.
        falling: The keys fall instead.

    Returns:
        The values of the page, and the cursor of the next page or None.
    """
    rest = [
        (key, value)
        for key, value in entries
        if cursor is None or (key < cursor if falling else key > cursor)
    ]
    found = rest[:size]
    return [value for _, value in found], found[-1][0] if len(rest) > size else None


def _kind(parts: dict[str, str]) -> Kind:
    return "datasets" if parts.get("kind") == "datasets" else "models"


def _secret(path: Path) -> bytes:
    if not path.is_file():
        write(path, [secrets.token_bytes(32)])
    return path.read_bytes()
