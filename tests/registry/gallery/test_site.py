import os
import re
import shutil
from errno import ENOSPC
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.registry.factories import Push, digest_of, make_artifact, make_draft
from wsdarts_registry.artifact.manifest import Lineage, Parent, SplitRecord
from wsdarts_registry.errors import RegistryError, RegistryWarning
from wsdarts_registry.gallery.site import build_gallery
from wsdarts_registry.stores.directory import DirectoryStore
from wsdarts_registry.stores.records import shipped_zoo


class Page(HTMLParser):
    """What a page links to and loads, and its elements."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append((tag, values))
        if values.get("id"):
            self.ids.append(str(values["id"]))
        self.links += [str(values[key]) for key in ("href", "src") if values.get(key)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gallery of the shipped zoo."""
    return build_gallery(shipped_zoo(), out=tmp_path_factory.mktemp("gallery") / "site").parent


def pages(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


def test_every_link_leads_to_a_file_or_an_element(site: Path) -> None:
    versions = DirectoryStore(shipped_zoo(), read_only=True).entries(include_yanked=True)
    assert len(pages(site)) == 4 + len(versions)
    for path in pages(site):
        for link in Page(path).links:
            parts = urlsplit(link)
            if parts.scheme == "data":
                continue
            assert not parts.scheme, link
            assert not parts.netloc, link
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), (path, link)
            if parts.fragment and target.name != "compare.html":
                assert parts.fragment in Page(target).ids, (path, link)


def test_no_page_names_another_machine_or_holds_a_handler_or_a_style(site: Path) -> None:
    for path in pages(site):
        page = Page(path)
        for tag, values in page.tags:
            assert not any(name.startswith("on") for name in values), (path, tag)
            assert "style" not in values, (path, tag)
            assert tag not in ("style", "iframe", "object", "embed", "base")
        assert len(page.ids) == len(set(page.ids)), path
    for path in site.rglob("*"):
        if path.suffix in (".html", ".js", ".css"):
            text = path.read_text(encoding="utf-8").replace("http://www.w3.org/", "")
            assert not re.search(r"https?://", text), path


def test_the_policy_of_a_page_without_scripts_allows_none(site: Path) -> None:
    for path in pages(site):
        policies = [
            str(v["content"]) for t, v in Page(path).tags if t == "meta" and "http-equiv" in v
        ]
        assert policies[0].startswith("default-src 'none';")
        scripts = [values for tag, values in Page(path).tags if tag == "script"]
        assert len(scripts) == ("script-src" in policies[0]), path
        for policy in policies:
            assert "unsafe" not in policy
            assert "connect-src" not in policy
    start = (site / "index.html").read_text()
    assert "script-src 'sha256-" in start
    assert "script-src 'sha256-" in (site / "artifacts/dtd-10/v1.html").read_text()
    assert "script-src 'sha256-" in (site / "distances.html").read_text()


def test_the_raw_files_are_those_of_the_artifact(site: Path) -> None:
    source = shipped_zoo() / "artifacts" / "meta-flowers-birds-textures" / "v1"
    copied = site / "artifacts" / "meta-flowers-birds-textures" / "v1"
    names = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
    for name in names:
        if name in ("weights.safetensors", "check.safetensors"):
            assert not (copied / name).exists()
        else:
            assert (copied / name).read_bytes() == (source / name).read_bytes()


def test_a_gallery_is_the_same_each_time(site: Path, tmp_path: Path) -> None:
    again = build_gallery(shipped_zoo(), out=tmp_path / "again").parent
    files = {path.relative_to(site) for path in site.rglob("*") if path.is_file()}
    assert files == {path.relative_to(again) for path in again.rglob("*") if path.is_file()}
    assert all((site / path).read_bytes() == (again / path).read_bytes() for path in files)


def test_an_empty_registry_has_a_gallery(store: DirectoryStore, tmp_path: Path) -> None:
    start = build_gallery(store, out=tmp_path / "site")
    assert "no artifacts yet" in start.read_text()
    assert "script-src" not in (tmp_path / "site" / "distances.html").read_text()


def test_an_older_gallery_is_replaced_whole(
    store: DirectoryStore, push: Push, tmp_path: Path
) -> None:
    push("flowers")
    push("birds")
    build_gallery(store, out=tmp_path / "site")
    store.yank("birds@1", "a test")
    shutil.rmtree(tmp_path / "zoo" / "artifacts" / "birds")
    assert store.accept_state("birds") == ("birds@1 is gone",)
    build_gallery(store, out=tmp_path / "site")
    assert not (tmp_path / "site" / "artifacts" / "birds").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["site", "source", "zoo"]


def test_what_is_no_gallery_is_left_alone(store: DirectoryStore, tmp_path: Path) -> None:
    kept = tmp_path / "mine" / "thesis.tex"
    kept.parent.mkdir()
    kept.write_text("mine")
    with pytest.raises(RegistryError, match="is not empty") as caught:
        build_gallery(store, out=kept.parent)
    assert "a new directory" in caught.value.hint
    build_gallery(store, out=tmp_path / "site")
    (tmp_path / "site" / "thesis.tex").write_text("mine")
    with pytest.raises(RegistryError, match=r"also holds 'thesis.tex'"):
        build_gallery(store, out=tmp_path / "site")
    with pytest.raises(RegistryError, match="is no gallery"):
        build_gallery(store, out=kept)
    assert kept.read_text() == "mine"


def test_a_build_that_fails_leaves_the_older_gallery(
    store: DirectoryStore, push: Push, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push("flowers")
    start = build_gallery(store, out=tmp_path / "site")
    before = start.read_bytes()

    def full(*_: object) -> bytes:
        raise OSError(ENOSPC, os.strerror(ENOSPC))

    monkeypatch.setattr("wsdarts_registry.gallery.site._write", full)
    with pytest.raises(RegistryError, match=os.strerror(ENOSPC)) as caught:
        build_gallery(store, out=tmp_path / "site")
    assert "another directory" in caught.value.hint
    assert start.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["site", "source", "zoo"]


def test_a_damaged_artifact_is_named_unless_it_is_yanked(
    store: DirectoryStore, push: Push, tmp_path: Path
) -> None:
    push("flowers")
    push("birds")
    (tmp_path / "zoo" / "artifacts" / "birds" / "v1" / "genotype.json").write_text("{}")
    with pytest.warns(RegistryWarning, match=r"birds@1 is damaged .*genotype\.json"):
        start = build_gallery(store, out=tmp_path / "site")
    page = start.read_text()
    assert "not shown: birds@1." in page
    assert "artifacts/flowers/v1.html" in page
    assert "artifacts/birds/v1.html" not in page
    assert str(tmp_path) not in page
    store.yank("birds@1", "damaged")
    start = build_gallery(store, out=tmp_path / "site")
    assert "birds" not in start.read_text()


def test_yanked_versions_have_a_page_and_stand_in_no_list(
    store: DirectoryStore, push: Push, tmp_path: Path
) -> None:
    push("flowers", "first")
    push("flowers", "second")
    store.yank("flowers@2", "wrong <labels>")
    store.set_alias("flowers", "stable", 1)
    root = build_gallery(store, out=tmp_path / "site").parent
    start = (root / "index.html").read_text()
    assert "artifacts/flowers/v1.html" in start
    assert "artifacts/flowers/v2.html" not in start
    yanked = (root / "artifacts/flowers/v2.html").read_text()
    assert "wrong &lt;labels&gt;" in yanked
    first = (root / "artifacts/flowers/v1.html").read_text()
    assert "flowers@stable" in first
    assert "flowers@2</a>" in first
    assert '"flowers@2"' not in (root / "data" / "spaces.js").read_text()


def test_lineage_leads_up_and_down(store: DirectoryStore, push: Push, tmp_path: Path) -> None:
    parent = push("flowers")
    lineage = Lineage(
        mode="topology",
        parents=(
            Parent(reference="elsewhere@9", digest=parent.digest),
            Parent(reference="gone@1", digest=digest_of("gone")),
        ),
    )
    make_artifact(tmp_path / "child", "birds", lineage=lineage)
    store.publish(tmp_path / "child", "birds")
    root = build_gallery(store, out=tmp_path / "site").parent
    child = (root / "artifacts/birds/v1.html").read_text()
    assert '<a href="../../artifacts/flowers/v1.html">flowers@1</a>' in child
    assert "gone@1 (not in" in child
    above = (root / "artifacts/flowers/v1.html").read_text()
    assert (
        '<a href="../../artifacts/birds/v1.html">birds@1</a>, mode <code>topology</code>' in above
    )


def test_a_dataset_of_the_hub_is_named_and_not_linked(
    store: DirectoryStore, tmp_path: Path
) -> None:
    task = make_draft("flowers").tasks[0]
    split = SplitRecord(train=task.images - 20, validation=20)
    task = task.model_copy(update={"dataset": "acme/flowers", "split": split})
    make_artifact(tmp_path / "a", "flowers", tasks=[task])
    store.publish(tmp_path / "a", "flowers")
    root = build_gallery(store, out=tmp_path / "site").parent
    page = (root / "artifacts/flowers/v1.html").read_text()
    assert 'flowers, from <span class="mono">hf:acme/flowers</span>' in page
    assert f", split as given (train {task.images - 20}, validation 20)" in page


def test_hostile_text_is_text(store: DirectoryStore, tmp_path: Path) -> None:
    hostile = '</script><img src=x onerror="alert(1)"> {{ 7*7 }}'
    make_artifact(tmp_path / "bad", hostile, description=hostile, license=hostile)
    store.publish(tmp_path / "bad", "bad")
    root = build_gallery(store, out=tmp_path / "site").parent
    for path in (root / "index.html", root / "artifacts/bad/v1.html", root / "distances.html"):
        assert not [v for t, v in Page(path).tags if t == "img" and v.get("src") == "x"]
        assert "{{ 7*7 }}" in path.read_text() or path.name == "distances.html"
    for path in root.rglob("*.js"):
        if path.parent.name != "assets":
            assert "<" not in path.read_text()


def test_the_start_page_leads_with_accuracy_beside_its_baseline(
    store: DirectoryStore, tmp_path: Path
) -> None:
    found = {
        "below": {"classifier_accuracy": 0.5, "classifier_baseline_accuracy": 0.75},
        "above": {"classifier_accuracy": 0.5, "classifier_baseline_accuracy": 0.25},
        "alone": {
            "classifier_accuracy": 0.5,
            "classifier_parameters": 98_786,
            "final_parameters": 840_000,
        },
        "wrong": {"classifier_accuracy": 7.5},  # anyone may write an artifact
    }
    for name, metrics in found.items():
        make_artifact(tmp_path / name, name, metrics=metrics)
        store.publish(tmp_path / name, name)
    root = build_gallery(store, out=tmp_path / "site").parent
    cards = {
        str(values["data-r"]): values
        for tag, values in Page(root / "index.html").tags
        if tag == "li" and "data-r" in values
    }
    assert {name: card.get("data-g") for name, card in cards.items()} == {
        "above@1": "0.25", "alone@1": None, "below@1": "-0.25", "wrong@1": None,
    }  # fmt: skip
    assert "data-a" not in cards["wrong@1"]
    assert cards["alone@1"]["data-p"] == "840000"
    start = (root / "index.html").read_text()
    assert "25.0 points below the linear baseline" in start
    assert start.count("98,786 parameters") == 1
    assert "at full size</dt><dd>0.84 M</dd>" in start
    assert "25.0 points above the linear baseline" in start
    assert 'class="result none"' in start
    for name in found:
        page = (root / f"artifacts/{name}/v1.html").read_text()
        assert ("<strong>Below its baseline.</strong>" in page) is (name == "below")


def test_what_other_tasks_gained_by_an_artifact_stands_on_card_and_page(
    store: DirectoryStore, tmp_path: Path
) -> None:
    gained = {
        "transfer_gain": 0.063,
        "transfer_gain_low": 0.02,
        "transfer_gain_high": 0.1,
        "transfer_sets": 5,
        "transfer_steps": 300,
    }
    found = {
        "known": gained,
        "unknown": {},
        "impossible": {**gained, "transfer_gain": 7.0},
        "reversed": {**gained, "transfer_gain_low": 0.2},
    }
    for name, metrics in found.items():
        make_artifact(tmp_path / name, name, metrics=metrics)
        store.publish(tmp_path / name, name)
    root = build_gallery(store, out=tmp_path / "site").parent
    shown = {
        str(values["data-r"]): values.get("data-t")
        for tag, values in Page(root / "index.html").tags
        if tag == "li" and "data-r" in values
    }
    assert shown == {
        "known@1": "0.063", "unknown@1": None, "impossible@1": None, "reversed@1": "0.063",
    }  # fmt: skip
    pages = {name: (root / f"artifacts/{name}/v1.html").read_text() for name in found}
    assert "+2.0 points to +10.0 points" in pages["known"]
    assert "+20.0 points to" not in pages["reversed"]
    assert "<dt>transfer gain</dt>" in pages["known"]
    assert "<dt>transfer gain</dt>" not in pages["impossible"]


def test_a_random_cell_stands_beside_the_found_one(store: DirectoryStore, tmp_path: Path) -> None:
    metrics = {"classifier_accuracy": 0.5, "classifier_random_cell_accuracy": 0.4375}
    make_artifact(tmp_path / "one", "one", metrics=metrics)
    store.publish(tmp_path / "one", "one")
    root = build_gallery(store, out=tmp_path / "site").parent
    page = (root / "artifacts/one/v1.html").read_text()
    assert "<dd>43.8 %</dd>" in page


def test_the_menu_of_an_artifact_is_in_the_order_of_its_page(site: Path) -> None:
    page = Page(site / "artifacts/flowers102/v3.html")
    sections = [str(values["aria-labelledby"]) for tag, values in page.tags if tag == "section"]
    menu = [link[1:] for link in page.links if link[1:] in sections]
    assert menu[: len(sections)] == sections


def test_the_documentation_is_linked_where_it_is_named(
    store: DirectoryStore, tmp_path: Path
) -> None:
    root = build_gallery(store, out=tmp_path / "site", docs="https://example.org/docs/").parent
    assert "https://example.org/docs/" in Page(root / "index.html").links
    with pytest.raises(RegistryError, match="documentation 'javascript:"):
        build_gallery(store, out=tmp_path / "other", docs="javascript:alert(1)")
