"""Commits, trees and tags, as the real client makes and reads them."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    HfHubHTTPError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile, RepoFolder

from tests.hub_server import HubServer
from tests.hub_server.fixture import StartHub
from tests.registry.hub_server.conftest import client

_NAME = "acme/cells"


def _add(path: str, content: bytes) -> CommitOperationAdd:
    return CommitOperationAdd(path_in_repo=path, path_or_fileobj=content)


def test_a_commit_holds_regular_and_large_files(hub_server: HubServer, api: HfApi) -> None:
    weights = bytes(range(256)) * 40
    made = api.create_commit(
        _NAME,
        [_add("a/weights.safetensors", weights), _add("note.txt", b"hello\n")],
        commit_message="First",
        commit_description="and only",
    )
    assert api.repo_info(_NAME).sha == made.oid
    files = {file.path: file for file in api.list_repo_tree(_NAME, recursive=True)}
    assert sorted(files) == [".gitattributes", "a", "a/weights.safetensors", "note.txt"]
    note, large = files["note.txt"], files["a/weights.safetensors"]
    assert isinstance(note, RepoFile)
    # `printf 'hello\n' | git hash-object --stdin`
    assert (note.size, note.blob_id) == (6, "ce013625030ba8dba906f756967f9e9ca394464a")
    assert note.lfs is None
    assert isinstance(large, RepoFile)
    assert large.lfs is not None
    assert large.lfs.sha256 == hashlib.sha256(weights).hexdigest()
    assert (large.size, large.lfs.size, large.lfs.pointer_size) == (10240, 10240, 130)
    assert isinstance(files["a"], RepoFolder)
    newest = api.list_repo_commits(_NAME)[0]
    assert (newest.title, newest.message, newest.authors) == ("First", "and only", ["alice"])
    put = hub_server.exchanges("PUT")
    assert [(item.server, item.received, item.with_token) for item in put] == [
        ("storage", 10240, False)
    ]


def test_what_is_there_is_not_uploaded_again(hub_server: HubServer, api: HfApi) -> None:
    weights = b"w" * 500
    first = api.create_commit(_NAME, [_add("a.safetensors", weights)], commit_message="a")
    api.create_commit(_NAME, [_add("b.safetensors", weights)], commit_message="b")
    assert len(hub_server.exchanges("PUT")) == 1
    same = api.create_commit(_NAME, [_add("a.safetensors", weights)], commit_message="again")
    assert same.oid == api.repo_info(_NAME).sha != first.oid
    assert len(api.list_repo_commits(_NAME)) == 3


@pytest.mark.parametrize(
    ("path", "content", "is_large"),
    [
        ("a.safetensors", b"text", True),
        ("a.json", b"text", False),
        ("a.json", b"text" * 250, True),  # 1000 bytes
        ("a.json", b"text" * 249, False),
        ("a.json", b"bin\0ary", True),
        ("empty.safetensors", b"", False),
    ],
)
def test_what_is_a_large_file(
    start_hub: StartHub, path: str, content: bytes, is_large: bool
) -> None:
    api = client(start_hub(lfs_size=1000))
    api.create_repo(_NAME)
    api.create_commit(_NAME, [_add(path, content)], commit_message="one")
    [found] = api.get_paths_info(_NAME, path)
    assert isinstance(found, RepoFile)
    assert (found.lfs is not None) is is_large
    assert Path(api.hf_hub_download(_NAME, path)).read_bytes() == content


def test_a_stale_parent_changes_nothing(api: HfApi) -> None:
    before = api.repo_info(_NAME).sha
    made = api.create_commit(_NAME, [_add("a", b"1")], commit_message="a", parent_commit=before)
    with pytest.raises(HfHubHTTPError, match="commit has happened") as caught:
        api.create_commit(_NAME, [_add("b", b"2")], commit_message="b", parent_commit=before)
    assert caught.value.response.status_code == 412
    assert api.repo_info(_NAME).sha == made.oid
    api.create_commit(_NAME, [_add("b", b"2")], commit_message="b", parent_commit=made.oid)
    assert api.list_repo_files(_NAME) == [".gitattributes", "a", "b"]


def test_of_many_commits_with_one_parent_one_is_made(hub_server: HubServer, api: HfApi) -> None:
    parent = api.repo_info(_NAME).sha

    def commit(number: int) -> str | int:
        try:
            made = client(hub_server).create_commit(
                _NAME, [_add(f"{number}", b"x")], commit_message="race", parent_commit=parent
            )
        except HfHubHTTPError as error:
            return error.response.status_code
        return made.oid

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(commit, range(16)))
    assert sorted(map(str, answers)) == sorted(["412"] * 15 + [str(api.repo_info(_NAME).sha)])
    assert len(api.list_repo_commits(_NAME)) == 2


def test_a_commit_is_made_whole_or_not(api: HfApi) -> None:
    before = api.repo_info(_NAME).sha
    operations = [_add("new", b"1"), CommitOperationDelete(path_in_repo="absent")]
    with pytest.raises(EntryNotFoundError):
        api.create_commit(_NAME, operations, commit_message="half")
    assert api.repo_info(_NAME).sha == before
    assert not api.file_exists(_NAME, "new")


def test_cards_are_validated_before_they_are_committed(api: HfApi) -> None:
    with pytest.raises(ValueError, match="tags"):
        api.create_commit(
            _NAME, [_add("README.md", b"---\ntags: {a: 1}\n---\n")], commit_message="x"
        )
    with pytest.warns(UserWarning, match="empty or missing yaml"):
        api.create_commit(_NAME, [_add("README.md", b"# Nothing\n")], commit_message="x")


def test_trees_and_histories_come_in_pages(start_hub: StartHub) -> None:
    server = start_hub(page_size=2)
    api = client(server)
    api.create_repo(_NAME)
    for number in range(4):
        api.create_commit(_NAME, [_add(f"f/{number}", b"x")], commit_message=f"c{number}")
    server.clear_exchanges()
    titles = [commit.title for commit in api.list_repo_commits(_NAME)]
    assert titles == ["c3", "c2", "c1", "c0", "initial commit"]
    assert len(server.exchanges("GET", "/commits/main")) == 3
    assert api.list_repo_files(_NAME) == [".gitattributes", *(f"f/{number}" for number in range(4))]
    assert len(server.exchanges("GET", "/tree/main")) == 3


def test_tags_stay_where_they_are(api: HfApi) -> None:
    first = api.repo_info(_NAME).sha
    api.create_tag(_NAME, tag="v1", tag_message="First")
    api.create_commit(_NAME, [_add("a", b"1")], commit_message="a")
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_tag(_NAME, tag="v1")
    assert caught.value.response.status_code == 409
    api.create_tag(_NAME, tag="v1", exist_ok=True)
    assert [(tag.name, tag.target_commit) for tag in api.list_repo_refs(_NAME).tags] == [
        ("v1", first)
    ]
    assert api.repo_info(_NAME, revision="v1").sha == first
    assert api.list_repo_files(_NAME, revision="v1") == [".gitattributes"]
    api.create_tag(_NAME, tag="v2", revision="v1")
    api.delete_tag(_NAME, tag="v1")
    assert [tag.name for tag in api.list_repo_refs(_NAME).tags] == ["v2"]
    with pytest.raises(RevisionNotFoundError):
        api.delete_tag(_NAME, tag="v1")
    with pytest.raises(RevisionNotFoundError):
        api.create_tag(_NAME, tag="v3", revision="absent")
    with pytest.raises(BadRequestError):
        api.create_tag(_NAME, tag="a..b")
