"""The model card: what it says of each kind of artifact, and that nothing in it acts."""

import html
import json
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped, unused-ignore]
from huggingface_hub import EvalResult, ModelCard
from huggingface_hub.errors import HFValidationError
from huggingface_hub.repocard_data import (
    eval_results_to_model_index,
    model_index_to_eval_results,
)
from huggingface_hub.utils import validate_repo_id
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from pydantic import JsonValue

from wsdarts_registry._text import sanitize
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.artifact.manifest import (
    PICTURE,
    WEIGHTS,
    EmbeddingRecord,
    EmbeddingSpaceRecord,
    FileRecord,
    Lineage,
    Manifest,
    NetworkRecord,
    Parent,
    Provenance,
    TaskRecord,
)
from wsdarts_registry.publishing._card import (
    CardFacts,
    NeighbourFacts,
    NeighbourhoodFacts,
    render_card,
)

GOLDEN = Path(__file__).parents[2] / "golden"
GENOTYPE = Genotype.from_darts(
    "Genotype(normal=[('skip_connect', 0), ('dil_conv_3x3', 1), ('sep_conv_3x3', 1), "
    "('max_pool_3x3', 2)], normal_concat=range(2, 4), reduce=[('avg_pool_3x3', 0), "
    "('sep_conv_5x5', 1), ('sep_conv_3x3', 0), ('dil_conv_5x5', 2)], reduce_concat=range(2, 4))"
)
TASK = TaskRecord.model_construct(
    name="digits", digest="sha256:" + "0123456789abcdef" * 4, images=1797, classes=10
)
PARENT = Parent(reference="digits@1", digest="sha256:" + "ab" * 32)


def _stages(*stages: tuple[int, int], epochs: int, weights_only_epochs: int) -> list[JsonValue]:
    return [
        {
            "cells": cells,
            "operations": operations,
            "epochs": epochs,
            "weights_only_epochs": weights_only_epochs,
        }
        for cells, operations in stages
    ]


TINY = _stages((3, 8), (4, 5), (5, 3), epochs=4, weights_only_epochs=1)
CONFIG = {"preset": "tiny", "stages": TINY, "batch_size": 16, "order": "first"}
PAPER = _stages((5, 8), (11, 5), (17, 3), epochs=25, weights_only_epochs=10)
METRICS = {"steps": 96, "alpha_accuracy": 0.6512, "alpha_loss": 1.25, "final_parameters": 672_778}
NETWORK = NetworkRecord(cells=5, channels=4, image_size=24)
PROVENANCE = Provenance.model_construct(
    seconds=61.7,
    hardware="2 CPU cores",
    seed=0,
    created="2026-01-02T10:00:00Z",
    code_version="0.1.0",
    libraries={"torch": "2.9.0"},
)


def _probe(name: str) -> EmbeddingRecord:
    space = EmbeddingSpaceRecord.model_construct(probe=name)
    return EmbeddingRecord.model_construct(file="", space=space, tasks=())


TRAINED = CardFacts(
    name="digits",
    genotype=GENOTYPE,
    manifest=Manifest.model_construct(
        kind="transfer",
        tasks=(TASK,),
        network=NETWORK,
        embeddings=(_probe("shipped-1a2b3c4d"), _probe("mobilenetv2_100-9f8e7d6c")),
        config=CONFIG,
        metrics=METRICS,
        provenance=PROVENANCE,
        lineage=Lineage(mode="cold", parents=()),
        license="apache-2.0",
        description="Handwritten digits, for tests: CC BY 4.0",
        files={WEIGHTS: FileRecord(size=1, sha256="0" * 64)},
    ),
)


def _changed(facts: CardFacts, **manifest: Any) -> CardFacts:
    """The same facts with other fields in the manifest, which need not be valid."""
    return replace(facts, manifest=facts.manifest.model_copy(update=manifest))


def _task(**changes: Any) -> TaskRecord:
    return TASK.model_copy(update=changes)


META = replace(
    _changed(
        TRAINED,
        kind="meta-transfer",
        tasks=(
            TASK,
            _task(name="flowers", images=8189, classes=102),
            _task(name="cifar10", dataset="uoft-cs/cifar10", images=60_000),
        ),
        lineage=Lineage(mode="topology", parents=(PARENT,)),
        license="CC-BY-4.0",
    ),
    name="family",
    base_models=("acme/digits",),
    neighbourhood=NeighbourhoodFacts(
        day="2026-01-02",
        state="ranked",
        rows=(
            NeighbourFacts(reference="digits@1", distance=0.01234, task="digits", near=None),
            NeighbourFacts(reference="all@2", distance=0.25, task="digits + birds", near=None),
        ),
        probe="shipped",
        threshold=0.2,
    ),
)
PAPER_SIZED = _changed(
    TRAINED,
    files={},
    config={**CONFIG, "stages": PAPER},
    network=NetworkRecord(cells=17, channels=4, image_size=84),
    embeddings=(),
    metrics={"steps": 96},
    license="",
)
WARM = replace(
    _changed(
        TRAINED,
        tasks=(_task(name="petals", dataset="acme/petals"),),
        config={**CONFIG, "stages": TINY[-1:]},
        lineage=Lineage(mode="trained", parents=(PARENT,)),
    ),
    name="petals",
    home="hf://acme",
    base_models=("acme/digits",),
    neighbourhood=NeighbourhoodFacts(
        day="2026-01-02",
        state="ranked",
        rows=(
            NeighbourFacts(reference="digits@1", distance=0.01234, task="digits", near=True),
            NeighbourFacts(reference="family@3", distance=0.125, task="a + b", near=None),
            NeighbourFacts(reference="birds@12", distance=0.25, task="birds", near=False),
        ),
        probe="shipped",
        threshold=0.2,
    ),
)
FIRST = NeighbourhoodFacts(day="2026-01-02", state="first")


def _parts(card: str) -> tuple[dict[str, Any], str]:
    """The YAML head and the Markdown below it."""
    found = re.fullmatch(r"---\n(.*?\n)---\n(.*)", card, re.DOTALL)
    assert found is not None
    return yaml.safe_load(found[1]), found[2]


def _rendered(card: str) -> str:
    return str(MarkdownIt("commonmark", {"html": True}).enable("table").render(_parts(card)[1]))


CARDS = {
    "trained": TRAINED,
    "masks": replace(_changed(TRAINED, files={}, embeddings=()), neighbourhood=FIRST),
    "meta": META,
    "meta_masks": _changed(META, files={}),
    "warm": WARM,
    "paper_sized": PAPER_SIZED,
}


@pytest.mark.parametrize("name", CARDS)
def test_golden_cards(name: str, golden: Callable[[Path, str], None]) -> None:
    golden(GOLDEN / f"card_{name}.md", render_card(CARDS[name]))


def test_head_is_what_the_hub_reads() -> None:
    head: dict[str, Any] = ModelCard(render_card(META)).data.to_dict()  # type: ignore[no-untyped-call]
    assert head == {
        "license": "cc-by-4.0",
        "library_name": "wsdarts-hub",
        "tags": [
            "wsdarts-hub",
            "neural-architecture-search",
            "darts",
            "meta-transfer",
            "supernet-weights",
        ],
        "datasets": ["uoft-cs/cifar10"],
        "base_model": ["acme/digits"],
    }


def test_unknown_licences_and_foreign_dataset_names_are_not_passed_off_as_the_hubs() -> None:
    task = _task(dataset="../../etc/passwd")
    facts = _changed(TRAINED, license="Ask us: nicely", tasks=(task,))
    head, body = _parts(render_card(facts))
    assert head["license"] == "other"
    assert head["license_name"] == "ask-us-nicely"  # an identifier, as the Hub wants it
    assert "Ask us: nicely." in body
    assert "datasets" not in head
    assert "passwd" not in body


def test_a_licence_that_is_not_stated_is_unknown_to_the_hub() -> None:
    head, body = _parts(render_card(_changed(TRAINED, license="")))
    assert head["license"] == "unknown"
    assert "not stated" in body
    assert _parts(render_card(_changed(TRAINED, license="見")))[0]["license_name"] == "see-the-card"


def test_a_score_is_a_result_that_the_client_of_the_hub_reads() -> None:
    data = ModelCard(render_card(TRAINED)).data
    ((label, _),) = TRAINED.scores
    assert data.model_name == "digits"
    assert data.eval_results == [
        EvalResult(
            task_type="image-classification",
            dataset_type=TASK.digest,  # no id on the Hub, and none that somebody could take
            dataset_name="digits",
            metric_type="accuracy",
            metric_value=0.6512,
            metric_name=label,
        )
    ]
    with pytest.raises(HFValidationError):
        validate_repo_id(data.eval_results[0].dataset_type)
    on_hub = _changed(TRAINED, tasks=(_task(dataset="acme/digits"),))
    (result,) = ModelCard(render_card(on_hub)).data.eval_results
    assert (result.dataset_type, result.dataset_name) == ("acme/digits", "digits")
    # Reported, not verified: only the Hub itself may say so.
    assert result.verified is None
    assert result.verify_token is None


@pytest.mark.parametrize("facts", CARDS.values(), ids=CARDS)
def test_the_head_survives_the_client_of_the_hub(facts: CardFacts) -> None:
    card = ModelCard(render_card(facts))
    head = _parts(render_card(facts))[0]
    assert card.data.to_dict() == head
    assert yaml.safe_load(card.data.to_yaml()) == head
    for identifier in (*(card.data.datasets or ()), *(card.data.base_model or ())):
        validate_repo_id(identifier)
    if "model-index" in head:
        name, results = model_index_to_eval_results(head["model-index"])
        assert eval_results_to_model_index(name, results) == head["model-index"]


def test_the_picture_is_a_file_beside_the_card() -> None:
    (source,) = re.findall(r'<img src="([^"]*)"', _rendered(render_card(TRAINED)))
    assert source == PICTURE


def test_without_a_registry_that_could_be_ranked_the_card_says_so() -> None:
    def said(**changes: Any) -> str:
        return render_card(replace(TRAINED, neighbourhood=replace(FIRST, **changes)))

    assert "2026-01-02, its registry held" in said()
    assert "no other artifact" in said(state="strange")
    assert "could not be ranked" in said(state="unknown")
    assert "## Nearest" not in render_card(TRAINED)
    unjudged = replace(META, neighbourhood=replace(WARM.neighbourhood, threshold=None))
    assert "No threshold was measured" in render_card(unjudged)


def test_small_searches_are_called_small() -> None:
    def small(facts: CardFacts) -> bool:
        return "This search was small" in render_card(facts)

    assert small(TRAINED)
    (remark,) = (line for line in render_card(TRAINED).splitlines() if line.startswith("> "))
    for amount in ("12 epochs", "96 optimisation steps", "1,797 images", "24×24 pixels"):
        assert amount in remark
    assert not small(PAPER_SIZED)
    # Long enough, but on smaller images than the paper's.
    assert small(_changed(PAPER_SIZED, network=NETWORK.model_copy(update={"image_size": 64})))
    # A warm start is the last stage alone, in the paper as well.
    warm = _changed(PAPER_SIZED, config={"stages": PAPER[-1:]})
    assert small(warm)
    assert not small(_changed(warm, lineage=META.manifest.lineage))
    # Unknown numbers of steps are left out, not given as 0.
    assert "0 optimisation steps" not in render_card(_changed(TRAINED, metrics={}))


def test_commands_are_quoted_for_the_shell_and_for_python() -> None:
    card = render_card(replace(TRAINED, name="a b'; rm -rf ~ #\n```"))
    name = "a b'; rm -rf ~ # ```"
    assert f"--from {shlex.quote(name)} --preset tiny" in card
    assert f"source={json.dumps(name)}" in card
    fences = [t for t in MarkdownIt("commonmark").parse(_parts(card)[1]) if t.type == "fence"]
    assert [fence.info for fence in fences] == ["text", "bash", "python"]


def test_commands_name_the_registry_on_the_hub_and_a_preset_that_there_is() -> None:
    card = render_card(WARM)
    assert "pull hf://acme/petals --out artifact\n" in card
    assert 'source="hf://acme/petals", preset="tiny")' in card
    assert "nearest path/to/images --registry hf://acme`" in card
    # What a run called its own settings is no preset that others have.
    assert "--preset small --out" in render_card(_changed(TRAINED, config={"preset": "of-my-own"}))


HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "![x](https://evil.example/x.png) [y](javascript:alert(1)) https://evil.example",
    "x |\n\n---\nlicense: mit\n---\n# heading\n```\n",
    "\x1b[31m\u202e{{ 7 * 7 }}{% raw %}",
    "y" * 10_000,
)


def _hostile(text: str) -> CardFacts:
    """Facts with one text in every field that takes text from outside."""
    parent = Parent.model_construct(reference=text, digest=text)
    return replace(
        _changed(
            META,
            config={"preset": text, "order": text},
            provenance=PROVENANCE.model_copy(
                update={
                    "hardware": text,
                    "created": text,
                    "code_version": text,
                    "libraries": {text: text},
                }
            ),
            lineage=Lineage.model_construct(mode=text, parents=(parent,)),
            license=text,
            description=sanitize(text) or "a",  # without one there is no paragraph
            tasks=(_task(name=text, digest=text, dataset=text),),
            embeddings=(_probe(text),),
        ),
        name=text,
        home=text,
        neighbourhood=NeighbourhoodFacts(
            day="2026-01-02",
            state="ranked",
            rows=(NeighbourFacts(reference=text, distance=0.5, task=text, near=True),),
            probe=text,
        ),
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_inert(text: str) -> None:
    card = render_card(_hostile(text))
    head, body = _parts(card)
    assert head["license"] == "other"
    assert "49" not in body
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e]", card)
    assert "y" * 1001 not in card
    rendered = _rendered(card)
    tags = set(re.findall(r"</?([a-z0-9]+)", rendered))
    assert tags == set(re.findall(r"</?([a-z0-9]+)", _rendered(render_card(META)))) - {"a"}
    assert "<img " in rendered
    assert rendered.count("<img ") == 1
    assert rendered.count("<h1>") == 1


@settings(max_examples=50)
@given(st.text(max_size=60) | st.text(alphabet="<>`|[]()!-#\n&\\a", max_size=30))
def test_any_text_leaves_the_structure_as_it_is(text: str) -> None:
    expected = MarkdownIt("commonmark").enable("table").parse(_parts(render_card(_hostile("a")))[1])
    found = MarkdownIt("commonmark").enable("table").parse(_parts(render_card(_hostile(text)))[1])
    # An empty heading or cell has no inline token's children; the blocks are the same.
    assert [token.type for token in found] == [token.type for token in expected]


def test_names_can_be_read_in_the_rendered_card() -> None:
    name = "a_b*c <d> & [e] | $f$"
    rendered = _rendered(render_card(_hostile(name)))
    assert rendered.count(html.escape(name, quote=False)) >= 8


def test_equal_facts_give_equal_cards() -> None:
    assert render_card(TRAINED) == render_card(replace(TRAINED))
