import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.registry.factories import (
    digest_of,
    reseal,
)
from wsdarts_registry.artifact.checked_files import read_manifest
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.errors import ArtifactError


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_one_flipped_bit_anywhere_is_refused(valid: Path, data: st.DataObject) -> None:
    files = sorted(path for path in valid.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    content = path.read_bytes()
    position = data.draw(st.integers(0, 8 * len(content) - 1))
    spoilt = bytearray(content)
    spoilt[position // 8] ^= 1 << position % 8
    path.write_bytes(spoilt)
    try:
        with pytest.raises(ArtifactError, match=r"fetch (it|the artifact)"):
            read_artifact(valid)
    finally:
        path.write_bytes(content)


def test_every_flipped_bit_of_the_checksum_is_refused(copy: Path) -> None:
    content = (copy / "artifact.sha256").read_bytes()
    for position in range(8 * len(content)):
        spoilt = bytearray(content)
        spoilt[position // 8] ^= 1 << position % 8
        (copy / "artifact.sha256").write_bytes(spoilt)
        with pytest.raises(ArtifactError, match=r"artifact\.sha256"):
            read_manifest(copy)


def test_truncated_weights(copy: Path) -> None:
    path = copy / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ArtifactError, match=r"weights\.safetensors has \d+ bytes"):
        read_artifact(copy)
    reseal(copy)
    with pytest.raises(ArtifactError, match=r"weights\.safetensors is truncated"):
        read_artifact(copy)


def test_weights_are_verified_when_they_are_used(copy: Path) -> None:
    artifact = read_artifact(copy)
    path = copy / "weights.safetensors"
    path.write_bytes(bytes(reversed(path.read_bytes())))
    with pytest.raises(ArtifactError, match="another sha256"):
        artifact.weights()


def test_missing_and_further_files(copy: Path) -> None:
    (copy / "embeddings" / "more.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"also holds 'embeddings/more\.safetensors'"):
        read_artifact(copy)
    (copy / "embeddings" / "more.safetensors").unlink()
    (copy / "README.md").unlink()
    with pytest.raises(ArtifactError, match=r"lacks 'README\.md'"):
        read_artifact(copy)
    with pytest.raises(ArtifactError, match="No such file"):
        read_artifact(copy / "absent")
    with pytest.raises(ArtifactError, match=r"cannot read .*artifact\.json"):
        read_artifact(copy / "embeddings")


def test_links_and_special_files(copy: Path) -> None:
    (copy / "README.md").rename(copy.parent / "card")
    (copy / "README.md").symlink_to(copy.parent / "card")
    with pytest.raises(ArtifactError, match=r"README\.md is a link"):
        read_artifact(copy)
    (copy / "README.md").unlink()
    os.mkfifo(copy / "README.md")
    with pytest.raises(ArtifactError, match=r"README\.md is a link"):
        read_artifact(copy)
    (copy / "README.md").unlink()
    (copy / "artifact.json").rename(copy.parent / "manifest")
    (copy / "artifact.json").symlink_to(copy.parent / "manifest")
    with pytest.raises(ArtifactError, match=r"cannot read .*artifact\.json"):
        read_manifest(copy)


def test_a_linked_directory(copy: Path) -> None:
    (copy / "embeddings").rename(copy.parent / "elsewhere")
    (copy / "embeddings").symlink_to(copy.parent / "elsewhere", target_is_directory=True)
    with pytest.raises(ArtifactError, match="embeddings is a link"):
        read_artifact(copy)


def test_a_directory_full_of_files_is_not_walked_to_its_end(copy: Path) -> None:
    for number in range(300):
        (copy / f"{number}.md").touch()
    with pytest.raises(ArtifactError, match="too many files"):
        read_artifact(copy)


def test_another_digest_than_asked_for(valid: Path) -> None:
    with pytest.raises(ArtifactError, match="another artifact"):
        read_artifact(valid, digest_of("other"))


def test_unknown_format_with_right_checksums(copy: Path) -> None:
    reseal(copy, lambda data: data.update(format=2))
    with pytest.raises(ArtifactError, match=r"format 2.*`git pull"):
        read_artifact(copy)


def test_a_path_out_of_the_artifact_with_right_checksums(copy: Path) -> None:
    (copy.parent / "secret.md").write_text("secret")
    record = {"size": 6, "sha256": hashlib.sha256(b"secret").hexdigest()}
    reseal(copy, lambda data: data["files"].update({"../secret.md": record}))
    with pytest.raises(ArtifactError, match=r"'\.\./secret\.md'"):
        read_artifact(copy)
