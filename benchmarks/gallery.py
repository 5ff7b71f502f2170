"""The gallery of 1,000 artifacts: what its pages weigh, and how soon they answer.

    python benchmarks/gallery.py

The artifacts are simulated: masks and cells of the DARTS space at random, embeddings as wide as
those of the shipped probe, whose filters and tasks differ in scale as those of the zoo do. Their
gallery is built and opened in Chromium from the disk, with a new profile. Times are of the page's
own clock, and stand beside the load of the machine (processes that want to run, over a minute):

- interactive: from navigation to the end of the page's load event, by when the scripts have run (so
  that filters answer) and the pictures in view are there; and to the first contentful paint;
- a filter: from the input event to the next frame with its cards, the list's loading included;
- another order: the same, with the list loaded;
- a ranking: from the bytes of a file to the ranked list, the data file's loading included.

Writes ``results/gallery.json``; with ``--quick``, 12 artifacts once, it only prints.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measure import machine, save
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from wsdarts_registry.architecture.genotype import Cell, Connection, Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS, DARTS
from wsdarts_registry.artifact.manifest import NetworkRecord, Provenance, TaskRecord
from wsdarts_registry.artifact.writer import ArtifactDraft, write_artifact
from wsdarts_registry.embedding.embedding import EmbeddingSpace, TaskEmbedding
from wsdarts_registry.gallery.site import build_gallery
from wsdarts_registry.stores.directory import DirectoryStore

ARTIFACTS, QUICK_ARTIFACTS, FILTERS, SEED, REPEATS = 1_000, 12, 1_416, 0, 15
_SPACE = EmbeddingSpace(
    probe="simulated", probe_digest=f"sha256:{0:064x}", estimator="fisher", version=1
)
_SWITCHES = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--window-size=1440,900"),
)
# Waits until the cards are there, and for the next frame.
_FRAME = (
    "while (document.querySelector('#cards[aria-busy]')) await new Promise((d) => setTimeout(d));"
    "await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifacts", type=int, default=ARTIFACTS)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--quick", action="store_true", help="Few artifacts; writes no results.")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.artifacts, arguments.repeats = QUICK_ARTIFACTS, 1
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        store = DirectoryStore(root / "zoo", create=True)
        query = fill(store, root / "draft", arguments.artifacts)
        begun = time.perf_counter()
        site = build_gallery(store, out=root / "site").parent
        built = time.perf_counter() - begun
        load = os.getloadavg()[0]
        measured = times(site, root, query, arguments.repeats)
        results = {
            "artifacts": arguments.artifacts,
            "filters": FILTERS,
            "repeats": arguments.repeats,
            "build_seconds": round(built, 1),
            "load": [round(load, 1), round(os.getloadavg()[0], 1)],
            "kilobytes": weights(site),
            "milliseconds": measured,
        }
    if not arguments.quick:
        save("gallery", results, threads=1)
    print(json.dumps({**results, "machine": machine(threads=1)}, indent=1))


def fill(store: DirectoryStore, draft: Path, count: int) -> bytes:
    """Publish simulated artifacts; returns the file of an embedding beside the first one."""
    random = np.random.default_rng(SEED)
    filters = random.normal(scale=2.0, size=FILTERS)
    for number in range(count):
        logs = filters + random.normal(scale=0.5, size=FILTERS) + random.normal(scale=1.5)
        embedding = embedded(f"task-{number}", np.exp(logs), number)
        write_artifact(draft, artifact(random, embedding, number))
        store.publish(draft, f"simulated-{number:04}")
        shutil.rmtree(draft)
    noise = random.normal(scale=0.2, size=FILTERS)
    return embedded("mine", np.exp(filters + noise), count).to_bytes()


def embedded(name: str, values: np.ndarray, number: int) -> TaskEmbedding:
    return TaskEmbedding(
        space=_SPACE,
        values=values.astype(np.float32).astype(np.float64),
        task_digest=f"sha256:{number + 1:064x}",
        task_name=name,
        images=500,
        classes=10 + number % 90,
    )


def artifact(random: np.random.Generator, embedding: TaskEmbedding, number: int) -> ArtifactDraft:
    masks = OperationMasks.full(DARTS).keep_strongest(
        random.normal(size=DARTS.shape), random.normal(size=DARTS.shape), 3
    )
    task = TaskRecord(
        name=embedding.task_name,
        digest=embedding.task_digest,
        images=int(10 ** random.uniform(2, 5)),
        classes=embedding.classes,
        image_size=32,
    )
    return ArtifactDraft(
        kind="transfer",
        tasks=[task],
        network=NetworkRecord(cells=5, channels=4, image_size=32),
        genotype=Genotype(
            space=DARTS,
            normal=cell(random, masks, "normal"),
            reduction=cell(random, masks, "reduction"),
        ),
        ranked={
            kind: [
                [
                    (name, 1 / len(masks.operations(kind, edge)))
                    for name in masks.operations(kind, edge)
                ]
                for edge in range(len(DARTS.edges))
            ]
            for kind in CELL_KINDS
        },
        stage_masks=[masks],
        embeddings=[embedding],
        provenance=Provenance(
            code_version="0.1.0",
            libraries={"numpy": np.__version__},
            hardware="simulated",
            seed=number,
            seconds=float(10 ** random.uniform(1, 5)),
            created=f"2026-{1 + number % 12:02}-{1 + number % 28:02}T00:00:00Z",
        ),
        license="cc0-1.0",
        description="Simulated.",
    )


def cell(random: np.random.Generator, masks: OperationMasks, kind: str) -> Cell:
    """Two inputs for each node, by operations that the masks have."""
    nodes = []
    for target in range(2, 2 + DARTS.nodes):
        sources = sorted(int(s) for s in random.choice(target, 2, replace=False))
        edges = DARTS.incoming(target)
        nodes.append(
            tuple(
                Connection(source=s, operation=str(random.choice(masks.operations(kind, edges[s]))))
                for s in sources
            )
        )
    return tuple(nodes)


def weights(site: Path) -> dict[str, float]:
    """Of pages with what they always load, and of data files that are loaded when needed."""

    def total(*patterns: str) -> float:
        return round(
            sum(p.stat().st_size for pattern in patterns for p in site.glob(pattern)) / 1e3, 1
        )

    style = "assets/gallery.css"
    scripts = ("data", "task_map", "choice", "list")
    start = ("index.html", style, *(f"assets/{name}.js" for name in scripts))
    page = "artifacts/simulated-0000/v1.html"
    return {
        "start page with style sheet and scripts": total(*start),
        "start page alone": total("index.html"),
        "one cell's drawing, loaded when it comes into view": total(
            page.replace(".html", "/normal.svg")
        ),
        "page of an artifact with style sheet": total(page, style),
        "a further page of the list": total("list/2.html"),
        "the list, loaded to filter and order": total("data/list-*.js"),
        "card of an artifact, loaded when it is shown": total(page.replace(".html", "/card.js")),
        "embeddings, loaded to rank": total("data/embeddings-*.js"),
        "distances, loaded to paint the heat map": total("data/distances-*.js"),
        "whole gallery": total("*.*", "assets/*", "data/*", "artifacts/**/*.*"),
    }


def times(site: Path, root: Path, query: bytes, repeats: int) -> dict[str, Any]:
    chrome = start_browser(root)
    try:
        opened: dict[str, list[float]] = {"interactive": [], "first paint": []}
        filtered: dict[str, list[float]] = {"filter to next frame": []}
        for repeat in range(repeats + 1):
            found = open_start(chrome, site)
            one = filter_once(chrome, "simulated 7" if repeat % 2 else "task-3")
            if repeat:  # the first one warms the browser and the disk's cache
                for name, value in {**found, **one}.items():
                    (opened if name in opened else filtered)[name].append(value)
        sorting = [sort_once(chrome, order) for order in ("-images", "name") * repeats]
        return {
            **{name: summary(values) for name, values in {**opened, **filtered}.items()},
            "sort to next frame": summary(sorting),
            "rank a file": summary([rank_once(chrome, site, query) for _ in range(5)]),
        }
    finally:
        chrome.quit()


def start_browser(root: Path) -> Any:
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for switch in (*_SWITCHES, f"--user-data-dir={root / 'profile'}"):
        options.add_argument(switch)
    chrome = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
    chrome.set_script_timeout(300)
    return chrome


def ask(chrome: Any, script: str, *arguments: object) -> Any:
    """Run a script in the page and await what it returns."""
    wrapped = (
        "const done = arguments[arguments.length - 1];"
        f"(async (...given) => {{ {script} }})(...Array.from(arguments).slice(0, -1)).then(done)"
    )
    return chrome.execute_async_script(wrapped, *arguments)


def open_start(chrome: Any, site: Path) -> dict[str, float]:
    chrome.get("about:blank")
    chrome.get((site / "index.html").as_uri())
    found = ask(
        chrome,
        "const [page] = performance.getEntriesByType('navigation');"
        "const paint = () => performance.getEntriesByName('first-contentful-paint')[0];"
        "while (!paint() || !page.loadEventEnd) await new Promise((done) => setTimeout(done, 20));"
        "return [page.loadEventEnd, paint().startTime, document.getElementById('filters').hidden]",
    )
    assert not found[2]
    return {"interactive": found[0], "first paint": found[1]}


def filter_once(chrome: Any, words: str) -> dict[str, float]:
    found = ask(
        chrome,
        "const field = document.getElementById('words'); field.value = given[0];"
        "const begun = performance.now();"
        "field.dispatchEvent(new Event('input', {bubbles: true}));"
        f"{_FRAME} return performance.now() - begun",
        words,
    )
    return {"filter to next frame": float(found)}


def sort_once(chrome: Any, order: str) -> float:
    found = ask(
        chrome,
        "const field = document.getElementById('order'); field.value = given[0];"
        "const begun = performance.now();"
        "field.dispatchEvent(new Event('input', {bubbles: true}));"
        f"{_FRAME} return performance.now() - begun",
        order,
    )
    return float(found)


def rank_once(chrome: Any, site: Path, query: bytes) -> float:
    chrome.get("about:blank")
    chrome.get((site / "nearest.html").as_uri())
    WebDriverWait(chrome, 120).until(
        lambda driver: driver.execute_script("return !document.getElementById('query').hidden")
    )
    found = ask(
        chrome,
        "const bytes = Uint8Array.from(given[0]); const begun = performance.now();"
        "await wsdarts.ranking.rank(bytes, 'mine'); return performance.now() - begun",
        list(query),
    )
    return float(found)


def summary(milliseconds: list[float]) -> dict[str, float]:
    """Median, least and greatest."""
    values = (statistics.median(milliseconds), min(milliseconds), max(milliseconds))
    return dict(zip(("median", "least", "greatest"), (round(v, 1) for v in values), strict=True))


if __name__ == "__main__":
    main()
