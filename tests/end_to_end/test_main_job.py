"""The main job on real images: search, push, embed, nearest, warm start, train."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits

from wsdarts_hub import (
    TINY,
    Classifier,
    Genotype,
    ImageTask,
    Preset,
    WarmStart,
    nearest,
    open_registry,
    push,
    search,
    warm_start,
)
from wsdarts_registry.artifact.checked_files import read_manifest
from wsdarts_registry.errors import (
    EmbeddingError,
    RegistryWarning,
    RunError,
    SettingsError,
    WsdartsError,
)
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.models.network import final_sizes
from wsdarts_sdk.search.settings import settings_json
from wsdarts_sdk.supernet import kernel_choice

# The preset's own stages with a few steps: every part runs, nothing is learned.
_STAGES = tuple(replace(stage, epochs=2, trained_epochs=1) for stage in TINY.search.stages)
QUICK = Preset(
    name="quick",
    search=replace(TINY.search, stages=_STAGES, steps_per_epoch=2, image_size=16, batch_size=8),
    training=replace(TINY.training, epochs=2, steps_per_epoch=3, image_size=16),
    selection=replace(TINY.selection, epochs=1, steps_per_epoch=2, image_size=16),
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for this module: the same few tasks are embedded again and again."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _shared_cache(cache: Path, _own_cache: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSDARTS_HUB_CACHE", str(cache))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits 0 to 4 as a folder of class folders of PNG files."""
    root = tmp_path_factory.mktemp("digits")
    digits = load_digits(n_class=5)
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        if number >= 200:
            break
        path = root / f"digit_{label}" / f"{number:04}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray((pixels * (255 / 16)).astype(np.uint8)).save(path)
    return root


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A registry with a λ̂ of textures and a λ_meta of textures and stripes."""
    root = tmp_path_factory.mktemp("registry")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WSDARTS_HUB_CACHE", str(cache))
        textures, stripes = (_pattern(seed) for seed in (0, 1))
        textures.images.source.dataset = "acme/textures"  # as if it had been read from the Hub
        single = search(textures, out=root / "single", preset=QUICK)
        meta = search(textures, stripes, out=root / "meta", preset=QUICK)
    push(single.path, "textures", registry=root / "zoo")
    push(meta.path, "patterns", registry=root / "zoo")
    return root / "zoo"


@pytest.fixture(scope="module")
def warm(
    folder: Path, registry: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> WarmStart:
    """Start warm as whoever gives nothing but images does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WSDARTS_HUB_CACHE", str(cache))
        out = tmp_path_factory.mktemp("warm") / "run"
        return warm_start(folder, registry=registry, preset=QUICK, out=out)


def _pattern(seed: int) -> ImageTask:
    """Noise and gratings in three classes: a task that ships with nothing and needs nothing."""
    draws = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:16, 0:16]
    images, labels = [], []
    for label in range(3):
        for _ in range(20):
            phase = draws.uniform(0, 6)
            wave = np.sin((rows * label + columns * (2 - label)) * (0.5 + seed) + phase)
            noisy = 127 + 80 * wave + draws.normal(0, 20, wave.shape)
            images.append(np.clip(noisy, 0, 255).astype(np.uint8))
            labels.append(label)
    return ImageTask.load((np.stack(images), np.array(labels)), name=f"pattern-{seed}")


def test_the_five_lines_of_the_readme(folder: Path, registry: Path, tmp_path: Path) -> None:
    result = warm_start(folder, registry=registry, preset=QUICK, out=tmp_path / "run")
    assert result.source in {"textures@1", "patterns@1"}
    assert [n.reference for n in result.neighbours]
    saved = result.genotype.save(tmp_path / "cell.json")
    assert Genotype.load(saved) == result.genotype

    trained = result.train(preset=QUICK)
    pushed = push(result.path, "digits", registry=tmp_path / "zoo").manifest
    assert pushed.metrics["classifier_accuracy"] == trained.accuracy
    assert pushed.metrics["classifier_epochs"] == QUICK.training.epochs
    assert pushed.config["classifier"] == settings_json(QUICK.training)
    model = trained.model
    assert isinstance(model, torch.nn.Module)
    images = torch.rand(4, 3, 16, 16)
    assert model(images).shape == (4, 5)
    assert torch.equal(Classifier.load(trained.model_file)(images), model(images))
    assert 0 <= trained.accuracy <= 1
    assert trained.result.images == len(result.task.indices(Part.VALIDATION))


def test_the_dataset_of_a_task_stands_in_the_artifact_and_on_its_card(registry: Path) -> None:
    zoo = open_registry(registry)
    single, meta = (zoo.pull(name) for name in ("textures", "patterns"))
    assert [task.dataset for task in single.manifest.tasks] == ["acme/textures"]
    assert [task.dataset for task in meta.manifest.tasks] == ["acme/textures", None]
    assert "](https://huggingface.co/datasets/acme/textures)" in str(single.card)


def test_a_warm_start_leaves_a_whole_run(warm: WarmStart) -> None:
    names = {path.name for path in warm.path.iterdir()}
    assert {
        "config.json",
        "environment.json",
        "decision.json",
        "embedding.safetensors",
        "search.metrics.jsonl",
        "search.checkpoint.safetensors",
        "genotype.json",
        "cells.svg",
        "artifact",
        "result.json",
        "costs.json",
        "report.html",
    } <= names
    page = warm.report.read_text(encoding="utf-8")
    assert warm.source in page
    for outside in ('src="http', "src='http", 'href="http', "url(http", "@import"):
        assert outside not in page


def test_a_warm_start_can_be_published_with_its_lineage(
    folder: Path, registry: Path, tmp_path: Path
) -> None:
    result = warm_start(
        folder,
        registry=registry,
        source="textures",
        mode="trained",
        preset=QUICK,
        out=tmp_path / "r",
    )
    entry = push(result.path, "digits", registry=tmp_path / "zoo")
    (parent,) = entry.manifest.lineage.parents
    assert parent.reference == "textures@1"
    assert parent.digest == open_registry(registry).resolve("textures").digest
    again = push(result.path, "digits", registry=tmp_path / "zoo")
    assert again.version == entry.version == 1


@pytest.mark.parametrize(
    ("mode", "source", "epochs_with_alpha"),
    [
        ("topology", "textures@1", [False, True]),
        ("trained", "textures@1", [True]),
        ("meta", "patterns@1", [False, True]),
    ],
)
def test_every_mode_starts_from_its_artifact(
    mode: Any,
    source: str,
    epochs_with_alpha: list[bool],
    folder: Path,
    registry: Path,
    tmp_path: Path,
) -> None:
    result = warm_start(folder, registry=registry, mode=mode, preset=QUICK, out=tmp_path / "run")
    assert (result.mode, result.source) == (mode, source)
    masks = open_registry(registry).pull(source).masks
    assert result.result.stage_masks == (masks,)
    assert masks.widest == 3
    rows = result.result.rows
    assert [row["alpha_loss"] is not None for row in rows] == epochs_with_alpha


def test_compiling_is_said_before_weights_are_run(
    folder: Path, registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    real = kernel_choice.compiled_library

    def library() -> Any:
        heard.append("compiled")
        return real()

    monkeypatch.setattr(kernel_choice, "must_compile", lambda _: "compiled" not in heard)
    monkeypatch.setattr(kernel_choice, "compiled_library", library)
    warm_start(
        folder,
        registry=registry,
        mode="trained",
        preset=QUICK,
        out=tmp_path / "run",
        progress=lambda what, done, total: heard.append(what),
    )
    first = heard.index("compiled")
    assert heard[first - 1].startswith("compiling")
    assert sum(what.startswith("compiling") for what in heard) == 1


def test_union_joins_the_masks_of_the_nearest(folder: Path, registry: Path, tmp_path: Path) -> None:
    other = search(_pattern(2), out=tmp_path / "other", preset=QUICK)
    store = open_registry(tmp_path / "zoo", create=True)
    for name, run in (("a", registry.parent / "single"), ("b", other.path)):
        push(run, name, registry=store)
    result = warm_start(
        folder, registry=store, mode="union", k=2, preset=QUICK, out=tmp_path / "run"
    )
    assert set(result.source.split(" + ")) == {"a@1", "b@1"}
    expected = store.pull("a").masks.union(store.pull("b").masks)
    assert result.result.stage_masks == (expected,)
    assert expected.widest > 3
    # What was written about the run says so, too: λ is wider than the preset's last stage.
    (stage,) = read_manifest(result.artifact)[0].config["stages"]  # type: ignore[misc]
    assert stage["operations"] == expected.widest  # type: ignore[index, call-overload]
    assert f"at most {expected.widest} operations an edge" in result.report.read_text()


def test_an_artifact_says_how_large_the_final_network_is(registry: Path) -> None:
    artifact = open_registry(registry).pull("textures")
    sizes = final_sizes(artifact.genotype)
    assert sizes.items() <= artifact.manifest.metrics.items()
    assert f"| {sizes['final_multiply_adds_224']:,} |" in (artifact.card or "")


def test_another_probe_than_the_registry_has(folder: Path, registry: Path, tmp_path: Path) -> None:
    weights = tmp_path / "test_resnet.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=4).state_dict(), weights)
    arguments: dict[str, Any] = {
        "registry": registry,
        "preset": QUICK,
        "probe": f"{weights}?size=32&mean=0.5&std=0.5",
    }
    with pytest.raises(EmbeddingError, match="test_resnet"):
        warm_start(folder, mode="topology", out=tmp_path / "a", **arguments)
    cold = warm_start(folder, mode="cold", out=tmp_path / "b", **arguments)
    assert (cold.source, cold.neighbours) == ("cold", ())
    named = warm_start(folder, source="textures", out=tmp_path / "c", **arguments)
    assert named.source == "textures@1"
    auto = warm_start(folder, out=tmp_path / "d", **arguments)
    assert auto.source == "patterns@1"
    assert "by this probe" in auto.why


def test_a_registry_that_cannot_be_ranked_is_not_taken_for_one_without_neighbours(
    folder: Path, registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object) -> None:
        raise EmbeddingError("the embeddings have other widths")

    monkeypatch.setattr("wsdarts_sdk.pipelines.starting_points.rank_registry", damaged)
    with pytest.raises(EmbeddingError, match="other widths"):
        warm_start(folder, registry=registry, preset=QUICK, out=tmp_path / "run")


def test_damaged_versions_stop_no_warm_start(folder: Path, registry: Path, tmp_path: Path) -> None:
    zoo = Path(shutil.copytree(registry, tmp_path / "zoo"))
    for embedding in (zoo / "artifacts" / "patterns" / "v1" / "embeddings").iterdir():
        embedding.write_bytes(embedding.read_bytes()[:-1])
    (zoo / "artifacts" / "stripes" / "v1").mkdir(parents=True)
    with pytest.warns(RegistryWarning) as said:
        result = warm_start(
            folder, registry=zoo, mode="topology", preset=QUICK, out=tmp_path / "run"
        )
    warned = " ".join(str(warning.message) for warning in said)
    assert "patterns@1 is damaged" in warned
    assert "stripes@1 is damaged" in warned
    assert result.source == "textures@1"
    assert [neighbour.reference for neighbour in result.neighbours] == ["textures@1"]


def test_training_twice_takes_two_directories(warm: WarmStart) -> None:
    first, second = warm.train(preset=QUICK), warm.train(preset=QUICK)
    assert first.path != second.path
    assert first.accuracy == second.accuracy
    assert warm.train(preset=QUICK, resume=True).path == second.path


def test_cold_is_the_whole_search(folder: Path, registry: Path, tmp_path: Path) -> None:
    result = warm_start(folder, registry=registry, mode="cold", preset=QUICK, out=tmp_path / "run")
    assert (result.source, result.mode) == ("cold", "cold")
    assert [masks.widest for masks in result.result.stage_masks] == [5, 3, 3]


def test_trained_refuses_weights_that_do_not_fit(
    folder: Path, registry: Path, tmp_path: Path
) -> None:
    wider = replace(QUICK, search=replace(QUICK.search, channels=6))
    with pytest.raises(SettingsError, match="with 6 channels"):
        warm_start(folder, registry=registry, mode="trained", preset=wider, out=tmp_path / "run")
    result = warm_start(
        folder, registry=registry, source="textures", preset=wider, out=tmp_path / "other"
    )
    assert result.mode == "topology"
    assert "masks alone" in result.why


def test_a_finished_run_resumes_to_the_same(warm: WarmStart, folder: Path, registry: Path) -> None:
    with pytest.raises(RunError, match="--resume"):
        warm_start(folder, registry=registry, preset=QUICK, out=warm.path)
    again = warm_start(folder, registry=registry, preset=QUICK, out=warm.path, resume=True)
    assert again.genotype == warm.genotype
    assert again.seconds == warm.seconds


def test_a_resumed_run_keeps_its_decision(folder: Path, registry: Path, tmp_path: Path) -> None:
    # A registry of its own: other tests ask who is nearest in the shared one.
    zoo = Path(shutil.copytree(registry, tmp_path / "zoo"))
    arguments: dict[str, Any] = {"registry": zoo, "mode": "topology", "preset": QUICK}
    first = warm_start(folder, out=tmp_path / "run", **arguments)
    (tmp_path / "run" / "search.checkpoint.safetensors").unlink()
    push(registry.parent / "single", "aaa-newcomer", registry=zoo)
    again = warm_start(folder, out=tmp_path / "run", resume=True, **arguments)
    assert again.source == first.source


@pytest.mark.slow
def test_the_sweep_keeps_the_best_and_resumes(folder: Path, registry: Path, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {
        "registry": registry,
        "preset": QUICK,
        "out": tmp_path / "run",
        "sweep_skip_dropout": True,
    }
    result = warm_start(folder, **arguments)
    assert [t.rate for t in sorted(result.trials, key=lambda t: t.rate)] == [
        round(0.1 * step, 1) for step in range(10)
    ]
    best = result.trials[0]
    assert best.accuracy == max(trial.accuracy for trial in result.trials)
    assert result.genotype == best.genotype
    again = warm_start(folder, resume=True, **arguments)
    assert again.trials == result.trials
    assert (tmp_path / "run" / "sweep.db").exists()


def test_nearest_names_single_tasks_and_meta(folder: Path, registry: Path) -> None:
    ranking = nearest(folder, registry=registry)
    assert {"textures@1", "patterns@1"} <= {n.reference for n in ranking.neighbours}
    distances = [n.distance for n in ranking.neighbours]
    assert distances == sorted(distances)
    assert ranking.near is False  # by the package's threshold: this registry has none of its own
    assert "beyond the threshold of 0.3471" in ranking.why


def test_the_ranking_is_told_while_the_embedding_is_estimated(
    folder: Path, registry: Path, tmp_path: Path
) -> None:
    # Other images than the other tests', whose embeddings are kept.
    fewer = tmp_path / "fewer"
    shutil.copytree(folder, fewer)
    told: list[str] = []
    pictures = sorted(fewer.rglob("*.png"))
    pictures[0].unlink()
    ranking = nearest(fewer, registry=registry, progress=lambda what, *_: told.append(what))
    (first, *_) = [each for each in told if each.startswith("Fisher")]
    nearest_two = [n.reference for n in ranking.neighbours[:2]]
    assert [word for word in first.split() if "@" in word] == nearest_two
    told.clear()
    pictures[1].unlink()
    warm_start(
        fewer,
        registry=registry,
        preset=QUICK,
        out=tmp_path / "run",
        progress=lambda what, *_: told.append(what),
    )
    assert any(each.startswith("Fisher") and nearest_two[0] in each for each in told)


def test_bad_input_is_one_line(tmp_path: Path, registry: Path) -> None:
    for data in (tmp_path / "missing", tmp_path, "hf:", "", "torchvision:nothing", 7):
        with pytest.raises(WsdartsError) as caught:
            warm_start(data, registry=registry, preset=QUICK, out=tmp_path / "run")
        assert "\n" not in str(caught.value)


def _some(task: ImageTask) -> ImageTask:
    """Twelve images of each of the first ten classes."""
    chosen = [np.flatnonzero(task.labels == label)[:12] for label in range(10)]
    return task.subset(np.concatenate(chosen))


@pytest.mark.slow
def test_meta_over_three_real_sets_then_a_fourth(shared_data: Path, tmp_path: Path) -> None:
    tasks = [
        _some(ImageTask.load(shared_data / name))
        for name in ("dtd_10", "bird_groups.parquet", "cifar10_1000.parquet")
    ]
    found = search(*tasks, out=tmp_path / "meta", preset=QUICK)
    entry = push(found.path, "meta", registry=tmp_path / "zoo")
    assert entry.manifest.kind == "meta-transfer"
    assert len(entry.manifest.tasks) == 3
    fourth = _some(ImageTask.load(shared_data / "aircraft_edges.parquet"))
    result = warm_start(fourth, registry=tmp_path / "zoo", preset=QUICK, out=tmp_path / "warm")
    assert (result.mode, result.source) == ("meta", "meta@1")
    assert result.result.stage_masks == (found.masks,)
