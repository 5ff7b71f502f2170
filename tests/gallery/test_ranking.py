"""The page that ranks an embedding says what the command says."""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.gallery.conftest import Browser
from wsdarts_registry.embedding.embedding import EmbeddingSpace, TaskEmbedding
from wsdarts_registry.embedding.embedding_space import ROUNDING, figures
from wsdarts_registry.errors import WsdartsError
from wsdarts_registry.stores.opening import ShippedZoo, open_registry
from wsdarts_registry.stores.records import shipped_zoo

SPACES = {
    space.probe: space
    for entry in ShippedZoo().entries()
    for record in entry.manifest.embeddings
    for space in [record.space.embedding_space]
}


def query(probe: str, noise: float, images: int = 321) -> TaskEmbedding:
    """A task beside dtd-10."""
    store = open_registry(shipped_zoo())
    found = store.embedding(store.resolve("dtd-10"), SPACES[probe])
    assert found is not None
    random = np.random.default_rng(5)
    values = found.values * np.exp(noise * random.normal(size=found.values.shape))
    return TaskEmbedding(
        space=found.space,
        values=values.astype(np.float32).astype(np.float64),
        task_digest=found.task_digest,
        task_name="mine <b>",
        images=images,
        classes=7,
    )


@pytest.mark.parametrize(
    ("probe", "noise", "near"),
    [
        ("wsdarts-resnet10t", 0.3, True),
        ("wsdarts-resnet10t", 2.5, False),
        ("mobilenetv2_100", 0.5, True),
    ],
)
def test_ranking_and_judgement_are_those_of_the_command(
    browser: Browser, root: str, tmp_path: Path, probe: str, noise: float, near: bool
) -> None:
    embedding = query(probe, noise)
    path = embedding.save(tmp_path / "mine.safetensors")
    expected = open_registry(shipped_zoo()).nearest(TaskEmbedding.load(path), 5)
    assert expected.near is near
    browser.open(f"{root}/nearest.html")
    browser.until("!document.getElementById('query').hidden")
    browser.find("#file").send_keys(str(path))
    browser.until("!document.getElementById('answer').hidden")
    rows = browser.run(
        "return [...document.querySelectorAll('#neighbours tr')].map((row) => ["
        "row.querySelector('a').textContent,"
        "Number(row.querySelector('[data-distance]').dataset.distance),"
        "...[...row.querySelectorAll('td')].slice(2).map((cell) => cell.textContent)])"
    )
    assert len(rows) == 5
    lines = "return [...document.querySelectorAll('#neighbours svg')].map("
    lines += "(bar) => bar.querySelector('.limit') !== null)"  # not where several tasks have a mean
    assert browser.run(lines) == [n.kind == "transfer" for n in expected.neighbours]
    assert browser.find("#unjudged").is_displayed()
    for row, neighbour in zip(rows, expected.neighbours, strict=True):
        assert row[0] == neighbour.reference
        assert row[1] == pytest.approx(neighbour.distance, abs=1e-9)
        counts = [f"{neighbour.images:,}", f"{neighbour.classes:,}"]
        assert row[2:] == [neighbour.kind, neighbour.task_name, *counts]
    assert browser.find("#why").text == expected.why
    assert browser.find("#verdict").text == ("Near" if near else "Nothing is near")
    assert "mine <b>: 321 images" in browser.find("#of").text
    browser.click("#side")
    browser.until("document.querySelectorAll('#side thead th').length === 4")


def test_figures_are_those_of_the_command(browser: Browser, root: str) -> None:
    limit = 0.34708231541828627
    cases: list[tuple[list[float], float | None]] = [
        ([limit, limit + ROUNDING / 2, 0.34709, 0.1, 0.9], limit),
        ([0.34708231, 0.1404, 0.6166], 0.347082),
        ([0.1404, 0.6166], None),
    ]
    browser.open(f"{root}/nearest.html")
    browser.until("!document.getElementById('query').hidden")
    for distances, threshold in cases:
        shown = browser.run(
            f"return wsdarts.ranking.figures({json.dumps(distances)}, {json.dumps(threshold)})"
        )
        expected = figures(distances, threshold)
        assert shown["threshold"] == expected.threshold
        assert tuple(shown["distances"]) == expected.distances


def header(space: EmbeddingSpace, **task: Any) -> dict[str, Any]:
    """Metadata of an embedding file."""
    facts = {"name": "mine", "digest": f"sha256:{'0' * 64}", "images": 10, "classes": 2, **task}
    return {"format": 1, "space": space.to_json(), "task": facts}


def container(entries: str, data: bytes) -> bytes:
    """A safetensors file with a header as it is given."""
    text = entries.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + data


def file_of(
    values: np.ndarray, *, metadata: Any = None, dtype: str = "F32", name: str = "fisher"
) -> bytes:
    """A file of one tensor."""
    data = values.tobytes()
    entry = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [0, len(data)]}
    own = header(SPACES["wsdarts-resnet10t"]) if metadata is None else metadata
    text = own if isinstance(own, str) else json.dumps(own)
    return container(json.dumps({"__metadata__": {"wsdarts": text}, name: entry}), data)


def variants() -> dict[str, tuple[bytes, bool]]:
    """Files, and whether they can be ranked."""
    space = SPACES["wsdarts-resnet10t"]
    plain = np.random.default_rng(1).gamma(1.0, size=1416).astype("<f4")
    good = file_of(plain)
    changed = lambda **changes: file_of(plain, metadata={**header(space), **changes})
    task = lambda **changes: file_of(plain, metadata=header(space, **changes))

    def with_value(value: float) -> bytes:
        values = plain.copy()
        values[5] = value
        return file_of(values)

    whole = {**space.to_json(), "settings": {**space.to_json()["settings"], "size": 64.0}}
    other = {**space.to_json(), "settings": {**space.to_json()["settings"], "size": 65}}
    twice = json.dumps(header(space)).replace('"images": 10', '"images": 10, "images": 11', 1)
    deep = "[" * 40 + "]" * 40
    both = plain.tobytes() * 2
    size = plain.nbytes
    pair = {
        "__metadata__": {"wsdarts": json.dumps(header(space))},
        "fisher": {"dtype": "F32", "shape": [1416], "data_offsets": [0, size]},
        "standard_error": {"dtype": "F32", "shape": [1416], "data_offsets": [size, 2 * size]},
    }
    bad_error = both[:-4] + struct.pack("<f", float("nan"))
    return {
        "as it is": (good, True),
        "with a standard error": (container(json.dumps(pair), both), True),
        "a standard error that is no number": (container(json.dumps(pair), bad_error), False),
        "a whole float in a setting": (changed(space=whole), True),
        "zeros among the values": (with_value(0.0), True),
        "spaces behind the header": (container(json.dumps(pair) + "   ", both), True),
        "empty": (b"", False),
        "seven bytes": (good[:7], False),
        "cut": (good[:-1], False),
        "a byte too many": (good + b"\0", False),
        "a header as long as the world": (b"\xff" * 8 + good[8:], False),
        "a gap between tensors": (
            container(json.dumps({**pair, "fisher": {**pair["fisher"], "shape": [1415]}}), both),
            False,
        ),
        "NaN": (with_value(float("nan")), False),
        "infinity": (with_value(float("inf")), False),
        "negative": (with_value(-1e-30), False),
        "nothing but zeros": (file_of(np.zeros(1416, "<f4")), False),
        "float64": (file_of(plain.astype("<f8"), dtype="F64"), False),
        "an unknown type": (file_of(plain, dtype="F8"), False),
        "two dimensions": (file_of(plain.reshape(2, 708)), False),
        "another tensor": (file_of(plain, name="fish"), False),
        "another width": (file_of(plain[:-1]), False),
        "another setting": (changed(space=other), False),
        "another format": (changed(format=2), False),
        "a format that is no integer": (changed(format=1.0), False),
        "a key too many": (changed(more=1), False),
        "a key twice": (file_of(plain, metadata=twice), False),
        "no JSON": (file_of(plain, metadata="{'a': 1}"), False),
        "NaN in JSON": (file_of(plain, metadata='{"a": NaN}'), False),
        "too deep": (file_of(plain, metadata=deep), False),
        "a number too large": (file_of(plain, metadata='{"a": 1e999}'), False),
        "an unpaired surrogate": (task(name="a\ud800"), False),
        "an override of direction": (task(name="a\u202eb"), False),
        "a name of two lines": (task(name="a\nb"), False),
        "a name of spaces": (task(name="  "), False),
        "no images": (task(images=0), False),
        "half an image": (task(images=1.5), False),
        "a digest in capitals": (task(digest=f"sha256:{'A' * 64}"), False),
        "a digest in a list": (task(digest=[f"sha256:{'0' * 64}"]), False),
        "no metadata": (file_of(plain, metadata="null"), False),
        "a page": (b"<!doctype html><title>404</title>" * 9, False),
    }


def test_what_the_command_refuses_the_page_refuses(browser: Browser, disk: str) -> None:
    store = open_registry(shipped_zoo())
    browser.open(f"{disk}/nearest.html")
    browser.until("!document.getElementById('query').hidden")
    for name, (content, ranked) in variants().items():
        try:
            expected = store.nearest(TaskEmbedding.from_bytes(content), 3)
        except WsdartsError:
            expected = None
        assert (expected is not None) is ranked, name
        found = browser.run(
            "try { const r = await wsdarts.ranking.rank(wsdarts.bytes(given[0]), 'the file');"
            "return r.neighbours.map((n) => [n.reference, n.distance]) }"
            "catch (error) {"
            "return error instanceof wsdarts.Refusal ? error.message : String(error.stack) }",
            base64.b64encode(content).decode(),
        )
        if expected is None:
            assert isinstance(found, str), name
            assert "    at " not in found, (name, found)
            continue
        assert isinstance(found, list), (name, found)
        for (reference, distance), neighbour in zip(found, expected.neighbours, strict=False):
            assert reference == neighbour.reference
            assert distance == pytest.approx(neighbour.distance, abs=1e-9)


def test_a_file_that_is_refused_takes_the_place_of_what_was_shown(
    browser: Browser, root: str, tmp_path: Path
) -> None:
    good = query("wsdarts-resnet10t", 0.3).save(tmp_path / "good.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(good.read_bytes()[:-4])
    browser.open(f"{root}/nearest.html")
    browser.until("!document.getElementById('query').hidden")
    browser.find("#file").send_keys(str(good))
    browser.until("!document.getElementById('answer').hidden")
    browser.find("#file").send_keys(str(tmp_path / "bad.safetensors"))
    browser.until("!document.getElementById('problem').hidden")
    assert not browser.find("#answer").is_displayed()
    assert browser.find("#problem").text.startswith("bad.safetensors is truncated")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "is a PNG picture"),
        (b"PK\x03\x04" + bytes(40), "is a ZIP archive"),
        (b"\x1f\x8b\x08" + bytes(40), "is a gzip archive"),
        (b"<!doctype html>", "is a web page"),
        (b'{"format": 1}', "is a JSON or"),
        (b"", "is empty"),
    ],
)
def test_a_wrong_file_says_what_it_is(
    browser: Browser, disk: str, tmp_path: Path, content: bytes, kind: str
) -> None:
    (tmp_path / "mine").write_bytes(content)
    browser.open(f"{disk}/nearest.html")
    browser.until("!document.getElementById('query').hidden")
    browser.find("#file").send_keys(str(tmp_path / "mine"))
    browser.until("!document.getElementById('problem').hidden")
    problem = browser.find("#problem").text
    assert problem.startswith(f"mine {kind}")
    assert ("not an embedding" in problem) is bool(content)


def test_the_next_command_names_the_nearest_or_no_start(
    browser: Browser, disk: str, tmp_path: Path
) -> None:
    near = open_registry(shipped_zoo()).pull("flowers102@3").embeddings[0]
    far = query("wsdarts-resnet10t", 3.0)
    for name, embedding in (("near", near), ("far", far)):
        path = embedding.save(tmp_path / f"{name}.safetensors")
        browser.open(f"{disk}/nearest.html")
        browser.until("!document.getElementById('query').hidden")
        browser.find("#file").send_keys(str(path))
        browser.until("!document.getElementById('answer').hidden")
        is_near = browser.find("#verdict").get_attribute("data-near") == "true"
        start = "--from flowers102@3" if name == "near" else "--mode cold"
        assert is_near is (name == "near")
        assert f"warm-start path/to/images {start} --preset" in browser.find("#command").text


def test_a_file_may_be_dropped(browser: Browser, root: str) -> None:
    content = base64.b64encode(query("wsdarts-resnet10t", 0.3).to_bytes()).decode()
    browser.open(f"{root}/nearest.html")
    browser.until("!document.getElementById('query').hidden")
    browser.run(
        "const transfer = new DataTransfer();"
        "transfer.items.add(new File([wsdarts.bytes(given[0])], 'mine.safetensors'));"
        "const how = {bubbles: true, cancelable: true, dataTransfer: transfer};"
        "document.getElementById('drop').dispatchEvent(new DragEvent('drop', how))",
        content,
    )
    browser.until("document.querySelectorAll('#neighbours tr').length === 5")
    browser.run(
        "const k = document.getElementById('k'); k.value = 7; k.dispatchEvent(new Event('input'))"
    )
    assert len(browser.all("#neighbours tr")) == 7
