import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdarts_registry.errors import RegistryError
from wsdarts_registry.reference import Reference, is_name

_NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True).filter(is_name)
_DIGESTS = st.text("0123456789abcdef", min_size=12, max_size=64).map("sha256:{}".format)
_EXACT = st.fixed_dictionaries({"version": st.integers(1, 999_999_999)}) | st.fixed_dictionaries(
    {"digest": _DIGESTS}
)


@given(_NAMES, st.just({}) | _EXACT)
def test_law(name: str, exact: dict[str, object]) -> None:
    reference = Reference(name=name, **exact)  # type: ignore[arg-type]
    assert Reference.parse(str(reference)) == reference


def test_forms() -> None:
    assert Reference.parse("flowers") == Reference(name="flowers")
    assert Reference.parse("flowers@3") == Reference(name="flowers", version=3)
    digest = "sha256:" + "0123456789ab"
    assert Reference.parse(f"a.b_c-d@{digest}") == Reference(name="a.b_c-d", digest=digest)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except RegistryError:
        return
    assert str(reference) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "artifact name '' is not allowed; expected 1 to 64 lower-case letters"),
        ("Flowers", "artifact name 'Flowers'"),
        ("-a", "artifact name '-a'"),
        (".a", "artifact name"),
        ("a.", "artifact name"),
        ("a..b", "artifact name"),
        ("a--b", "artifact name"),
        ("a/b", "artifact name"),
        ("a\n", "artifact name"),
        ("a" * 65, "artifact name"),
        ("flowers@", "expected NAME, NAME@3 or NAME@sha256:HEX"),
        ("flowers@0", "is malformed"),
        ("flowers@03", "is malformed"),
        ("flowers@v3", "is malformed"),
        ("flowers@-1", "is malformed"),
        ("flowers@٣", "is malformed"),
        ("flowers@1234567890", "is malformed"),
        ("flowers@sha256:0123456789a", "expected 'sha256:' and 12 to 64 lower-case hex digits"),
        ("flowers@sha256:" + "A" * 12, "12 to 64 lower-case hex digits"),
        ("flowers@sha256:" + "0" * 65, "12 to 64 lower-case hex digits"),
        ("hf://owner/name@3", "artifact name"),
    ],
)
def test_bad_references(text: str, message: str) -> None:
    with pytest.raises(RegistryError, match=message):
        Reference.parse(text)


def test_versions_and_digests_exclude_each_other() -> None:
    with pytest.raises(RegistryError, match="has a version and a digest"):
        Reference(name="a", version=1, digest="sha256:" + "0" * 64)
    with pytest.raises(RegistryError, match="version 0 of a"):
        Reference(name="a", version=0)
