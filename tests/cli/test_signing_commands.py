"""Signing on the command line."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.fixture
def key(tmp_path: Path, run: Run) -> Path:
    shown = run("keygen", tmp_path / "my.key")
    assert shown.lines == [
        str(tmp_path / "my.key.pub"),
        f"private  {tmp_path / 'my.key'} (keep it to yourself)",
    ]
    return tmp_path / "my.key"


def test_sign_list_show_verify_and_pull(key: Path, zoo: Path, run: Run, tmp_path: Path) -> None:
    place = ("--registry", zoo)
    assert "signed" not in run("list", *place).out
    assert run("sign", "flowers", "--key", key, *place).lines[0] == "signed flowers@1"
    listed = json.loads(run("list", "--json", *place).out)
    assert [row["status"]["signed"] for row in listed] == [True, False, False]
    shown = run("show", "flowers", *place).out
    assert "`wsdarts-hub verify --require-signature" in shown
    assert json.loads(run("show", "flowers", "--json", *place).out)["status"]["signed"]
    asked = ("--require-signature", f"{key}.pub")
    verified = f"signature  verified, by {key}.pub"
    assert verified in run("verify", "flowers", *asked, *place).out
    assert verified in run("pull", "flowers", "--out", tmp_path / "out", *asked, *place).out
    refused = run("pull", "textures", "--out", tmp_path / "none", *asked, *place)
    assert refused.code == 1
    assert "textures@1 is not signed" in refused.err
    assert not (tmp_path / "none").exists()


def test_push_and_sign_at_once(key: Path, zoo: Path, run: Run) -> None:
    directory = zoo.parent / "drafts" / "flowers"
    assert run("push", directory, "new", "--sign", key, "--registry", zoo).code == 0
    assert run("verify", "new", "--require-signature", f"{key}.pub", "--registry", zoo).code == 0


def test_keys_or_a_policy(key: Path, zoo: Path, run: Run) -> None:
    asked = ("--require-signature", f"{key}.pub", "--policy", zoo)
    shown = run("verify", "flowers", *asked, "--registry", zoo)
    assert shown.code == 1
    assert "--policy" in shown.err
    assert "--require-signature" in shown.err


@pytest.mark.parametrize(
    "command",
    [
        ("pull", "flowers"),
        ("verify", "flowers"),
        ("show", "flowers"),
        ("diff", "flowers", "textures"),
        ("copy", "flowers", "--to", "other"),
        ("train", "flowers", "{images}"),
    ],
)
def test_what_reads_an_artifact_can_require_a_signature(
    command: tuple[str, ...],
    key: Path,
    zoo: Path,
    images: Path,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [word.format(images=images) for word in command]
    policy = tmp_path / "policy.json"
    rule = {"registry": "zoo", "keys": [f"{key.name}.pub"]}
    policy.write_text(json.dumps({"format": 1, "rules": [rule]}))
    for asked in (("--require-signature", f"{key}.pub"), ("--policy", policy), ()):
        if not asked:
            monkeypatch.setenv("WSDARTS_HUB_POLICY", str(policy))
        shown = run(*words, *asked, "--registry", zoo)
        assert shown.code == 1
        assert "flowers@1 is not signed" in shown.err
    assert not (tmp_path / "other").exists()


def test_a_warm_start_can_require_a_signature(
    key: Path, images: Path, run: Run, tmp_path: Path
) -> None:
    warm = ("warm-start", images, "--from", "flowers102", "--preset", "tiny", "--mode", "topology")
    asked = ("--out", tmp_path / "run", "--require-signature", f"{key}.pub")
    refused = run(*warm, *asked)
    assert refused.code == 1
    assert "flowers102@3 is not signed" in refused.err


def test_a_copy_under_another_name_has_to_be_signed_again(
    key: Path, zoo: Path, run: Run, tmp_path: Path
) -> None:
    assert run("sign", "flowers", "--key", key, "--registry", zoo).code == 0
    target = ("--to", tmp_path / "other", "--registry", zoo)
    shown = run("copy", "flowers", *target, "--as", "mine").out
    assert "signature  not copied: " in shown
    assert "sign mine@1 again" in shown
    assert "signature  copied with it" in run("copy", "flowers", *target).out


def test_a_directory_has_no_signature(key: Path, zoo: Path, run: Run) -> None:
    directory = zoo.parent / "drafts" / "flowers"
    shown = run("verify", directory, "--require-signature", f"{key}.pub")
    assert shown.code == 1
    assert str(directory) in shown.err
    assert "--registry DIR" in shown.err


def test_the_zoo_of_the_package_cannot_be_signed(key: Path, run: Run) -> None:
    shown = run("sign", "digits@1", "--key", key)
    assert shown.code == 1
    assert "read-only" in shown.err
