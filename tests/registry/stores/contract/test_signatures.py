"""Whose signature a version needs to be read, in every kind of registry."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.registry.factories import Push
from wsdarts_registry.artifact import signing
from wsdarts_registry.errors import SignatureError
from wsdarts_registry.publishing import publication
from wsdarts_registry.publishing.publication import copy
from wsdarts_registry.stores.opening import open_registry
from wsdarts_registry.stores.signature_policy import POLICY_VARIABLE, SignaturePolicy
from wsdarts_registry.stores.store import Store


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return signing.make_keys(tmp_path / "my.key")[0]


@pytest.fixture
def public(key: Path) -> Path:
    return key.with_name("my.key.pub")


def write(path: Path, *rules: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"format": 1, "rules": rules}))
    return path


def test_what_is_read_needs_the_signature_that_is_required(
    store: Store, push: Push, key: Path, public: Path, tmp_path: Path
) -> None:
    push("flowers")
    strict = store.requiring(public)
    for read in (strict.pull, strict.pull_without_weights):
        with pytest.raises(SignatureError, match="flowers@1 is not signed"):
            read("flowers")
    with pytest.raises(SignatureError, match="flowers@1 is not signed"):
        strict.pull("flowers", tmp_path / "out")
    with pytest.raises(SignatureError, match="flowers@1 is not signed"):
        copy("flowers", tmp_path / "other", registry=strict)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "other").exists()
    assert store.pull("flowers")  # it is another object
    publication.sign_version("flowers", key=key, registry=strict)
    assert strict.pull("flowers", tmp_path / "out")
    assert strict.pull_without_weights("flowers@1")
    copied = copy("flowers", tmp_path / "other", registry=strict)
    assert copied.signature == "copied"
    assert open_registry(tmp_path / "other", require_signature=public).pull("flowers")


def test_a_signature_does_not_fit_another_version(
    store: Store, push: Push, key: Path, public: Path
) -> None:
    push("flowers")
    push("birds")
    publication.sign_version("flowers", key=key, registry=store)
    signature = store.signature("flowers", 1)
    assert signature is not None
    store.publish(store.pull("flowers").directory, "birds", 7)
    for reference, version in (("birds@1", 1), ("birds@7", 7)):
        store.write_signature("birds", version, signature)
        with pytest.raises(SignatureError, match=reference):
            store.requiring(public).pull(reference)


def test_the_users_policy_holds_where_no_call_names_one(
    store: Store,
    push: Push,
    key: Path,
    public: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    push("flowers")
    push("lab-roses")
    rule = {"registry": store.location, "names": ["lab-*"], "keys": ["my.key.pub"]}
    monkeypatch.setenv(POLICY_VARIABLE, str(write(tmp_path / "policy.json", rule)))
    assert publication.pull("flowers", registry=store)
    with pytest.raises(SignatureError, match="lab-roses@1 is not signed"):
        publication.pull("lab-roses", registry=store)
    publication.sign_version("lab-roses", key=key, registry=store)
    assert publication.pull("lab-roses", registry=store)
    with pytest.raises(SignatureError, match="flowers@1 is not signed"):
        publication.pull("flowers", registry=store, require_signature=public)


def test_the_first_rule_that_fits_decides(
    store: Store, push: Push, key: Path, tmp_path: Path
) -> None:
    push("flowers")
    other = tmp_path / "other"
    signing.make_keys(other)
    rules = [
        {"registry": "hf://nobody", "keys": [f"{other}.pub"]},
        {"registry": "shipped", "accept": "unsigned"},
        {"registry": store.location, "names": ["roses"], "accept": "unsigned"},
        {"registry": "*", "names": ["birds", "flo*"], "keys": [f"{other}.pub", "my.key.pub"]},
        {"registry": "*", "accept": "unsigned"},
    ]
    policy = SignaturePolicy.load(write(tmp_path / "policy.json", *rules))
    with pytest.raises(SignatureError, match="flowers@1 is not signed"):
        publication.pull("flowers", registry=store, require_signature=policy)
    publication.sign_version("flowers", key=key, registry=store)
    assert publication.pull("flowers", registry=store, require_signature=policy)
    assert publication.pull("flowers102", require_signature=policy)
    everything = SignaturePolicy.load(write(tmp_path / "all.json", rules[3] | {"names": ["*"]}))
    with pytest.raises(SignatureError, match="flowers102@3 is not signed"):
        publication.pull("flowers102", require_signature=everything)


def test_a_directory_is_the_same_by_any_path(tmp_path: Path, key: Path) -> None:
    (tmp_path / "zoo").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "zoo")
    rule = {"registry": "link/../zoo/", "keys": [key.name]}
    policy = SignaturePolicy.load(write(tmp_path / "policy.json", rule))
    assert policy.rule(str(tmp_path / "link"), "any") is not None
    assert policy.rule(os.path.relpath(tmp_path / "zoo"), "any") is not None
    assert policy.rule(str(tmp_path), "any") is None
    on_hub = SignaturePolicy.load(
        write(tmp_path / "policy.json", {"registry": "hf://Lab/", "keys": [key.name]})
    )
    assert on_hub.rule("hf://lab", "any") is not None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"rules": []}',
        b'{"format": 2, "rules": []}',
        b'{"format": 1, "rules": [{"registry": "*"}]}',
        b'{"format": 1, "rules": [{"registry": "*", "keys": ["k"], "accept": "unsigned"}]}',
        b'{"format": 1, "rules": [{"registry": "*", "keys": ["k"], "names": []}]}',
        b'{"format": 1, "rules": [{"registry": "*", "keys": ["k"], "names": ["[a]"]}]}',
        b'{"format": 1, "rules": [{"registry": "*", "keys": ["k"], "accept": "all"}]}',
        b'{"format": 1, "rules": [{"registry": "*", "keys": ["k"], "more": 1}]}',
        b'{"format": 1, "rules": [], "rules": []}',
    ],
)
def test_what_is_no_policy_is_refused_and_nothing_is_read(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "policy.json"
    place.write_bytes(content)
    monkeypatch.setenv(POLICY_VARIABLE, str(place))
    with pytest.raises(SignatureError, match="policy"):
        publication.pull("flowers102")


@pytest.mark.parametrize("kind", ["missing", "pipe", "device", "directory"])
def test_a_policy_that_cannot_be_read_lets_nothing_be_read(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "policy.json"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "device":
        place.symlink_to("/dev/zero")
    elif kind == "directory":
        place.mkdir()
    monkeypatch.setenv(POLICY_VARIABLE, str(place))
    with pytest.raises(SignatureError, match=str(place)):
        publication.pull("flowers102")


def test_the_policy_in_the_users_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert publication.pull("flowers102")
    (tmp_path / "wsdarts-hub").mkdir()
    signing.make_keys(tmp_path / "wsdarts-hub" / "lab.key")
    rule = {"registry": "shipped", "keys": ["lab.key.pub"]}
    write(tmp_path / "wsdarts-hub" / "policy.json", rule)
    with pytest.raises(SignatureError, match="flowers102@3 is not signed"):
        publication.pull("flowers102")
