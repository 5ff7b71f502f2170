"""What a card says of a manifest's metrics."""

import re
from dataclasses import replace
from pathlib import Path

from huggingface_hub import ModelCard

from tests.registry.factories import make_artifact, make_draft
from wsdarts_registry.architecture.search_verdicts import ChanceTest, candidate_metrics
from wsdarts_registry.artifact.manifest import SplitRecord
from wsdarts_registry.artifact.reader import Artifact, read_artifact
from wsdarts_registry.artifact.writer import write_artifact
from wsdarts_registry.publishing._card import CardFacts, render_card


def _facts(artifact: Artifact, **manifest: object) -> CardFacts:
    changed = artifact.manifest.model_copy(update=manifest)
    return CardFacts(manifest=changed, genotype=artifact.genotype, name="a")


def test_the_size_of_the_final_network_is_on_the_card(tmp_path: Path) -> None:
    metrics = {
        "final_parameters": 672_778,
        "final_multiply_adds_32": 105_431_040,
        "final_multiply_adds_224": 5_166_120_960,
        "weights_accuracy": 0.5,
        "of_our_own": 3,
    }
    make_artifact(tmp_path / "a", metrics=metrics)
    artifact = read_artifact(tmp_path / "a")
    card = render_card(_facts(artifact))
    figures = _facts(artifact).figures
    # Metrics that have no label stay off the card.
    assert [figure.value for figure in figures] == [
        "672,778",
        "105,431,040",
        "5,166,120,960",
        "50.0 %",
    ]
    assert all(f"| {figure.label} | {figure.value} | " in card for figure in figures)
    assert "of_our_own" not in card


def test_a_search_without_a_limit_on_skip_connects_says_so(tmp_path: Path) -> None:
    make_artifact(tmp_path / "a")
    artifact = read_artifact(tmp_path / "a")
    for value, words in ((None, "no limit"), (0, "0"), (2, "2")):  # "none" would read as zero
        card = render_card(_facts(artifact, config={"skip_connects": value}))
        assert re.search(rf"^Seed \d+.*, skip\\_connects {words}[,.]", card, re.MULTILINE)


def test_how_the_cells_were_chosen(tmp_path: Path) -> None:
    make_artifact(tmp_path / "a")
    artifact = read_artifact(tmp_path / "a")
    by_alpha = _facts(artifact)
    test = ChanceTest(candidates=8, others=3, gain=0.01, margin=0.02)
    chosen = _facts(artifact, config={"choice": {}}, metrics=test.to_metrics())
    untested = _facts(artifact, config={"choice": {}}, metrics=candidate_metrics(8))
    limited = _facts(artifact, config={"choice": {}}, metrics=candidate_metrics(1))
    spoilt = _facts(artifact, config={"choice": 3}, metrics={"choice_candidates": 1e300})
    assert str(test) in chosen.choice
    assert "8 candidates" in untested.choice
    assert len({facts.choice for facts in (by_alpha, chosen, untested, limited)}) == 4
    assert spoilt.choice == limited.choice
    # Markdown escapes what could be markup, and so the verdict is looked for by its beginning.
    assert chosen.choice[:40] in render_card(chosen)


def test_artifacts_from_before_sizes_were_counted(tmp_path: Path) -> None:
    make_artifact(tmp_path / "a")
    artifact = read_artifact(tmp_path / "a")
    (figure,) = _facts(artifact).figures
    assert "weights half" in figure.label


def test_the_dataset_of_a_task_is_linked(tmp_path: Path) -> None:
    draft = make_draft("flowers", "birds", files={})
    tasks = [draft.tasks[0].model_copy(update={"dataset": "acme/flowers"}), draft.tasks[1]]
    write_artifact(tmp_path / "a", replace(draft, tasks=tasks))
    artifact = read_artifact(tmp_path / "a")
    card = render_card(_facts(artifact))
    assert "\n| [flowers](https://huggingface.co/datasets/acme/flowers) | 120 |" in card
    assert "\n| birds | 120 |" in card
    assert ModelCard(card).data.datasets == ["acme/flowers"]


def test_a_given_split_is_told_of_the_tasks_that_have_one(tmp_path: Path) -> None:
    draft = make_draft("flowers", "birds", files={})
    split = SplitRecord(train=90, validation=20, test=10)
    for count, sentence in (
        (0, "Two thirds of the"),
        (1, "of the other tasks"),
        (2, "Of these, the part"),
    ):
        given = [task.model_copy(update={"split": split}) for task in draft.tasks[:count]]
        path = tmp_path / str(count)
        write_artifact(path, replace(draft, tasks=[*given, *draft.tasks[count:]]))
        artifact = read_artifact(path)
        card = render_card(_facts(artifact))
        assert sentence in card
        said = [name for name in ("flowers", "birds") if f"\n{name} came with" in card]
        assert said == ["flowers", "birds"][:count]
        assert (str(split) in card) == (count > 0)


def test_groups_are_told_of_the_tasks_that_have_some(tmp_path: Path) -> None:
    draft = make_draft("flowers", "birds", files={})
    grouped = draft.tasks[0].model_copy(update={"groups": 17})
    write_artifact(tmp_path / "a", replace(draft, tasks=[grouped, draft.tasks[1]]))
    card = render_card(_facts(read_artifact(tmp_path / "a")))
    assert [line for line in card.splitlines() if "17 groups" in line and "flowers" in line]
    assert "images of birds belong" not in card


def test_the_accuracy_of_a_supernet_is_never_that_of_a_classifier(tmp_path: Path) -> None:
    def scores(name: str, *tasks: str, accuracy: float) -> tuple[tuple[str, float], ...]:
        metrics = {"weights_accuracy": 0.9, "alpha_accuracy": accuracy}
        make_artifact(tmp_path / name, *tasks, metrics=metrics)
        artifact = read_artifact(tmp_path / name)
        return _facts(artifact).scores

    ((label, accuracy),) = scores("a", "flowers", accuracy=0.25)
    assert accuracy == 0.25  # on images that no weight has seen, not the 0.9
    assert "supernet" in label
    assert label.endswith("no trained classifier")
    # Over several tasks it is the accuracy on no dataset; and what is no share is no accuracy.
    assert scores("b", "flowers", "birds", accuracy=0.25) == ()
    assert scores("c", "flowers", accuracy=25.0) == ()
