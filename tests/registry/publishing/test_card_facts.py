"""What a card says of a manifest's metrics."""

from dataclasses import replace
from pathlib import Path

from huggingface_hub import ModelCard

from tests.registry.factories import make_artifact, make_draft
from wsdarts_registry.artifact.manifest import SplitRecord
from wsdarts_registry.artifact.reader import read_artifact
from wsdarts_registry.artifact.writer import write_artifact
from wsdarts_registry.publishing.card import render_card
from wsdarts_registry.publishing.card_facts import ScoreFacts, card_facts


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
    card = render_card(card_facts(artifact.manifest, artifact.genotype, name="a"))
    # A size has no seed, unlike an accuracy; metrics that have no label stay off the card.
    assert (
        "| accuracy on the weights half, last epoch | 50.0 % (one seed) |\n"
        "| parameters of the final network (20 cells of 16 channels, without its last layer) "
        "| 672,778 |\n"
        "| its multiply-adds for an image of 32×32 | 105,431,040 |\n"
        "| its multiply-adds for an image of 224×224 | 5,166,120,960 |\n"
    ) in card
    assert "of_our_own" not in card


def test_a_search_without_a_limit_on_skip_connects_says_so(tmp_path: Path) -> None:
    make_artifact(tmp_path / "a")
    artifact = read_artifact(tmp_path / "a")
    for value, words in ((None, "no limit"), (0, "0"), (2, "2")):  # "none" would read as zero
        manifest = artifact.manifest.model_copy(update={"config": {"skip_connects": value}})
        card = render_card(card_facts(manifest, artifact.genotype, name="a"))
        assert f"| skip\\_connects | {words} | |" in card


def test_artifacts_from_before_sizes_were_counted(tmp_path: Path) -> None:
    make_artifact(tmp_path / "a")
    artifact = read_artifact(tmp_path / "a")
    facts = card_facts(artifact.manifest, artifact.genotype, name="a")
    assert [(item.label, item.seeds) for item in facts.figures] == [
        ("accuracy on the weights half, last epoch", 1)
    ]


def test_the_dataset_of_a_task_is_linked(tmp_path: Path) -> None:
    draft = make_draft("flowers", "birds", files={})
    tasks = [draft.tasks[0].model_copy(update={"dataset": "acme/flowers"}), draft.tasks[1]]
    write_artifact(tmp_path / "a", replace(draft, tasks=tasks))
    artifact = read_artifact(tmp_path / "a")
    card = render_card(card_facts(artifact.manifest, artifact.genotype, name="a"))
    assert "\n| [flowers](https://huggingface.co/datasets/acme/flowers) | 120 |" in card
    assert "\n| birds | 120 |" in card
    assert ModelCard(card).data.datasets == ["acme/flowers"]


def test_a_given_split_is_told_of_the_tasks_that_have_one(tmp_path: Path) -> None:
    draft = make_draft("flowers", "birds", files={})
    split = SplitRecord(train=90, validation=20, test=10)
    for count, sentence in (
        (0, "Two thirds of the images took part in the search"),
        (1, "two thirds of the images of the other tasks"),
        (2, "Of these, the part `train` took part in the search, one half"),
    ):
        given = [task.model_copy(update={"split": split}) for task in draft.tasks[:count]]
        path = tmp_path / str(count)
        write_artifact(path, replace(draft, tasks=[*given, *draft.tasks[count:]]))
        artifact = read_artifact(path)
        card = render_card(card_facts(artifact.manifest, artifact.genotype, name="a"))
        assert sentence in card
        said = [name for name in ("flowers", "birds") if f"\n{name} came with a split" in card]
        assert said == ["flowers", "birds"][:count]
        assert ("train 90, validation 20, test 10" in card) == (count > 0)


def test_the_accuracy_of_a_supernet_is_never_that_of_a_classifier(tmp_path: Path) -> None:
    def scores(name: str, *tasks: str, accuracy: float) -> tuple[ScoreFacts, ...]:
        metrics = {"weights_accuracy": 0.9, "alpha_accuracy": accuracy}
        make_artifact(tmp_path / name, *tasks, metrics=metrics)
        artifact = read_artifact(tmp_path / name)
        return card_facts(artifact.manifest, artifact.genotype, name=name).scores

    (score,) = scores("a", "flowers", accuracy=0.25)
    assert score.accuracy == 0.25  # on images that no weight has seen, not the 0.9
    assert score.label.startswith("supernet accuracy on the α half of the train part, last epoch")
    assert score.label.endswith("one seed; no trained classifier")
    # Over several tasks it is the accuracy on no dataset; and what is no share is no accuracy.
    assert scores("b", "flowers", "birds", accuracy=0.25) == ()
    assert scores("c", "flowers", accuracy=25.0) == ()
