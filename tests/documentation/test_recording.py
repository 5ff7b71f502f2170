"""The recording of the main job shows what the commands print today."""

import re

import pytest

from docs.pictures.recording import COLUMNS, PICTURE, TRANSCRIPT, draw, record

# Of a search and a training of a few steps, which the test runs in place of the recorded ones.
_SHORT = (
    (),
    (
        *("--set", "search.stages.3.epochs=1", "--set", "search.stages.3.weights_only_epochs=0"),
        *("--set", "search.steps_per_epoch=1"),
    ),
    ("--set", "training.steps_per_epoch=1"),
)


def _words(transcript: str) -> list[str]:
    """Return the words that do not differ between runs: neither cells nor figures of accuracy.

    A training of one epoch ends with a warning that the baseline is better, a longer one without.
    """
    kept = []
    for line in transcript.partition("\nwarning: ")[0].splitlines():
        if "──" in line:  # of a cell
            continue
        if "@" in line:  # distances, of which the last digits are the processor's
            kept.append(re.sub(r"(\d\.\d\d)\d\d", r"\1", line))
        else:
            kept.append(re.sub(r"[−+]?\d[\d,.]*", "N", line).replace("images", "image"))
    return " ".join(kept).split()


def test_the_picture_is_that_of_the_transcript() -> None:
    transcript = TRANSCRIPT.read_text(encoding="utf-8")
    assert PICTURE.read_text(encoding="utf-8") == draw(transcript)
    assert max(map(len, transcript.splitlines())) <= COLUMNS


@pytest.mark.slow
@pytest.mark.timeout(3600)  # three programs, each of which starts anew, on a busy machine
def test_the_recorded_words_are_those_of_today(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing is compiled, which takes minutes on a busy machine and changes no word.
    monkeypatch.setenv("WSDARTS_HUB_KERNELS", "portable")
    assert _words(record(_SHORT)) == _words(TRANSCRIPT.read_text(encoding="utf-8"))
