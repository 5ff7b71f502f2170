"""Signatures by a key pair: verified, missing, by another key, of another artifact, damaged."""

import base64
import json
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from tests.registry.factories import Push, make_artifact
from wsdarts_registry.artifact import signing
from wsdarts_registry.errors import RegistryError, SignatureError, WsdartsError
from wsdarts_registry.publishing import publication
from wsdarts_registry.publishing.publication import copy
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.signature_policy import SignaturePolicy


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signing.make_keys(tmp_path_factory.mktemp("keys") / "my.key")[0]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signing.make_keys(tmp_path_factory.mktemp("keys") / "other.key")[0]


def public(key: Path) -> Path:
    return key.with_name(f"{key.name}.pub")


@pytest.fixture
def signed(store: DirectoryStore, push: Push, key: Path) -> DirectoryStore:
    """A registry with a signed version of `flowers`."""
    push("flowers")
    publication.sign_version("flowers", key=key, registry=store)
    return store


def test_keys_are_new_files_and_the_private_one_is_private(tmp_path: Path) -> None:
    private, shared = signing.make_keys(tmp_path / "a.key")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert b"PRIVATE KEY" in private.read_bytes()
    assert b"PRIVATE" not in shared.read_bytes()
    before = private.read_bytes()
    with pytest.raises(SignatureError, match="File exists"):
        signing.make_keys(private)
    assert private.read_bytes() == before


def test_a_signed_version_verifies_and_keeps_its_digest(
    store: DirectoryStore, push: Push, key: Path, tmp_path: Path
) -> None:
    entry = push("flowers")
    assert not entry.status.signed
    now = publication.sign_version("flowers@1", key=key, registry=store)
    assert now.status.signed
    assert now.digest == entry.digest
    pulled = publication.pull(
        "flowers", registry=store, require_signature=public(key), out=tmp_path / "out"
    )
    assert pulled.digest == entry.digest
    # Without the key nothing is asked.
    assert publication.pull("flowers", registry=store).digest == entry.digest


def test_a_signature_fits_another_registry_and_no_other_name_or_version(
    signed: DirectoryStore, key: Path, tmp_path: Path
) -> None:
    elsewhere = DirectoryStore(tmp_path / "elsewhere", create=True)
    signature = signed.signature("flowers", 1)
    assert signature is not None
    for name, version in (("flowers", 1), ("renamed", 1), ("flowers", 7)):
        place = DirectoryStore(tmp_path / f"{name}-{version}", create=True)
        place.publish(signed.pull("flowers").directory, name, version)
        place.write_signature(name, version, signature)
        reference = f"{name}@{version}"
        if reference == "flowers@1":
            assert publication.pull(reference, registry=place, require_signature=public(key))
            continue
        with pytest.raises(SignatureError, match=f"{reference} .*content is flowers@1"):
            publication.pull(reference, registry=place, require_signature=public(key))
    for name, version, fate in (
        ("flowers", 1, "copied"),
        ("flowers", 1, "there already"),
        ("renamed", 1, "another name"),
    ):
        copied = copy("flowers", elsewhere, registry=signed, name=name, version=version)
        assert copied.signature == fate
    assert elsewhere.signature("renamed", 1) is None
    publication.sign_version("renamed", key=key, registry=elsewhere)
    assert publication.pull("renamed", registry=elsewhere, require_signature=public(key))


def sign_content_alone(store: DirectoryStore, name: str, key: Path) -> bytes:
    """Sign a version as the package does, which names no version, as we did before."""
    root = Path(store.location) / "artifacts" / name
    target = root / "v1.signature.json"
    command = [sys.executable, "-m", "model_signing", "sign", "key", str(root / "v1")]
    command += ["--signature", str(target), "--private_key", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    return target.read_bytes()


def test_a_signature_of_content_alone_needs_a_policy_that_accepts_it(
    store: DirectoryStore, push: Push, key: Path, tmp_path: Path
) -> None:
    push("flowers")
    signature = sign_content_alone(store, "flowers", key)
    assert signing.signed_reference(signature, what="flowers@1") is None
    with pytest.raises(SignatureError, match=r"flowers@1 .*content alone"):
        publication.pull("flowers", registry=store, require_signature=public(key))
    rule = {"registry": "*", "keys": [str(public(key))]}
    for accept in ("version", "content"):
        policy = written(tmp_path, {**rule, "accept": accept})
        if accept == "content":
            assert publication.pull("flowers", registry=store, require_signature=policy)
        else:
            with pytest.raises(SignatureError, match=r"flowers@1 .*content alone"):
                publication.pull("flowers", registry=store, require_signature=policy)
    copied = copy("flowers", tmp_path / "other", registry=store, name="renamed")
    assert copied.signature == "copied"


def written(folder: Path, *rules: dict[str, object]) -> SignaturePolicy:
    (folder / "policy.json").write_text(json.dumps({"format": 1, "rules": rules}))
    return SignaturePolicy.load(folder / "policy.json")


def test_one_of_several_keys_suffices(signed: DirectoryStore, key: Path, other: Path) -> None:
    keys = [public(other), public(key)]
    assert publication.pull("flowers", registry=signed, require_signature=keys)
    with pytest.raises(SignatureError, match="another key"):
        publication.pull("flowers", registry=signed, require_signature=[public(other)])
    with pytest.raises(SignatureError, match="no key is named"):
        publication.pull("flowers", registry=signed, require_signature=[])


def test_the_package_itself_verifies_what_was_signed(signed: DirectoryStore, key: Path) -> None:
    root = Path(signed.location) / "artifacts" / "flowers"
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(root / "v1")]
    command += ["--signature", str(root / "v1.signature.json"), "--public_key", str(public(key))]
    subprocess.run(command, check=True, capture_output=True)


def test_push_signs(store: DirectoryStore, key: Path, tmp_path: Path) -> None:
    make_artifact(tmp_path / "made")
    entry = publication.push(tmp_path / "made", "made", registry=store, sign=key)
    assert entry.status.signed
    assert publication.pull("made", registry=store, require_signature=public(key))


def test_a_key_that_cannot_sign_publishes_nothing(store: DirectoryStore, tmp_path: Path) -> None:
    make_artifact(tmp_path / "made")
    for content in (b"", b"secret", b"-----BEGIN PRIVATE KEY-----\nsecret\n"):
        (tmp_path / "bad.key").write_bytes(content)
        with pytest.raises(SignatureError, match="no private key") as caught:
            publication.push(tmp_path / "made", "made", registry=store, sign=tmp_path / "bad.key")
        assert "secret" not in str(caught.value)
    with pytest.raises(SignatureError, match="No such file"):
        publication.push(tmp_path / "made", "made", registry=store, sign=tmp_path / "none.key")
    assert store.names() == ()


def test_keys_of_another_kind(signed: DirectoryStore, tmp_path: Path) -> None:
    for key in (ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256K1())):
        (tmp_path / "k").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        (tmp_path / "k.pub").write_bytes(
            key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        with pytest.raises(SignatureError, match="no private key"):
            signing.check_key(tmp_path / "k")
        with pytest.raises(SignatureError, match="holds no public key"):
            publication.pull("flowers", registry=signed, require_signature=tmp_path / "k.pub")
    encrypted = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"word"),
    )
    (tmp_path / "k").write_bytes(encrypted)
    with pytest.raises(SignatureError, match="not encrypted"):
        signing.check_key(tmp_path / "k")


def test_no_signature(store: DirectoryStore, push: Push, key: Path, tmp_path: Path) -> None:
    push("flowers")
    with pytest.raises(SignatureError, match=r"^flowers@1 is not signed"):
        publication.pull(
            "flowers", registry=store, require_signature=public(key), out=tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_another_key(signed: DirectoryStore, other: Path) -> None:
    with pytest.raises(SignatureError, match=r"flowers@1 .*another key \([0-9a-f]{16}"):
        publication.pull("flowers", registry=signed, require_signature=public(other))


def test_the_signature_of_another_artifact(signed: DirectoryStore, push: Push, key: Path) -> None:
    push("birds")
    signature = signed.signature("flowers", 1)
    assert signature is not None
    signed.write_signature("birds", 1, signature)
    with pytest.raises(SignatureError, match=r"birds@1 .*another artifact"):
        publication.pull("birds", registry=signed, require_signature=public(key))


def _payload(change: Callable[[Any], object]) -> Callable[[Any], object]:
    """A change of what was signed, in the signature."""

    def changed(data: Any) -> None:
        statement = json.loads(base64.b64decode(data["dsseEnvelope"]["payload"]))
        change(statement)
        text = json.dumps(statement).encode()
        data["dsseEnvelope"]["payload"] = base64.b64encode(text).decode()

    return changed


def _sig(data: Any) -> None:
    signature = bytearray(base64.b64decode(data["dsseEnvelope"]["signatures"][0]["sig"]))
    signature[-1] ^= 1
    data["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()


@pytest.mark.parametrize(
    "change",
    [
        _sig,
        lambda d: d["dsseEnvelope"]["signatures"].clear(),
        lambda d: d["dsseEnvelope"]["signatures"].append({"sig": "", "keyid": ""}),
        lambda d: d["dsseEnvelope"]["signatures"][0].update(sig="!"),
        lambda d: d["dsseEnvelope"].update(payload="!"),
        lambda d: d["dsseEnvelope"].update(payload=""),
        lambda d: d["dsseEnvelope"].update(payloadType="text/plain"),
        lambda d: d.update(mediaType="text/plain"),
        lambda d: d["verificationMaterial"].pop("publicKey"),
        lambda d: d["verificationMaterial"]["publicKey"].update(hint=""),
        _payload(lambda s: s["predicate"]["resources"].pop()),
        _payload(lambda s: s["predicate"]["resources"].append(7)),
        _payload(lambda s: s["predicate"]["serialization"].update(ignore_paths=["genotype.json"])),
        _payload(lambda s: s["predicate"].update(resources=[])),
        _payload(lambda s: s["subject"][0].update(name="x")),
        _payload(lambda s: s.update(predicateType="https://model_signing/Digests/v0.1")),
    ],
)
def test_a_damaged_signature(
    change: Callable[[Any], object], signed: DirectoryStore, key: Path
) -> None:
    content = signed.signature("flowers", 1)
    assert content is not None
    data = json.loads(content)
    change(data)
    signed.write_signature("flowers", 1, json.dumps(data).encode())
    with pytest.raises(SignatureError, match=r"flowers@1"):
        publication.pull("flowers", registry=signed, require_signature=public(key))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"[" * 100_000, b"\xff"])
def test_what_is_no_signature(content: bytes, signed: DirectoryStore, key: Path) -> None:
    signed.write_signature("flowers", 1, content)
    with pytest.raises(SignatureError, match="the signature of flowers@1"):
        publication.pull("flowers", registry=signed, require_signature=public(key))


def test_a_huge_signature(signed: DirectoryStore, key: Path) -> None:
    signed.write_signature("flowers", 1, b" " * (2**20 + 1))
    with pytest.raises(RegistryError, match=r"too long; .*1048576 bytes"):
        publication.pull("flowers", registry=signed, require_signature=public(key))


def test_without_the_package(
    signed: DirectoryStore, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for call in (
        lambda: publication.pull("flowers", registry=signed, require_signature=public(key)),
        lambda: publication.sign_version("flowers", key=key, registry=signed),
        lambda: signing.make_keys(key),
    ):
        with pytest.raises(WsdartsError, match=r"pip install '\.\[signing\]'"):
            call()
    assert publication.pull("flowers", registry=signed)


def test_the_private_key_is_nowhere_else(signed: DirectoryStore, key: Path, tmp_path: Path) -> None:
    secret = key.read_bytes().splitlines()[1]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert all(secret not in path.read_bytes() for path in files)
