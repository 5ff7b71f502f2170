"""From tasks to embeddings: what may change them and what must not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from wsdarts_registry.embedding.distance import symmetric_distance
from wsdarts_registry.embedding.embedding import TaskEmbedding
from wsdarts_registry.errors import SettingsError, TaskError
from wsdarts_registry.stores.opening import open_registry
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.task2vec import estimation
from wsdarts_sdk.task2vec.embedding import Sample, balanced_order, embed, embedding_space
from wsdarts_sdk.task2vec.estimation import ProbeWithHead, batch_size
from wsdarts_sdk.task2vec.fisher import FisherSettings, filter_fisher, rademacher_signs
from wsdarts_sdk.task2vec.loading import SHIPPED, load_probe
from wsdarts_sdk.task2vec.probe import Probe, fit_head
from wsdarts_sdk.task2vec.variational import VariationalSettings

from .conftest import gratings

NAMES = ("a", "b", "c", "d")


def task(
    images: NDArray[np.uint8], labels: NDArray[np.int64], names: tuple[str, ...] = NAMES
) -> ImageTask:
    return ImageTask.load((images, labels, names), name="gratings")


def distance(one: TaskEmbedding, other: TaskEmbedding) -> float:
    return float(symmetric_distance(one.values, other.values[None])[0])


@pytest.fixture
def stripes() -> ImageTask:
    return task(*gratings(4, 12))


def test_an_embedding_says_what_it_is(stripes: ImageTask, tiny_probe: Probe) -> None:
    found = embed(stripes, tiny_probe)
    assert found.values.shape == (tiny_probe.filters,)
    assert found.task_digest == stripes.digest
    assert (found.task_name, found.images, found.classes) == ("gratings", 32, 4)
    assert found.space == embedding_space(tiny_probe)
    assert found.space.probe_digest == tiny_probe.digest
    assert dict(found.space.settings) == {
        "images": 500,
        "head_l2": 10,
        "std_floor": 0.1,
        "size": 32,
        "exact_classes": 10,
        "sketches": 4,
        "seed": 0,
    }
    assert (found.space.estimator, found.space.version) == ("fisher", 1)
    assert found.relative_error is not None
    assert 0 < found.relative_error < 0.5


def test_distance_to_itself_is_zero_and_scale_does_not_matter(
    stripes: ImageTask, tiny_probe: Probe
) -> None:
    one = embed(stripes, tiny_probe)
    other = embed(task(*gratings(2, 12, seed=1)), tiny_probe)
    assert distance(one, one) == 0
    between = distance(one, other)
    assert between > 0.01
    scaled = [replace(e, values=7 * e.values) for e in (one, other)]
    np.testing.assert_allclose(distance(*scaled), between, rtol=1e-12)


def test_image_order_and_label_names_do_not_matter(
    stripes: ImageTask, tiny_probe: Probe, tmp_path: Path
) -> None:
    images, labels = gratings(4, 12)
    order = np.random.default_rng(0).permutation(len(labels))
    numbers = np.array([2, 0, 3, 1])
    other = task(images[order], numbers[labels[order]], ("w", "x", "y", "z"))
    assert not np.array_equal(other.image_digests, stripes.image_digests)
    one, two = embed(stripes, tiny_probe), embed(other, tiny_probe)
    assert np.array_equal(one.values, two.values)
    # Nor in the embedding itself, when the cache (by task digest) does not help.
    fresh = embed(other, tiny_probe, cache_dir=tmp_path)
    assert np.array_equal(one.values, fresh.values)


def test_validation_images_do_not_matter(tiny_probe: Probe) -> None:
    images, labels = gratings(4, 12)
    before = task(images, labels)
    train = set(before.image_digests[before.train_indices].tolist())
    validation = before.images.rows[before.indices(Part.VALIDATION)]
    changed = 0
    for row in validation.tolist():
        # Another image may fall into the train part; draw until it does not.
        for seed in range(20):
            candidate = images.copy()
            candidate[row] = np.random.default_rng([row, seed]).integers(0, 256, (16, 16, 3))
            after = task(candidate, labels)
            if set(after.image_digests[after.train_indices].tolist()) == train:
                images, changed = candidate, changed + 1
                break
    assert changed == len(validation) == 16
    after = task(images, labels)
    assert after.digest != before.digest
    one, two = embed(before, tiny_probe), embed(after, tiny_probe)
    assert np.array_equal(one.values, two.values)


def test_train_images_do_matter(stripes: ImageTask, tiny_probe: Probe) -> None:
    images, labels = gratings(4, 12)
    row = int(stripes.images.rows[stripes.train_indices[0]])
    images[row] = 255 - images[row]
    one, two = embed(stripes, tiny_probe), embed(task(images, labels), tiny_probe)
    assert distance(one, two) > 0


def stages(seen: list[str]) -> set[str]:
    """What is done, without what is said about it."""
    return {what.partition(",")[0] for what in seen}


def test_the_progress_tells_the_preview_and_the_error(
    stripes: ImageTask, tiny_probe: Probe, tmp_path: Path
) -> None:
    seen: list[tuple[str, int]] = []
    previews: list[TaskEmbedding] = []

    def preview(so_far: TaskEmbedding) -> str:
        previews.append(so_far)
        return f"{so_far.images} seen"

    found = embed(
        stripes,
        tiny_probe,
        cache_dir=tmp_path,
        preview=preview,
        progress=lambda what, done, _: seen.append((what, done)),
    )
    fisher = [each for each in seen if each[0].startswith("Fisher")]
    first, (what, done) = previews[0], fisher[0]
    assert first.images == done
    assert first.space == found.space
    assert first.relative_error is not None
    assert what.split(", ")[1:] == [f"{done} seen", f"error {100 * first.relative_error:.0f} %"]


def test_finished_embeddings_are_kept(
    stripes: ImageTask, tiny_probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    one = embed(stripes, tiny_probe, progress=lambda what, done, total: seen.append(what))
    assert {"probe's features", "Fisher information"} <= stages(seen)
    seen.clear()
    again = embed(stripes, tiny_probe, progress=lambda what, done, total: seen.append(what))
    assert np.array_equal(again.values, one.values)
    assert again.relative_error == one.relative_error
    assert seen == []
    other = embed(
        stripes,
        tiny_probe,
        FisherSettings(head_l2=1),
        progress=lambda what, done, total: seen.append(what),
    )
    assert other.space != one.space
    assert "Fisher information" in stages(seen)
    assert "probe's features" not in stages(seen)  # they are kept, too


def test_a_damaged_cache_is_made_anew(
    stripes: ImageTask, tiny_probe: Probe, tmp_path: Path
) -> None:
    one = embed(stripes, tiny_probe, cache_dir=tmp_path)
    files = sorted(tmp_path.rglob("*/*.safetensors"))
    assert {file.relative_to(tmp_path).parts[0] for file in files} == {"embeddings", "features"}
    for file in files:
        file.write_bytes(file.read_bytes()[:-1])
    again = embed(stripes, tiny_probe, cache_dir=tmp_path)
    assert np.array_equal(again.values, one.values)


def test_a_cache_that_cannot_be_written(
    stripes: ImageTask, tiny_probe: Probe, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("in the way, as after it was unmounted")
    with pytest.raises(TaskError) as caught:
        embed(stripes, tiny_probe, cache_dir=tmp_path / "cache")
    assert "WSDARTS_HUB_CACHE" in caught.value.hint


def test_fewer_images_than_classes(stripes: ImageTask, tiny_probe: Probe) -> None:
    found = embed(stripes, tiny_probe, FisherSettings(images=3))
    assert (found.images, found.classes) == (3, 3)
    with pytest.raises(SettingsError, match="one class only"):
        embed(stripes, tiny_probe, FisherSettings(images=1))


def test_sketches_are_near_the_exact_expectation(stripes: ImageTask, tiny_probe: Probe) -> None:
    exact = embed(stripes, tiny_probe)
    few = embed(stripes, tiny_probe, FisherSettings(exact_classes=3, sketches=2))
    many = embed(stripes, tiny_probe, FisherSettings(exact_classes=3, sketches=64))
    other = embed(stripes, tiny_probe, FisherSettings(exact_classes=3, sketches=2, seed=1))
    assert 0 < distance(exact, many) < distance(exact, few) < 0.05
    assert distance(few, other) > 0


def test_another_input_size_is_another_space(stripes: ImageTask, tiny_probe: Probe) -> None:
    small = embed(stripes, tiny_probe, FisherSettings(size=24))
    assert dict(small.space.settings)["size"] == 24
    assert small.space != embedding_space(tiny_probe)
    assert embedding_space(tiny_probe, FisherSettings(size=32)) == embedding_space(tiny_probe)


def test_variational_embedding(stripes: ImageTask, tiny_probe: Probe) -> None:
    settings = VariationalSettings(steps=20, batch=8)
    found = embed(stripes, tiny_probe, settings)
    assert found.space.estimator == "variational"
    assert dict(found.space.settings)["beta"] == settings.beta
    assert found.values.shape == (tiny_probe.filters,)
    assert (found.values > 0).all()
    assert found.standard_error is None
    fisher = embed(stripes, tiny_probe)
    assert found.space != fisher.space


def test_a_grating_is_nearer_to_gratings_than_to_blots(tiny_probe: Probe) -> None:
    one = embed(task(*gratings(4, 12)), tiny_probe)
    two = embed(task(*gratings(4, 12, seed=1)), tiny_probe)
    rng = np.random.default_rng(0)
    labels = np.arange(48) % 4
    blots = (rng.integers(0, 2, (48, 4, 4, 3)) * 200).astype(np.uint8)
    blots = (
        blots.repeat(4, axis=1).repeat(4, axis=2)
        + (labels * 10).astype(np.uint8)[:, None, None, None]
    )
    other = embed(task(blots, labels), tiny_probe)
    assert distance(one, two) < distance(one, other)
    assert distance(one, two) < distance(two, other)


class Clock:
    """A clock that goes on by a second whenever it is looked at."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images by fours, and a clock that goes on by itself."""
    monkeypatch.setattr(estimation, "batch_size", lambda size, device: 4)
    monkeypatch.setattr(estimation.time, "perf_counter", Clock())


@pytest.mark.usefixtures("small_batches")
def test_a_budget_leaves_a_balanced_part(
    stripes: ImageTask, tiny_probe: Probe, tmp_path: Path
) -> None:
    part = embed(stripes, tiny_probe, budget="30s", cache_dir=tmp_path)
    assert 4 <= part.images < 32
    assert part.images % 4 == 0
    assert part.classes == 4
    assert part.standard_error is not None
    assert part.space == embedding_space(tiny_probe)
    # It is not kept as if it were all of it.
    whole = embed(stripes, tiny_probe, cache_dir=tmp_path)
    assert whole.images == 32
    assert whole.relative_error is not None
    assert part.relative_error is not None
    assert whole.relative_error < part.relative_error
    assert 0 < distance(part, whole) < 0.3
    # But what is finished is returned, whatever the budget.
    again = embed(stripes, tiny_probe, budget="1ms", cache_dir=tmp_path)
    assert again.images == 32
    assert np.array_equal(again.values, whole.values)


@pytest.mark.usefixtures("small_batches")
def test_with_hardly_a_budget_each_class_has_an_image(
    stripes: ImageTask, tiny_probe: Probe, tmp_path: Path
) -> None:
    seen: list[tuple[str, int, int]] = []
    part = embed(
        stripes, tiny_probe, budget="1ms", cache_dir=tmp_path, progress=lambda *a: seen.append(a)
    )
    assert (part.images, part.classes) == (4, 4)
    assert [s for s in seen if "features" in s[0]] == [("probe's features", 4, 32)]
    assert not list(tmp_path.rglob("*/*.safetensors"))  # neither features nor embedding
    enough = embed(stripes, tiny_probe, budget="1h", cache_dir=tmp_path)
    assert enough.images == 32
    assert len(list(tmp_path.rglob("*/*.safetensors"))) == 2


@pytest.mark.usefixtures("small_batches")
def test_a_part_is_the_mean_over_its_images_with_the_head_of_all(
    stripes: ImageTask, tiny_probe: Probe, tmp_path: Path
) -> None:
    sketched = FisherSettings(exact_classes=2)
    embed(stripes, tiny_probe, FisherSettings(head_l2=1), cache_dir=tmp_path)  # keeps features
    part = embed(stripes, tiny_probe, sketched, budget="8s", cache_dir=tmp_path)
    assert part.images < 32
    sample = Sample.of(stripes, 500)
    pixels, labels = sample.pixels(stripes, 32, None), torch.from_numpy(sample.labels)
    head = fit_head(tiny_probe.features(pixels.float()), labels, 10.0)
    first = torch.from_numpy(balanced_order(sample.labels)[: part.images])
    expected = filter_fisher(
        ProbeWithHead(tiny_probe, head), pixels[first], signs=rademacher_signs(32, 4, 4, 0)[first]
    )
    np.testing.assert_allclose(part.values, expected, rtol=1e-4)


def test_a_target_error_stops_at_it(
    tiny_probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimation, "batch_size", lambda size, device: 4)
    stripes = task(*gratings(4, 36))
    whole = embed(stripes, tiny_probe, cache_dir=tmp_path / "whole")
    assert whole.images == 96
    assert whole.relative_error is not None
    part = embed(stripes, tiny_probe, target_error=1.4 * whole.relative_error, cache_dir=tmp_path)
    assert part.relative_error is not None
    assert part.relative_error <= 1.4 * whole.relative_error
    assert 32 <= part.images < 96  # an error of 1/√2 takes twice the images
    # With few images the error itself is uncertain; and what cannot be had takes all.
    loose = embed(stripes, tiny_probe, target_error=0.99, cache_dir=tmp_path)
    assert loose.images == 32
    strict = embed(stripes, tiny_probe, target_error=1e-6, cache_dir=tmp_path)
    assert strict.images == 96


def test_limits_do_not_go_with_the_variational_estimator(
    stripes: ImageTask, tiny_probe: Probe
) -> None:
    with pytest.raises(SettingsError, match=r"budget .*variational"):
        embed(stripes, tiny_probe, VariationalSettings(), budget="3s")
    with pytest.raises(SettingsError, match=r"budget .*'3 days'"):
        embed(stripes, tiny_probe, budget="3 days")


def test_settings_that_cannot_be() -> None:
    with pytest.raises(SettingsError, match="images is 0"):
        FisherSettings(images=0)
    with pytest.raises(SettingsError, match="head_l2 is nan"):
        FisherSettings(head_l2=float("nan"))
    with pytest.raises(SettingsError, match=r"size is 5; .* 8"):
        FisherSettings(size=5)
    with pytest.raises(SettingsError, match="seed is -1"):
        FisherSettings(seed=-1)


def test_the_batch_fits_into_memory() -> None:
    assert batch_size(64) == 64
    assert batch_size(128) == 16
    assert batch_size(224) == 5
    assert batch_size(4000) == 1
    assert batch_size(224, "cuda") == 20


# By the code that made the first embeddings, run in float64: filters 0, 100, 500, 1000, 1400, the
# sum and the norm. In float32 it gave 7e-5 more in filter 0: a sum that is rounded to the other
# side of a ReLU counts there or does not.
EXACT_DIGITS = (
    *(0.001662974479, 0.001933666877, 0.0001343111508, 2.868301635e-05, 0.0007076807669),
    *(4.084321459, 0.4315790227),
)
SKETCHED_DIGITS = (
    *(0.001851418288, 0.0019787848, 0.0001670193742, 2.60477118e-05, 0.0005303588114),
    *(4.456706054, 0.4795468395),
)


class TestShippedProbe:
    """The probe that comes with the package."""

    def test_it_is_small_and_its_card_names_its_digest(self) -> None:
        assert SHIPPED.stat().st_size < 4_000_000
        assert load_probe().digest in (SHIPPED.parent / "PROBE.md").read_text()
        assert load_probe("shipped").digest == load_probe(SHIPPED).digest

    def test_it_embeds_a_small_task_and_tells_tasks_apart(self) -> None:
        probe = load_probe()
        one = embed(task(*gratings(4, 12)), probe)
        two = embed(task(*gratings(4, 12, seed=1)), probe)
        other = embed(task(*gratings(2, 20, seed=2)), probe)
        assert one.values.shape == (probe.filters,)
        assert distance(one, two) < distance(one, other)

    @pytest.mark.parametrize("kernels", ["compiled", "portable"])
    @pytest.mark.parametrize(
        ("exact_classes", "expected"), [(10, EXACT_DIGITS), (2, SKETCHED_DIGITS)]
    )
    def test_values_are_those_of_the_first_version(
        self,
        digits_task: ImageTask,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        exact_classes: int,
        expected: tuple[float, ...],
        kernels: str,
    ) -> None:
        # The zoo and its threshold were made by it; a change of these needs a new version number.
        monkeypatch.setenv("WSDARTS_HUB_KERNELS", kernels)
        settings = FisherSettings(exact_classes=exact_classes)
        exact = load_probe()
        exact.model.double()
        found = embed(digits_task, exact, settings, cache_dir=tmp_path)
        shown = (*found.values[[0, 100, 500, 1000, 1400]], found.values.sum())
        shown += (np.linalg.norm(found.values),)
        np.testing.assert_allclose(shown, expected, rtol=1e-7)  # embeddings are kept in float32
        rounded = embed(digits_task, load_probe(), settings)
        np.testing.assert_allclose(rounded.values, found.values, rtol=5e-4)
        assert distance(rounded, found) < 1e-9


@pytest.mark.slow
def test_the_zoo_is_reproduced(shared_data: Path) -> None:
    textures = ImageTask.load(shared_data / "dtd_10")
    probe = load_probe()
    store = open_registry()
    zoo = store.embedding(store.entry("dtd-10", 1), embedding_space(probe))
    assert zoo is not None
    found = embed(textures, probe)
    assert found.task_digest == zoo.task_digest
    assert found.images == zoo.images
    # Not nearer: a number that is rounded to the other side of a ReLU counts or does not.
    np.testing.assert_allclose(found.values, zoo.values, rtol=1e-4)
    assert distance(found, zoo) < 1e-10


def test_mobilenet_on_real_textures(shared_probe: Path, shared_data: Path) -> None:
    probe = load_probe(f"{shared_probe}?pad_type=same&size=224&mean=0.5&std=0.5")
    textures = ImageTask.load(shared_data / "dtd_10")
    found = embed(textures, probe, FisherSettings(images=20, size=64, exact_classes=2))
    assert found.values.shape == (17_056,)
    assert (found.images, found.classes) == (20, 10)
    assert (found.values > 0).mean() > 0.9
