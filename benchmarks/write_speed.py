"""Write ``docs/speed.md`` from the committed JSON results, so that no figure is copied by hand.

python benchmarks/write_speed.py
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "speed.md"
OPEN = "**open**: not measured yet"
NAMES = {84: "84×84, batch 8", 32: "32×32, batch 16"}
LEAN = "public, channels last, lean"
NEEDS_GPU = f"{OPEN}, needs a GPU"
# Engines of benchmarks/gpu/measure.py.
PUBLIC, LEAN_MIXED = "public, float32", "public, bfloat16, channels last, lean"
MIXED = "wsdarts-hub, bfloat16"

INTRODUCTION = """# Speed

Every figure on this page is written by `python benchmarks/write_speed.py` from the files in
`benchmarks/results/`, which hold the command, the machine, and the least and greatest time beside
each median. A figure is a ratio to a baseline; both ran alternately in one process. The public
P-DARTS step is that project's own `model_search.Network`, with the steps of its training script;
"lean" is the same network with channels last and without unused gradients, as a careful user would
run it. The bars are goals that were set beforehand.

[Computation of a step](decisions/computation-of-a-step.md) explains the methods.
"""


def page() -> str:
    """The whole page."""
    rows = [
        "| measure | baseline | bar | found |",
        "|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in (*_steps(), *_training(), *_gpu(), *_others())),
    ]
    return "\n".join([INTRODUCTION, *rows, "", _machines()])


def _steps() -> Iterator[tuple[str, str, str, str]]:
    data = _read("supernet_step")
    if data is None:
        return
    base = data["baseline"]
    for size, name in NAMES.items():
        rows = [row for row in data["rows"] if row["size"] == size]
        where = f"{name}, float32, 2 threads, stages 1 / 2 / 3"
        full = [row["full"]["times_faster"] for row in rows]
        yield (
            f"full search step, {where}",
            base,
            "≥ 4 / 4 / 3.5× faster",
            _times(f["public"] for f in full),
        )
        if size == 84:
            bar = "≥ 2.2 / 2.2 / 1.5×"
            yield "the same", f"{base}, channels last, lean", bar, _times(f[LEAN] for f in full)
        weights = [row["weights_only"]["times_faster"]["public"] for row in rows]
        yield f"weights-only step, {name}", base, "≥ 3×", _times(weights)
        if size == 84:
            calls = " / ".join(f"1/{1 / row['share_of_calls']:.1f}" for row in rows)
            yield f"calls of a full step, {name}", base, "≤ 1/5", calls
        memory = " / ".join(f"{row['share_of_memory']:.2f}" for row in rows)
        yield f"peak memory, float32, {name}", base, "≤ 0.6", memory


def _training() -> Iterator[tuple[str, str, str, str]]:
    data = _read("training_step")
    if data is not None:
        base = data["baseline"]
        for size, name, bars in (
            (32, "training step of 20 cells, 32×32, batch 64", ("≥ 3.5×", "≥ 2.3×")),
            (84, "the same, 84×84, batch 16, without the auxiliary tower", ("≥ 3×", "–")),
        ):
            rows = [row for row in data["rows"] if row["size"] == size]
            threads = " / ".join(str(row["threads"]) for row in rows)
            for kind, bar in zip(("public", "public, channels last"), bars, strict=True):
                yield (
                    f"{name}, {threads} threads" if kind == "public" else "the same",
                    base if kind == "public" else f"{base}, channels last",
                    bar,
                    _times(row["times_faster"][kind] for row in rows),
                )
            memory = " / ".join(f"{row['share_of_memory']:.2f}" for row in rows)
            yield "its peak memory", base, "≤ 0.6", memory


def _gpu() -> Iterator[tuple[str, str, str, str]]:
    """Rows that only a GPU can fill; see ``benchmarks/gpu/QUEUE.md``."""
    steps, runs = _read("gpu/steps"), _read("gpu/paper_runs")
    base = "public P-DARTS" if steps is None else steps["baseline"]
    rows = {} if steps is None else {n: r for n, r in steps["done"].items() if "engines" in r}
    where = "full search step on one H200 or H100, batch 96, 84×84, bf16"
    bar = "≥ 6×, within 3× of the bandwidth floor"
    yield "peak memory, bf16", base, "≤ 0.5", _stages(rows, "share_of_memory", MIXED, "")
    found = _stages(rows, "times_faster", PUBLIC, "×")
    floors = _stages(rows, "times_the_floor", None, "× the floor")
    known = any("times_the_floor" in row for row in rows.values())
    yield where, f"{base} in float32, same GPU", bar, f"{found}; {floors}" if known else found
    lean = _stages(rows, "times_faster", LEAN_MIXED, "×")
    yield "the same", f"{base} in bf16, channels last, lean", "≥ 3×", lean
    embedding = {} if steps is None else steps["done"].get("task2vec", {})
    faster = embedding.get("times_faster")
    yield (
        "Task2Vec at equal error, 1,000 images, on the GPU",
        embedding.get("baseline", "public Monte-Carlo code"),
        "≥ 20×",
        NEEDS_GPU if faster is None else f"{faster:.1f}×",
    )
    for name, measure, base, bar in (
        (
            "flowers102",
            "TAS of flowers102 at preset `paper`, one H200 (H100)",
            "4.0 h, two K80",
            "≤ 4 min (5)",
        ),
        ("flowers102-warm", "its warm start", "1.4 h, two K80", "≤ 90 s (115)"),
    ):
        row = None if runs is None or runs["preset"] != "paper" else runs["done"].get(name)
        found = NEEDS_GPU
        if row is not None:
            found = f"{row['search_seconds']:.0f} s on {runs['machine']['device']}"
        yield measure, base, bar, found


def _stages(rows: dict[str, Any], key: str, name: str | None, unit: str) -> str:
    """A figure of stages 1, 2 and 3; open where there is none."""
    found = []
    for stage in ("1", "2", "3"):
        value = rows.get(stage, {}).get(key)
        value = value.get(name) if isinstance(value, dict) else value
        found.append("–" if value is None else f"{value:.2g}" if value < 1 else f"{value:.1f}")
    return NEEDS_GPU if set(found) == {"–"} else " / ".join(found) + unit


def _others() -> Iterator[tuple[str, str, str, str]]:
    embedding, nearest = _read("task2vec"), _read("nearest")
    start, data, demo = _read("start_up"), _read("data_path"), _read("demo_time")
    yield (
        "Task2Vec at equal error, 1,000 images, 2 cores",
        "public Monte-Carlo code",
        "≥ 7×",
        OPEN if embedding is None else _equal_error(embedding),
    )
    yield from _embedding_time()
    if demo is not None:
        faster = demo["times_faster"]
        phases = ", ".join(f"{name} {times:.1f}×" for name, times in faster.items())
        before = f"commit {demo['commit_before']}"
        yield "`wsdarts-hub demo`, one thread", before, "≥ 2× in training", phases
    if nearest is not None:
        faster = nearest["times_faster"]["nearest over three buffers"]
        alone = nearest["times_faster"]["scan over three buffers, 1 thread each"]
        above = nearest["memory_above_the_matrix"]["anonymous_mb_above"]
        yield (
            "nearest among 10,000 × 8,512",
            "chunked numpy with three buffers",
            "≥ 2.5×, ≤ 200 MB above the matrix",
            (
                f"{faster:.1f}× (numpy uses one thread; with one thread each {alone:.1f}×), "
                f"{above:.0f} MB"
            ),
        )
    if start is not None:
        yield (
            "`wsdarts-hub --help`",
            "importing typer and rich's console, panel and table",
            "≤ 1.5×",
            f"{start['times_the_baseline']['help']:.2f}×",
        )
    if data is not None:
        second = data["loading_seconds"]["second"]["median"]
        name, images = data["data"]["name"], data["data"]["images"]
        yield f"loading {images:,} images of {name}, second time", "–", "≤ 1 s", f"{second:.3f} s"


def _embedding_time() -> Iterator[tuple[str, str, str, str]]:
    data = _read("embedding_time")
    if data is None:
        return
    rows = data["done"]
    seconds = [row["seconds"]["after"]["median"] for row in rows.values()]
    alone = [f"{100 * r['share_of_limit']:.0f} %" for r in rows.values() if r["threads"] == 1]
    yield (
        f"embedding of 500 photographs at 64×64, {' / '.join(rows)}",
        f"commit {data['commit_before']}",
        "≥ 2×",
        (
            f"{_times(row['times_faster'] for row in rows.values())} "
            f"({' / '.join(f'{each:.1f}' for each in seconds)} s; on one thread "
            f"{' / '.join(alone)} of the arithmetic limit)"
        ),
    )


def _equal_error(data: Any) -> str:
    """How much faster at equal error, how that is known, and how it is at the usual draws."""
    equal, usual = data["equal_error"], data["at_the_default_draws"]
    alone = usual["times_faster"]["public"]["with_preparation"]
    return (
        f"{data['times_faster']:.1f}× ({_threads(data['machine'])}; by the law 1/draws, "
        f"{equal['times_as_many']:.0f} times beyond {equal['by_the_law_from']:,} measured draws; "
        f"at its default {usual['draws']:,} draws {alone:.1f}× with "
        f"{usual['times_our_distance']:.1f} times our error)"
    )


def _threads(machine: Any) -> str:
    return "1 thread" if machine["threads"] == 1 else f"{machine['threads']} threads"


def _times(ratios: Any) -> str:
    return " / ".join(f"{ratio:.1f}" for ratio in ratios) + "×"


def _machines() -> str:
    names = (
        "supernet_step",
        "training_step",
        "task2vec",
        "embedding_time",
        "nearest",
        "start_up",
        "data_path",
        "demo_time",
    )
    names += ("gpu/steps", "gpu/paper_runs")
    lines = []
    for data in map(_read, names):
        if data is not None:
            about = data["machine"]
            lines.append(
                f"- `{data['command']}`: {_device(about)}{about['cpu']}, {about['cores']} cores, "
                f"{_threads(about)}, torch {about['torch']}, {about['date']}."
                f" {data.get('note', '')}".rstrip()
            )
    return "## Commands and machines\n\n" + "\n".join(lines) + "\n"


def _device(about: dict[str, Any]) -> str:
    return f"{about['device']}, " if "device" in about else ""


def _read(name: str) -> Any:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_bytes()) if path.exists() else None


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
