"""Signatures: who stands for an artifact, by a key pair and without a network.

A signature is a bundle of the package model-signing (the OpenSSF's) over the sha256 of every file
of an artifact, the manifest among them. It lies beside a version, not in it: the digest is the
same with and without, and a copy in another registry takes its signature along.

The package comes with the extra ``signing`` and is imported when it is needed.
"""

import base64
import binascii
import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsdarts_registry import strict_json
from wsdarts_registry.artifact import Artifact, read_artifact
from wsdarts_registry.errors import SignatureError
from wsdarts_registry.files import open_regular, read_regular
from wsdarts_registry.installation import install_extra
from wsdarts_registry.manifest import MANIFEST
from wsdarts_registry.records import MAX_RECORD_BYTES

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

_MAX_KEY_BYTES = 2**16
_CURVES = ("secp256r1", "secp384r1", "secp521r1")


def make_keys(path: str | Path) -> tuple[Path, Path]:
    """Make a key pair (ECDSA, P-256): the private key in ``path``, the public one in ``path.pub``.

    Only the owner can read the private key; it is not encrypted.

    Raises:
        SignatureError: A file is there already or cannot be written, or model-signing is missing.
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
                f"cannot write the key {place}: {error.strerror}; name a new file"
            ) from error
    return paths


def check_key(key: str | Path) -> None:
    """Refuse what cannot sign, before anything is published.

    Raises:
        SignatureError: The file holds no private key that can sign, or model-signing is missing.
    """
    _need_package()
    _signer(Path(key))


def make_signature(artifact: Artifact, key: str | Path) -> bytes:
    """Sign a verified artifact.

    Args:
        artifact: As it was read; its files are hashed again.
        key: File of a private key: PEM, elliptic curve P-256, P-384 or P-521, not encrypted.

    Raises:
        SignatureError: The key cannot sign, or model-signing is missing.
        ArtifactError: The artifact changed since it was read.
    """
    _need_package()
    read_artifact(artifact.directory, artifact.digest)
    signer = _signer(Path(key))
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "signature"
        signer.sign(artifact.directory, target)
        return read_regular(target)


def check_signature(
    artifact: Artifact, signature: bytes | None, public_key: str | Path, *, what: str
) -> None:
    """Check that the owner of a key signed an artifact.

    Args:
        artifact: A verified artifact.
        signature: What ``make_signature`` made, by whoever; None where there is none.
        public_key: File of the public key, PEM.
        what: The artifact's name for the message, such as ``"digits@3"``.

    Raises:
        SignatureError: There is no signature, it is damaged, by another key or of another
            artifact; or the key is none, or model-signing is missing.
    """
    _need_package()
    key = _public_key(Path(public_key))
    if signature is None:
        raise SignatureError(
            f"{what} is not signed; ask its publisher to sign it (`wsdarts-hub sign {what} --key "
            "KEY`), or pull it without --require-signature"
        )
    hint, resources = _claims(signature, what)
    expected = _fingerprint(key)
    if hint != expected:
        raise SignatureError(
            f"{what} was signed with another key ({hint[:16]}…) than {public_key} ({expected[:16]}"
            "…); ask its publisher which is right"
        )
    if resources.get(MANIFEST) != artifact.digest.removeprefix("sha256:"):
        # Not yet known to be genuine; it could only be one of something else.
        raise SignatureError(
            f"the signature of {what} is of another artifact than {artifact.digest}; fetch both "
            "again, or ask its publisher to sign this version"
        )
    _verify(artifact, signature, Path(public_key), what)


def _verify(artifact: Artifact, signature: bytes, public_key: Path, what: str) -> None:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from model_signing import hashing, verifying  # noqa: PLC0415

    files = hashing.Config().use_file_serialization(hashing_algorithm="sha256")
    config = verifying.Config().set_hashing_config(files)
    config.use_elliptic_key_verifier(public_key=public_key)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "signature"
        path.write_bytes(signature)
        try:
            config.verify(artifact.directory, path)
        except (InvalidSignature, ValueError, LookupError, TypeError, AttributeError) as error:
            raise SignatureError(
                f"the signature of {what} is damaged or was forged; fetch it again, or ask its "
                "publisher to sign this version"
            ) from error


def _claims(signature: bytes, what: str) -> tuple[str, dict[str, str]]:
    """Fingerprint of the key and sha256 of each file, as an unverified signature claims them."""
    name = f"the signature of {what}"
    data = strict_json.load(signature, what=name, error=SignatureError, max_bytes=MAX_RECORD_BYTES)
    match data:
        case {
            "verificationMaterial": {"publicKey": {"hint": str(hint)}},
            "dsseEnvelope": {"payload": str(payload), "signatures": [{"sig": str()}]},
        }:
            try:
                text = base64.b64decode(payload, validate=True)
            except (binascii.Error, ValueError) as error:
                raise SignatureError(f"{name} is damaged; fetch it again") from error
            statement = strict_json.load(text, what=name, error=SignatureError)
            match statement:
                case {"predicate": {"resources": [*resources]}}:
                    return hint, dict(map(_resource, resources))
    raise SignatureError(
        f"{name} is none of a key pair as model-signing writes it; fetch it again, or ask its "
        "publisher to sign this version"
    )


def _resource(data: Any) -> tuple[str, str]:
    match data:
        case {"name": str(name), "algorithm": "sha256", "digest": str(digest)}:
            return name, digest
    return "", ""


def _signer(key: Path) -> Any:
    """model-signing's configuration for a private key."""
    from model_signing import hashing, signing  # noqa: PLC0415

    _read_key(key)
    try:
        signer = signing.Config().use_elliptic_key_signer(private_key=key)
    except (ValueError, TypeError, AttributeError) as error:
        # What the library says could quote the file, which is a secret.
        raise SignatureError(
            f"{key} holds no private key that can sign; expected PEM of the curve P-256, P-384 or "
            "P-521, not encrypted: make one with `wsdarts-hub keygen FILE`"
        ) from error
    return signer.set_hashing_config(
        hashing.Config().use_file_serialization(hashing_algorithm="sha256")
    )


def _public_key(path: Path) -> "EllipticCurvePublicKey":
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        load_pem_public_key,
    )

    content = _read_key(path)
    try:
        key = load_pem_public_key(content)
    except (ValueError, TypeError) as error:
        raise SignatureError(_no_public_key(path)) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise SignatureError(_no_public_key(path))
    return key


def _no_public_key(path: Path) -> str:
    return (
        f"{path} holds no public key; expected PEM of the curve P-256, P-384 or P-521, as "
        "`wsdarts-hub keygen` writes it to FILE.pub"
    )


def _fingerprint(key: "EllipticCurvePublicKey") -> str:
    """How a signature names the key that it was made with."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    text = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(text).hexdigest()


def _read_key(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(_MAX_KEY_BYTES)
    except OSError as error:
        raise SignatureError(
            f"cannot read the key {path}: {error.strerror}; make a pair with `wsdarts-hub keygen "
            "FILE`"
        ) from error


def _need_package() -> None:
    try:
        import model_signing  # noqa: F401, PLC0415
    except ImportError as error:
        raise SignatureError(
            f"signatures need the package model-signing; install it with {install_extra('signing')}"
        ) from error
