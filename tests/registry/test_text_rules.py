import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdarts_registry._text import is_plain_line, settled_line

# With lone surrogates, which file names that are not UTF-8 are read as.
_ANY = st.text(st.characters(exclude_categories=()), max_size=300)


@given(_ANY)
def test_laws_of_a_settled_line(text: str) -> None:
    found = settled_line(text)
    assert is_plain_line(found, 200)
    assert settled_line(found) == found
    assert unicodedata.is_normalized("NFC", found)
    found.encode()  # no lone surrogate is left


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=200))
def test_names_that_are_plain_stay_what_they_are(text: str) -> None:
    plain = unicodedata.normalize("NFC", text)[:200]
    assert settled_line(plain) == plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cafe\u0301", "caf\u00e9"),
        ("caf\udce9", "caf\ufffd"),
        ("a\tb\r\nc", "a b  c"),
        ("  tea ", "tea"),
        ("\x1b[31mred\u202e", "\ufffd[31mred\ufffd"),
        ("", "\ufffd"),
        ("\n", "\ufffd"),
        ("x" * 201, "x" * 199 + "\u2026"),
        # Joiners belong to words of Persian and to emoji.
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_examples(text: str, expected: str) -> None:
    assert settled_line(text) == expected
