import subprocess
import sys
from pathlib import Path

import pytest

from tests.error_fields import assert_fields
from wsdarts_registry.errors import ReferenceNotFoundError, RegistryError
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.opening import open_registry
from wsdarts_registry.stores.records import shipped_zoo


def test_the_shipped_zoo_is_the_default_and_read_only() -> None:
    store = open_registry(None)
    assert Path(store.location) == shipped_zoo()
    with pytest.raises(RegistryError, match="is read-only"):
        store.yank(str(store.entries(include_yanked=True)[0].reference), "a test")


def test_what_to_type_about_the_shipped_zoo_names_no_directory_of_the_package() -> None:
    with pytest.raises(ReferenceNotFoundError, match="absent") as caught:
        open_registry(None).resolve("absent")
    assert "`wsdarts-hub list` " in caught.value.hint


def test_directories(tmp_path: Path) -> None:
    DirectoryStore(tmp_path / "zoo", create=True)
    assert open_registry(tmp_path / "zoo").location == str(tmp_path / "zoo")
    assert open_registry(str(tmp_path / "zoo")).names() == ()
    assert open_registry(tmp_path / "new", create=True).names() == ()


def test_an_open_registry_is_taken_as_it_is(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "zoo", create=True)
    assert open_registry(store) is store


@pytest.mark.parametrize(
    ("location", "fields"),
    [
        ("hf://", {"what": "'hf://' is malformed", "expected": "hf://lab"}),
        ("hf://lab/flowers", {"what": "'hf://lab/flowers' is malformed", "expected": "hf://lab"}),
        ("s3://bucket", {"what": ("s3://bucket", "no such"), "hint": ("directory", "hf://lab")}),
        ("", {"what": "registry is empty", "hint": "directory"}),
        ("/absent", {"what": "/absent is not a", "hint": "--registry"}),
    ],
)
def test_locations_that_are_no_registry(location: str, fields: dict[str, object]) -> None:
    with pytest.raises(RegistryError) as caught:
        open_registry(location)
    assert_fields(caught.value, **fields)


def test_browsing_needs_no_torch() -> None:
    code = (
        "import sys; from wsdarts_registry.stores.opening import open_registry;"
        "open_registry().entries();"
        "assert not {'torch', 'datasets', 'timm', 'torchvision'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
