import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.error_fields import assert_fields
from wsdarts_registry.artifact.reference import Reference, is_alias, is_name
from wsdarts_registry.errors import RegistryError

_NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True).filter(is_name)
_DIGESTS = st.text("0123456789abcdef", min_size=12, max_size=64).map("sha256:{}".format)
_ALIASES = st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True).filter(is_alias)
_EXACT = (
    st.fixed_dictionaries({"version": st.integers(1, 999_999_999)})
    | st.fixed_dictionaries({"digest": _DIGESTS})
    | st.fixed_dictionaries({"alias": _ALIASES})
)


@given(_NAMES, st.just({}) | _EXACT)
def test_law(name: str, exact: dict[str, object]) -> None:
    reference = Reference(name=name, **exact)  # type: ignore[arg-type]
    assert Reference.parse(str(reference)) == reference


def test_forms() -> None:
    assert Reference.parse("flowers") == Reference(name="flowers")
    assert Reference.parse("flowers@3") == Reference(name="flowers", version=3)
    digest = "sha256:" + "0123456789ab"
    assert Reference.parse("flowers@stable") == Reference(name="flowers", alias="stable")
    assert Reference.parse(f"a.b_c-d@{digest}") == Reference(name="a.b_c-d", digest=digest)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except RegistryError:
        return
    assert str(reference) == text


# What is expected of a name, of a reference and of the digest in one.
_NAME = "1 to 64 lower-case letters"
_FORMS = ("NAME", "NAME@3", "NAME@stable", "NAME@sha256:HEX")
_DIGEST = ("'sha256:'", "12 to 64 lower-case")


@pytest.mark.parametrize(
    ("text", "what", "expected"),
    [
        ("", "artifact name ''", _NAME),
        ("Flowers", "artifact name 'Flowers'", _NAME),
        ("-a", "artifact name '-a'", _NAME),
        (".a", "artifact name", _NAME),
        ("a.", "artifact name", _NAME),
        ("a..b", "artifact name", _NAME),
        ("a--b", "artifact name", _NAME),
        ("a/b", "artifact name", _NAME),
        ("a\n", "artifact name", _NAME),
        ("a" * 65, "artifact name", _NAME),
        ("flowers@", "is malformed", _FORMS),
        ("flowers@0", "is malformed", _FORMS),
        ("flowers@03", "is malformed", _FORMS),
        ("flowers@v3", "is malformed", _FORMS),
        ("flowers@latest", "is malformed", _FORMS),
        ("flowers@Stable", "is malformed", _FORMS),
        ("flowers@" + "a" * 33, "is malformed", _FORMS),
        ("flowers@-1", "is malformed", _FORMS),
        ("flowers@٣", "is malformed", _FORMS),
        ("flowers@1234567890", "is malformed", _FORMS),
        ("flowers@sha256:0123456789a", "digest of flowers", _DIGEST),
        ("flowers@sha256:" + "A" * 12, "digest of flowers", _DIGEST),
        ("flowers@sha256:" + "0" * 65, "digest of flowers", _DIGEST),
        ("hf://owner/name@3", "artifact name", _NAME),
    ],
)
def test_bad_references(text: str, what: str, expected: object) -> None:
    with pytest.raises(RegistryError) as caught:
        Reference.parse(text)
    assert_fields(caught.value, what=what, expected=expected)


def test_version_digest_and_alias_exclude_each_other() -> None:
    with pytest.raises(RegistryError, match="version, digest and alias"):
        Reference(name="a", version=1, digest="sha256:" + "0" * 64)
    with pytest.raises(RegistryError, match="give one"):
        Reference(name="a", version=1, alias="stable")


def test_only_versions_and_digests_are_exact() -> None:
    exact = {text: Reference.parse(text).is_exact for text in ("a", "a@stable", "a@2")}
    assert exact == {"a": False, "a@stable": False, "a@2": True}
    assert Reference.parse("a@sha256:0123456789ab").is_exact
