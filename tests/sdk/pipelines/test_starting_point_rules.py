"""The rules by which a warm start chooses its start, each with what a wrong rule would choose."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.registry.factories import make_artifact
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.embedding.ranking import Neighbour, Ranking
from wsdarts_registry.errors import RegistryError, SettingsError
from wsdarts_registry.stores.records import Entry
from wsdarts_sdk.pipelines.starting_point_rules import Choice, Decision, Option, decide
from wsdarts_sdk.presets import TINY
from wsdarts_sdk.search.settings import SearchSettings

# What the artifacts of the factories have: 3 cells, 4 channels.
SETTINGS = replace(
    TINY.search,
    channels=4,
    stages=(*TINY.search.stages[:2], replace(TINY.search.stages[2], cells=3)),
)
WIDER = replace(SETTINGS, channels=8)
WHY = "flowers@1 is at 0.2"


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Option]:
    """A λ_meta that is nearest of all, two λ̂, and a bare λ that is farthest."""
    artifacts: dict[str, dict[str, Any]] = {
        "meta": {"tasks": ("flowers", "birds")},
        "flowers": {"tasks": ("flowers",)},
        "birds": {"tasks": ("birds",)},
        "bare": {"tasks": ("planes",), "weights": False},
    }
    found = {}
    for name, made in artifacts.items():
        make_artifact(tmp_path / name, *made.pop("tasks"), **made)
        made_one = read_artifact(tmp_path / name)
        entry = Entry(name=name, version=1, digest=made_one.digest, manifest=made_one.manifest)
        found[name] = Option(entry=entry)
    return found


def ranking(options: dict[str, Option], *, near: bool | None) -> Ranking:
    return Ranking(
        neighbours=tuple(
            Neighbour(
                reference=option.reference,
                distance=0.1 * place,
                kind=option.manifest.kind,
                task_name=name,
                images=100,
                classes=10,
            )
            for place, (name, option) in enumerate(options.items(), start=1)
        ),
        threshold=None if near is None else 0.25,
        near=near,
        why=WHY,
    )


def decided(options: dict[str, Option], mode: Any = "auto", **changes: Any) -> Decision:
    given: dict[str, Any] = {"ranking": ranking(options, near=True), **changes}
    if source := given.pop("source", None):
        given["chosen"] = options[source.partition("@")[0]]
    single = [option for option in options.values() if option.manifest.kind == "transfer"]
    return decide(
        mode,
        given.pop("settings", SETTINGS),
        singles=iter(single if given["ranking"] else ()),
        metas=(option for option in options.values() if option.manifest.kind != "transfer"),
        **given,
    )


@pytest.mark.parametrize("near", [True, None])
def test_auto_takes_the_nearest_single_task_with_its_weights(
    options: dict[str, Option], near: bool | None
) -> None:
    found = decided(options, ranking=ranking(options, near=near))
    # Not meta@1, which is nearest of all: a mean is near to everything.
    assert (found.mode, found.sources) == ("trained", ("flowers@1",))
    assert found.why.startswith(WHY)
    assert "weights fit" in found.why


def with_gains(options: dict[str, Option], **gains: tuple[float, float, int]) -> dict[str, Option]:
    """Return the options with transfer gains: the gain, its interval's low end, and its sets."""
    found = dict(options)
    for name, (gain, low, sets) in gains.items():
        entry = options[name].entry
        stated = {"transfer_gain": gain, "transfer_gain_low": low, "transfer_gain_high": 1.0}
        metrics = {**entry.manifest.metrics, **stated, "transfer_sets": sets}
        manifest = entry.manifest.model_copy(update={"metrics": metrics})
        found[name] = Option(entry=replace(entry, manifest=manifest))
    return found


@pytest.mark.parametrize("near", [True, None, False])
def test_auto_takes_the_highest_transfer_gain_near_or_not(
    options: dict[str, Option], near: bool | None
) -> None:
    def start(settings: SearchSettings = SETTINGS, **gains: tuple[float, float, int]) -> Decision:
        gained = with_gains(options, **gains)
        return decided(gained, ranking=ranking(gained, near=near), settings=settings)

    found = start(flowers=(0.01, 0.004, 5), birds=(0.03, 0.01, 5))
    assert (found.mode, found.sources) == ("trained", ("birds@1",))
    assert found.why.startswith(WHY)
    assert "+3.0 points" in found.why
    assert start(birds=(0.03, 0.01, 5)).sources == ("birds@1",)
    # What may be chance, has no weights, or has weights that do not fit, is no gain.
    usual = ("meta@1",) if near is False else ("flowers@1",)
    assert start(birds=(0.03, 0.0, 5)).sources == usual
    assert start(bare=(0.03, 0.01, 5)).sources == usual
    assert start(WIDER, birds=(0.03, 0.01, 5)).sources == usual
    # Equal gains leave the nearest.
    assert start(flowers=(0.02, 0.01, 5), birds=(0.02, 0.01, 5)).sources == ("flowers@1",)


def test_a_gain_on_few_sets_counts_less(options: dict[str, Option]) -> None:
    # The mean is 2.75 points. One set: (1·4 + 2·2.75)/3 = 3.17; nine: (9·3.5 + 2·2.75)/11 = 3.36.
    options = {name: options[name] for name in ("meta", "flowers", "birds")}
    options["planes"] = options["birds"]
    gained = with_gains(
        options, flowers=(0.04, 0.01, 1), birds=(0.035, 0.01, 9), planes=(0.0075, 0.001, 5)
    )
    assert decided(gained, ranking=ranking(gained, near=True)).sources == ("birds@1",)


def test_auto_takes_masks_alone_where_the_weights_do_not_fit(options: dict[str, Option]) -> None:
    found = decided(options, settings=WIDER)
    assert (found.mode, found.sources) == ("topology", ("flowers@1",))
    assert "3 cells with 4 channels" in found.why
    assert "3 cells with 8 channels" in found.why
    del options["flowers"], options["birds"]
    assert "bare@1 has no weights" in decided(options).why


def test_auto_takes_the_joint_search_where_nothing_is_near(options: dict[str, Option]) -> None:
    far = ranking(options, near=False)
    found = decided(options, ranking=far)
    assert (found.mode, found.sources) == ("meta", ("meta@1",))
    without = {name: option for name, option in options.items() if name != "meta"}
    found = decided(without, ranking=far)
    assert (found.mode, found.sources, str(found)) == ("cold", (), "cold")
    assert found.why.startswith(WHY)


def test_auto_without_a_ranking(options: dict[str, Option]) -> None:
    assert decided(options, ranking=None).mode == "meta"
    nothing = decided({}, ranking=None)
    assert nothing.mode == "cold"
    assert "no single-task artifact" in nothing.why


def test_a_source_that_was_asked_for_decides(options: dict[str, Option]) -> None:
    found = decided(options, source="birds@1", ranking=ranking(options, near=False))
    assert (found.mode, found.sources) == ("trained", ("birds@1",))
    assert decided(options, "topology", source="birds@1").mode == "topology"


def test_modes_by_name(options: dict[str, Option]) -> None:
    assert decided(options, "topology").sources == ("flowers@1",)
    assert decided(options, "trained").sources == ("flowers@1",)
    assert decided(options, "meta").sources == ("meta@1",)
    assert decided(options, "cold").sources == ()
    union = decided(options, "union", k=2)
    assert union.sources == ("flowers@1", "birds@1")
    assert str(union) == "flowers@1 + birds@1"


def test_a_mode_by_name_is_never_changed_quietly(options: dict[str, Option]) -> None:
    with pytest.raises(SettingsError, match="3 cells with 8 channels"):
        decided(options, "trained", settings=WIDER)
    with pytest.raises(RegistryError, match="meta-transfer"):
        decided(options, "meta", source="birds@1")
    for mode in ("topology", "trained", "union"):
        with pytest.raises(RegistryError, match=f"mode '{mode}'"):
            decided({}, mode, ranking=None)


def test_choices_that_contradict_themselves() -> None:
    for mode in ("union", "cold"):
        with pytest.raises(SettingsError, match=f"'{mode}'") as caught:
            Choice(source="a@1", mode=mode, k=5)
        assert caught.value.found == "a@1"
        assert "--from" in caught.value.hint
    with pytest.raises(SettingsError) as caught:
        Choice(source=None, mode="hot", k=5)  # type: ignore[arg-type]
    assert (caught.value.what, caught.value.found) == ("mode", "'hot'")
    assert "topology" in caught.value.expected
    with pytest.raises(SettingsError, match="neighbours") as caught:
        Choice(source=None, mode="union", k=0)
    assert (caught.value.found, caught.value.expected) == ("0", "at least 1")


def test_a_decision_names_the_digests_of_its_sources(options: dict[str, Option]) -> None:
    found = decided(options, "union", k=2)
    assert found.digests == tuple(options[name].entry.digest for name in ("flowers", "birds"))
    assert decided(options, "meta").digests == (options["meta"].entry.digest,)


def test_no_more_options_are_taken_than_the_mode_needs(options: dict[str, Option]) -> None:
    def at_most(count: int) -> Iterator[Option]:
        for _ in range(count):
            yield options["flowers"]
        raise AssertionError("one more was asked for")

    near = ranking(options, near=True)
    decide("auto", SETTINGS, ranking=near, singles=at_most(20), metas=at_most(0))
    decide("trained", SETTINGS, ranking=near, singles=at_most(1), metas=at_most(0))
    decide("union", SETTINGS, ranking=near, singles=at_most(2), metas=at_most(0), k=2)
