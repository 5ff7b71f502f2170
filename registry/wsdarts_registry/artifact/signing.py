"""Signatures of versions by a key pair, made and checked without a network.

What is signed is a statement: that this name and version has these files. So the signature of one
version fits no other, and a copy in another registry only under the same name and version. It lies
beside a version, not in it: the digest is the same with and without.

The statement and its envelope are those of the package model-signing (the OpenSSF's), which
verifies them, too. Signatures that the package made itself name files alone. Cryptography comes
with the extra ``signing`` and is imported when it is needed.
"""

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsdarts_registry import _json
from wsdarts_registry._files import expanded, read_regular
from wsdarts_registry._json import MAX_RECORD_BYTES
from wsdarts_registry._libraries import install_extra, naming_hidden_libraries
from wsdarts_registry.artifact.checked_files import checksum_line
from wsdarts_registry.artifact.manifest import CHECKSUM, MANIFEST
from wsdarts_registry.artifact.reader import Artifact, read_artifact
from wsdarts_registry.artifact.reference import Reference
from wsdarts_registry.errors import FileAccessError, RegistryError, SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        ECDSA,
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )

_MAX_KEY_BYTES = 2**16
_CURVES: tuple[str, ...] = ("secp256r1", "secp384r1", "secp521r1")
_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"


@dataclass(frozen=True, kw_only=True)
class _Claims:
    """The claims of a signature, which are unverified until it is checked with a key.

    Attributes:
        key: Fingerprint of the key.
        subject: The version that was signed; None where only its content was.
        files: Hex sha256 of each file.
        payload: The signed bytes.
        signature: The signature of them, DER.
    """

    key: str
    subject: Reference | None
    files: dict[str, str]
    payload: bytes
    signature: bytes


def make_keys(path: str | Path) -> tuple[Path, Path]:
    """Make a key pair (ECDSA, P-256): the private key in ``path``, the public one in ``path.pub``.

    Only the owner can read the private key; it is not encrypted.

    Raises:
        SignatureError: A file is there already or cannot be written, or cryptography is missing.
    """
    _need_package()
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    paths = Path(path), Path(f"{path}.pub")
    for place, content, mode in zip(paths, (private, public), (0o600, 0o644), strict=True):
        try:
            descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
        except OSError as error:
            raise SignatureError(
                f"cannot write the key {place}: {error.strerror}", hint="name a new file"
            ) from error
    return paths


def check_key(key: str | Path) -> None:
    """Refuse a file that is no private key, before anything is published.

    Raises:
        SignatureError: The file holds no private key that can sign, or cryptography is missing.
    """
    _need_package()
    _private_key(Path(key))


def check_public_key(key: str | Path) -> None:
    """Refuse a file that is no public key, before an artifact is read.

    Raises:
        SignatureError: There is no such key, or cryptography is missing.
    """
    _need_package()
    _public_key(expanded(key))


def make_signature(artifact: Artifact, reference: Reference, key: str | Path) -> bytes:
    """Sign that a version has the content of a verified artifact.

    Args:
        artifact: As it was read; its files are hashed again.
        reference: Its name and version.
        key: File of a private key: PEM, elliptic curve P-256, P-384 or P-521, not encrypted.

    Raises:
        SignatureError: The key cannot sign, or cryptography is missing.
        ArtifactError: The artifact changed since it was read.
    """
    _need_package()
    read_artifact(artifact.directory, artifact.digest)
    private = _private_key(Path(key))
    payload = _json.dump(_statement(artifact, reference))
    signature = private.sign(_envelope(payload), _algorithm(private.curve.name))
    bundle = {
        "mediaType": _BUNDLE,
        "verificationMaterial": {
            "publicKey": {"hint": _fingerprint(private.public_key())},
            "tlogEntries": [],
        },
        "dsseEnvelope": {
            "payloadType": _PAYLOAD,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return _json.dump(bundle)


def check_signature(
    artifact: Artifact,
    signature: bytes | None,
    public_keys: Sequence[str | Path],
    reference: Reference,
    *,
    content_only: bool = False,
) -> None:
    """Check that the owner of one of several keys signed a version.

    Args:
        artifact: A verified artifact.
        signature: As from ``make_signature``; None where there is none.
        public_keys: Files of the public keys, PEM.
        reference: Name and version that the artifact was found under.
        content_only: Accept a signature that names no version, as were made before.

    Raises:
        SignatureError: There is no signature, it is damaged, by another key, of another artifact
            or of another name or version; or a key is none, or cryptography is missing.
    """
    _need_package()
    named = [(str(path), _public_key(Path(path))) for path in public_keys]
    keys = {_fingerprint(key): key for _, key in named}
    what = str(reference)
    if signature is None:
        raise SignatureError(
            f"{what} is not signed",
            hint=(
                f"ask its publisher to sign it (`wsdarts-hub sign {what} --key KEY`), or use it "
                "without a required signature"
            ),
        )
    claims = _claims(signature, what)
    if claims.key not in keys:
        asked = " or ".join(f"{path} ({_fingerprint(key)[:16]}…)" for path, key in named)
        raise SignatureError(
            f"{what} was signed with another key ({claims.key[:16]}…) than {asked}",
            hint="ask its publisher which is right",
        )
    _verify(claims, keys[claims.key], what)
    _check_content(claims, artifact, reference, content_only=content_only)


def _check_content(
    claims: _Claims, artifact: Artifact, reference: Reference, *, content_only: bool
) -> None:
    """Check that a verified signature is of this artifact under this name and version."""
    what = str(reference)
    if claims.files != _files(artifact):
        raise SignatureError(
            f"the signature of {what} is of another artifact than {artifact.digest}",
            hint="fetch both again, or ask its publisher to sign this version",
        )
    if claims.subject is None and not content_only:
        raise SignatureError(
            f"the signature of {what} is of its content alone and names no version",
            hint=(
                f"ask its publisher to sign it again (`wsdarts-hub sign {what} --key KEY`), or "
                'let a policy accept it ("accept": "content")'
            ),
        )
    if claims.subject not in (None, reference):
        raise SignatureError(
            f"the signature of {what} says that its content",
            found=claims.subject,
            hint=f"use that, or ask its publisher to sign it as {what}, too",
        )


def signed_reference(signature: bytes, *, what: str) -> Reference | None:
    """Return the version that an unverified signature names; None if it names content alone.

    Raises:
        SignatureError: It is no signature.
    """
    return _claims(signature, what).subject


def _statement(artifact: Artifact, reference: Reference) -> dict[str, Any]:
    """Return the signed statement: an in-toto statement about a version and its files."""
    files = _files(artifact)
    paths = sorted(files, key=lambda path: path.split("/"))
    root = hashlib.sha256(b"".join(bytes.fromhex(files[path]) for path in paths)).hexdigest()
    return {
        "_type": _STATEMENT,
        "subject": [{"name": str(reference), "digest": {"sha256": root}}],
        "predicateType": _PREDICATE,
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": [
                {"name": path, "algorithm": "sha256", "digest": files[path]} for path in paths
            ],
        },
    }


def _files(artifact: Artifact) -> dict[str, str]:
    """Return the hex sha256 of every file of an artifact, by its verified manifest."""
    manifest = artifact.digest.removeprefix("sha256:")
    own = {MANIFEST: manifest, CHECKSUM: hashlib.sha256(checksum_line(manifest)).hexdigest()}
    return {path: record.sha256 for path, record in artifact.manifest.files.items()} | own


def _envelope(payload: bytes) -> bytes:
    """Return the bytes that DSSE signs for a payload."""
    return b" ".join(
        (b"DSSEv1", b"%d" % len(_PAYLOAD), _PAYLOAD.encode(), b"%d" % len(payload), payload)
    )


def _verify(claims: _Claims, key: "EllipticCurvePublicKey", what: str) -> None:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415

    try:
        key.verify(claims.signature, _envelope(claims.payload), _algorithm(key.curve.name))
    except InvalidSignature as error:
        raise SignatureError(
            f"the signature of {what} is damaged or was forged",
            hint="fetch it again, or ask its publisher to sign this version",
        ) from error


def _algorithm(curve: str) -> "ECDSA":
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    digests = (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())
    return ec.ECDSA(digests[_CURVES.index(curve)])


def _claims(signature: bytes, what: str) -> _Claims:
    """Read a signature and its statement strictly; nothing of it is verified."""
    name = f"the signature of {what}"
    data = _json.load(signature, what=name, error=SignatureError, max_bytes=MAX_RECORD_BYTES)
    match data:
        case {
            "mediaType": str(media),
            "verificationMaterial": {"publicKey": {"hint": str(hint)}},
            "dsseEnvelope": {
                "payloadType": str(kind),
                "payload": str(payload),
                "signatures": [{"sig": str(sig)}],
            },
        } if (media, kind) == (_BUNDLE, _PAYLOAD):
            content, made = _decoded(payload, name), _decoded(sig, name)
            statement = _json.load(content, what=name, error=SignatureError)
            match statement:
                case {
                    "_type": str(type_),
                    "subject": [{"name": str(subject)}],
                    "predicateType": str(predicate),
                    "predicate": {"resources": [*resources]},
                } if (type_, predicate) == (_STATEMENT, _PREDICATE):
                    return _Claims(
                        key=hint,
                        subject=_version(subject),
                        files=dict(map(_resource, resources)),
                        payload=content,
                        signature=made,
                    )
    raise SignatureError(
        f"{name} is none of a key pair as `wsdarts-hub sign` writes it",
        hint="fetch it again, or ask its publisher to sign this version",
    )


def _decoded(text: str, name: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignatureError(f"{name} is damaged", hint="fetch it again") from error


def _version(subject: str) -> Reference | None:
    """Return the version that a statement names; the package itself names a directory there."""
    try:
        reference = Reference.parse(subject)
    except RegistryError:
        return None
    return reference if reference.version is not None else None


def _resource(data: Any) -> tuple[str, str]:
    match data:
        case {"name": str(name), "algorithm": "sha256", "digest": str(digest)}:
            return name, digest
    return "", ""


def _private_key(path: Path) -> "EllipticCurvePrivateKey":
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        load_pem_private_key,
    )

    content = _read_key(path)
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _CURVES:
        # What the library says could quote the file, which is a secret.
        raise SignatureError(
            f"{path} holds no private key that can sign",
            expected="PEM of the curve P-256, P-384 or P-521, not encrypted",
            hint="make one with `wsdarts-hub keygen FILE`",
        )
    return key


def _public_key(path: Path) -> "EllipticCurvePublicKey":
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        load_pem_public_key,
    )

    content = _read_key(path)
    try:
        key = load_pem_public_key(content)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _no_public_key(path) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise _no_public_key(path)
    return key


def _no_public_key(path: Path) -> SignatureError:
    return SignatureError(
        f"{path} holds no public key",
        expected=(
            "PEM of the curve P-256, P-384 or P-521, as `wsdarts-hub keygen` writes it to FILE.pub"
        ),
    )


def _fingerprint(key: "EllipticCurvePublicKey") -> str:
    """Return the name of a key in signatures: the sha256 of its PEM text."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    text = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(text).hexdigest()


def _read_key(path: Path) -> bytes:
    try:
        return read_regular(path, _MAX_KEY_BYTES)
    except FileAccessError as error:
        raise SignatureError(
            f"cannot read the key {path}: {error.strerror}",
            hint="make a pair with `wsdarts-hub keygen FILE`",
        ) from error


def _need_package() -> None:
    try:
        with naming_hidden_libraries():
            import cryptography  # noqa: F401, PLC0415
    except ImportError as error:
        raise SignatureError(
            "signatures need the package cryptography",
            hint=f"install it with {install_extra('signing')}",
        ) from error
