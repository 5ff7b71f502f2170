"""Errors keep their fields, and their sentence is made of these."""

import inspect
import pickle
from collections.abc import Callable
from errno import ENOENT
from pathlib import Path

import pytest

from tests.error_fields import assert_fields
from tests.messages import messages, page
from wsdarts_registry import errors
from wsdarts_registry.errors import FileAccessError, WsdartsError

PAGE = Path(__file__).parents[1] / "golden" / "messages.md"
CLASSES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, WsdartsError) and cls.__module__ == errors.__name__
]
MESSAGES = list(messages())
# Modules whose hints still begin with what belongs into other fields.


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (WsdartsError(), ""),
        (WsdartsError("it is broken"), "it is broken"),
        (WsdartsError("epochs", found=0), "epochs is 0"),
        (WsdartsError("epochs", found=0, expected="some"), "epochs is 0; expected some"),
        (WsdartsError("no preset", hint="use tiny"), "no preset; use tiny"),
        (WsdartsError("k", found=2, expected=3, hint="say 3"), "k is 2; expected 3; say 3"),
        (WsdartsError("x", found=None, expected=""), "x"),
        # One line that cannot act, whatever it quotes; spaces, as in names of files, stay.
        (WsdartsError("a\nb\x1b[31m", found="1  2"), "a b\ufffd[31m is 1  2"),
    ],
)
def test_the_sentence_is_made_of_the_fields(error: WsdartsError, sentence: str) -> None:
    assert str(error) == sentence


def test_what_tests_ask_of_a_field_stands_there_whole() -> None:
    error = WsdartsError("weight", found=-1.5, expected="a number from 0 to 1,024")
    assert_fields(error, what="weight", found=-1.5, expected=("number", 0, "1,024"))
    for other in ({"what": "eight"}, {"found": -1}, {"expected": 1}, {"expected": ("to", 0)}):
        with pytest.raises(AssertionError):
            assert_fields(error, **other)


def test_a_huge_sentence_is_cut() -> None:
    assert len(str(WsdartsError("x" * 100_000))) == 4000


@pytest.mark.parametrize("cls", CLASSES)
def test_a_pickled_error_keeps_its_fields(cls: type[WsdartsError]) -> None:
    error = cls("seed", found=-1, expected="0 or more", hint="leave it out")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
    assert type(copy) is cls
    assert (copy.what, copy.found, copy.expected, copy.hint) == (
        "seed",
        "-1",
        "0 or more",
        "leave it out",
    )
    assert str(copy) == str(error)


def test_a_pickled_file_error_keeps_what_the_system_said() -> None:
    cause = FileNotFoundError(ENOENT, "No such file or directory", "x")
    error = FileAccessError.of("cannot read x", cause, "x", hint="check the path")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
    for found in (error, copy):
        assert (found.errno, found.strerror, found.filename) == (ENOENT, cause.strerror, "x")
        assert (found.what, found.hint) == ("cannot read x", "check the path")


def test_each_part_of_a_message_is_in_its_own_field() -> None:
    mixed = [
        f"{message.module}:{message.line}: {message}"
        for message in MESSAGES
        if (
            any("; " in field for field in (message.what, message.found, message.expected))
            or "expected" in f"{message.what} {message.found} {message.expected}".split()
            or message.hint.startswith(("expected", "found"))
            or "; expected " in message.hint
        )
    ]
    assert mixed == []


def test_there_are_messages_of_every_package() -> None:
    packages = {message.module.split(".")[0] for message in MESSAGES}
    assert packages == {"wsdarts_hub", "wsdarts_sdk", "wsdarts_registry"}
    assert len(MESSAGES) > 400


def test_the_page_of_all_messages(golden: Callable[[Path, str], None]) -> None:
    golden(PAGE, page())
