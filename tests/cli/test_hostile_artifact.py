"""An artifact whose every text is hostile, shown by every command: nothing of it acts."""

import json
import unicodedata
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt

from tests.cli.conftest import Outcome, Run
from tests.cli.test_terminal import on_terminal
from tests.registry.factories import make_embedding, reseal
from tests.registry.hostile import LINE, LONG, TEXT, hostile_space, make_hostile
from wsdarts_registry.artifact.contents import check_svg
from wsdarts_registry.artifact.manifest import PICTURE
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.records import Yank


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact."""
    return make_hostile(tmp_path_factory.mktemp("hostile") / "artifact")


@pytest.fixture
def hostile_zoo(made: Path, tmp_path: Path) -> Path:
    """A registry that holds it twice, once yanked for a hostile reason."""
    store = DirectoryStore(tmp_path / "zoo", create=True)
    store.publish(made, "evil")
    other = Path(tmp_path / "other")
    store.pull("evil", other)
    reseal(other, lambda data: data.update(description=LINE))
    store.publish(other, "evil")
    yank = Yank(reason=LINE, when="2026-01-02T03:04:05Z")
    store.write_yank("evil", 1, lambda _: yank)
    return tmp_path / "zoo"


def assert_inert(shown: Outcome) -> None:
    """Lines of what can be seen, and nothing that a terminal acts on."""
    for stream in (shown.out, shown.err):
        for line in stream.split("\n"):
            bad = [c for c in line if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}]
            assert bad == [], f"{bad!r} in {line[:200]!r}"
    assert LONG not in shown.out + shown.err


@pytest.mark.slow
def test_what_reads_a_registry(hostile_zoo: Path, run: Run, tmp_path: Path) -> None:
    place = ("--registry", hostile_zoo)
    for words in (
        ("list",),
        ("list", "--yanked"),
        ("list", "--quiet"),
        ("show", "evil"),
        ("show", "evil@1"),
        ("show", "evil", "--quiet"),
        ("pull", "evil"),
        ("pull", "evil", "--out", tmp_path / "out", "--check"),
        ("verify", "evil", "--weights"),
        ("verify", tmp_path / "out"),
    ):
        shown = run(*words, *place)
        assert_inert(shown)
        assert shown.code == 0, shown.err
    shown = run("show", "evil", *place)
    assert "evil.example" in shown.out  # it was shown, and as text


def test_json_is_ascii_and_says_everything(hostile_zoo: Path, run: Run) -> None:
    shown = run("show", "evil", "--json", "--registry", hostile_zoo)
    assert shown.out.isascii()
    assert not set(shown.out) & {"\x1b", "\x9b", "\x07", "\r"}
    data = json.loads(shown.out)
    assert data["manifest"]["config"]["preset"] == TEXT
    assert data["manifest"]["tasks"][0]["name"] == LINE


def test_neighbours(hostile_zoo: Path, run: Run, tmp_path: Path) -> None:
    query = replace(make_embedding("query", space=hostile_space()), task_name=LINE)
    query.save(tmp_path / "query.safetensors")
    for words in ((), ("--quiet",), ("--json",)):
        shown = run("nearest", tmp_path / "query.safetensors", *words, "--registry", hostile_zoo)
        assert shown.code == 0, shown.err
        assert_inert(shown)
    make_embedding("query").save(tmp_path / "other.safetensors")
    refused = run("nearest", tmp_path / "other.safetensors", "--registry", hostile_zoo)
    assert refused.code == 1
    assert "evil.example" in refused.err  # it names the spaces that there are
    assert_inert(refused)


@pytest.mark.slow
def test_errors(hostile_zoo: Path, run: Run, made: Path, images: Path) -> None:
    place = ("--registry", hostile_zoo)
    for words in (
        (
            "warm-start",
            images,
            "-q",
            "--from",
            "evil",
            "--preset",
            "tiny",
            "--out",
            made.parent / "r",
        ),
        ("pull", f"evil@{TEXT}"),
        ("show", TEXT),
        ("yank", "evil@1", "--reason", "again"),
        ("yank", "evil@2", "--reason", TEXT),
        ("verify", f"./{LINE}"),
        ("push", made, TEXT),
    ):
        shown = run(*words, *place)
        assert shown.code != 0
        assert len(shown.err.splitlines()) == 1, shown.err
        assert_inert(shown)


def test_on_a_terminal_nothing_is_coloured_by_it(hostile_zoo: Path) -> None:
    for words in (("list", "--yanked"), ("show", "evil")):
        shown = on_terminal(*words, "--registry", str(hostile_zoo), width=80)
        # Bold headings and their end are ours; links, movements and other colours are not.
        rest = shown.replace("\x1b[1m", "").replace("\x1b[0m", "")
        assert "\x1b" not in rest
        assert "\x9b" not in rest
        assert "\u202e" not in rest
        assert "\u200f" not in rest


def test_the_card_that_push_writes(made: Path, run: Run, tmp_path: Path) -> None:
    zoo = tmp_path / "new"
    assert run("push", made, "evil", "--registry", zoo).code == 0
    card = (zoo / "artifacts" / "evil" / "v1" / "README.md").read_text(encoding="utf-8")
    _, head, body = card.split("---\n", 2)
    assert set(yaml.safe_load(head)) == {*("license", "license_name", "library_name", "tags")}
    assert LONG[:1001] not in card
    assert not any(unicodedata.category(c) in {"Cc", "Cf"} for c in card if c != "\n")
    parser = Tags()
    parser.feed(MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(body))
    # One picture, ours; no link, script, frame or handler.
    assert parser.tags.count("img") == 1
    assert set(parser.tags) <= {
        *("h1", "h2", "p", "img", "pre", "code", "table", "thead", "tbody", "tr", "th", "td"),
        *("ul", "li", "strong", "blockquote"),
    }
    assert {name for name, _ in parser.attributes} <= {"alt", "src", "class", "style"}
    assert {v.split(":")[0] for n, v in parser.attributes if n == "style"} <= {"text-align"}
    sources = [value for name, value in parser.attributes if name == "src"]
    assert sources == [PICTURE]
    # A picture is a page of its own to a browser: pull verifies that this one only draws.
    drawing = (zoo / "artifacts" / "evil" / "v1" / PICTURE).read_bytes()
    check_svg(drawing, what=PICTURE)
    assert parser.text.count("<script>") >= 3  # to be read


class Tags(HTMLParser):
    """Every tag and attribute, and the text between them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data
