"""Signing on the command line."""

import json
from pathlib import Path

import pytest

from tests.hub.conftest import Run


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
    assert "signature  signed; `wsdarts-hub verify --public-key" in shown
    assert json.loads(run("show", "flowers", "--json", *place).out)["status"]["signed"]
    asked = ("--require-signature", "--public-key", f"{key}.pub")
    verified = f"signature  verified, by the key of {key}.pub"
    assert verified in run("verify", "flowers", *asked, *place).out
    assert verified in run("pull", "flowers", "--out", tmp_path / "out", *asked, *place).out
    refused = run("pull", "textures", "--out", tmp_path / "none", *asked, *place)
    assert refused.code == 1
    assert refused.err.startswith("error: textures@1 is not signed; ")
    assert not (tmp_path / "none").exists()


def test_push_and_sign_at_once(key: Path, zoo: Path, run: Run) -> None:
    directory = zoo.parent / "drafts" / "flowers"
    assert run("push", directory, "new", "--sign", key, "--registry", zoo).code == 0
    assert run("verify", "new", "--public-key", f"{key}.pub", "--registry", zoo).code == 0


def test_a_signature_by_whom(zoo: Path, run: Run) -> None:
    shown = run("verify", "flowers", "--require-signature", "--registry", zoo)
    assert shown.err == (
        "error: --require-signature needs --public-key FILE: anyone can sign, so say whose "
        "signature\n"
    )


def test_a_directory_has_no_signature(key: Path, zoo: Path, run: Run) -> None:
    directory = zoo.parent / "drafts" / "flowers"
    shown = run("verify", directory, "--public-key", f"{key}.pub")
    assert shown.code == 1
    assert "a signature lies in a registry, not in the directory" in shown.err


def test_the_zoo_of_the_package_cannot_be_signed(key: Path, run: Run) -> None:
    shown = run("sign", "digits@1", "--key", key)
    assert shown.code == 1
    assert "read-only" in shown.err
