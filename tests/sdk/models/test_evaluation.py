"""Metrics by hand and beside scikit-learn and SciPy, and the record of an evaluation."""

import base64
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from scipy import stats
from sklearn import metrics

from tests.sdk.models.evaluated import make_baseline, make_evaluation
from wsdarts_registry.errors import ArtifactError
from wsdarts_sdk.data.task import ImageTask
from wsdarts_sdk.models.evaluation import (
    Outputs,
    Scores,
    as_probabilities,
    evaluate_outputs,
    share_right,
)
from wsdarts_sdk.runs.result_records import Evaluation

# Three classes; the third has no image and is given once.
TRUTH = torch.tensor([0, 0, 0, 0, 1, 1])
CONFIDENT = torch.tensor([0, 0, 0, 1, 1, 2])
PROBABILITY = torch.tensor([0.9, 0.9, 0.9, 0.7, 0.7, 0.5]).double()


def by_hand() -> torch.Tensor:
    rest = ((1 - PROBABILITY) / 2)[:, None].expand(6, 3).clone()
    return rest.scatter(1, CONFIDENT[:, None], PROBABILITY[:, None])


def random_outputs(classes: int, images: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(3)
    truth = torch.randint(0, classes - 1, (images,), generator=draws)  # the last class has none
    logits = torch.randn(images, classes, generator=draws).double()
    logits[torch.arange(images), truth] += 1
    return logits.softmax(1), truth


def test_figures_by_hand() -> None:
    found = Scores.of(by_hand(), TRUTH).figures()
    assert found["accuracy"] == 4 / 6
    # Recalls 3/4 and 1/2; the class without images would make it 5/12.
    assert found["balanced_accuracy"] == pytest.approx(0.625, abs=1e-6)
    # F1: 6/7, 2/4, 0 (it was given once, so it counts).
    assert found["macro_f1"] == pytest.approx((6 / 7 + 1 / 2) / 3, abs=1e-6)
    # Bins: three at 0.9, all right; two at 0.7, half right; one at 0.5, wrong.
    error = (3 * 0.1 + 2 * 0.2 + 1 * 0.5) / 6
    assert found["calibration_error"] == pytest.approx(error, abs=1e-6)
    assert "top_5" not in found  # of three classes it would be 1


def test_scores_of_classes_by_hand() -> None:
    cat, dog, owl = Scores.of(by_hand(), TRUTH).classes(["cat", "dog", "owl"])
    assert (cat.precision, cat.recall, cat.images) == (1, 0.75, 4)
    assert (dog.precision, dog.recall, dog.f1) == (0.5, 0.5, 0.5)
    assert (owl.precision, owl.recall, owl.f1, owl.images) == (0, None, 0, 0)


@pytest.mark.parametrize("classes", [3, 8])
def test_figures_are_those_of_scikit_learn(classes: int) -> None:
    probabilities, truth = random_outputs(classes)
    scores = Scores.of(probabilities, truth)
    found, predicted = scores.figures(), probabilities.argmax(1)
    assert found["accuracy"] == metrics.accuracy_score(truth, predicted)
    with pytest.warns(UserWarning, match="y_pred contains classes"):
        balanced = metrics.balanced_accuracy_score(truth, predicted)
    assert found["balanced_accuracy"] == pytest.approx(balanced, abs=1e-6)
    f1 = metrics.f1_score(truth, predicted, average="macro", zero_division=0)
    assert found["macro_f1"] == pytest.approx(f1, abs=1e-6)
    matrix = metrics.confusion_matrix(truth, predicted, labels=range(classes))
    np.testing.assert_array_equal(scores.confusion, matrix)
    if classes > 5:
        top = metrics.top_k_accuracy_score(truth, probabilities, k=5, labels=np.arange(classes))
        assert found["top_5"] == pytest.approx(top, abs=1e-6)


@pytest.mark.parametrize("classes", [3, 8])
def test_each_image_once_gives_the_figures_of_all(classes: int) -> None:
    scores = Scores.of(*random_outputs(classes))
    once = scores.resampled(np.ones(300))
    assert once == pytest.approx(list(scores.figures().values()), abs=2e-6)


def test_an_image_that_is_drawn_twice_counts_twice() -> None:
    probabilities, truth = random_outputs(8)
    twice = torch.cat([torch.arange(300), torch.arange(50)])
    weights = np.bincount(twice, minlength=300).astype(np.float64)
    found = Scores.of(probabilities, truth).resampled(weights)
    repeated = Scores.of(probabilities[twice], truth[twice]).figures()
    assert found == pytest.approx(list(repeated.values()), abs=2e-6)


def test_intervals_are_those_of_scipy() -> None:
    right = np.arange(200) < 140
    found = share_right(right)
    there = stats.bootstrap(
        (right.astype(float),), np.mean, n_resamples=4000, method="percentile", rng=1
    ).confidence_interval
    assert found.value == 0.7
    assert (found.low, found.high) == pytest.approx(tuple(there), abs=0.012)
    assert share_right(right) == found  # seeded
    assert share_right(right, seed=1) != found


def test_a_difference_is_paired() -> None:
    # The two differ on ten images alone: unpaired the interval would be about ±0.1.
    right, other = np.arange(200) < 140, np.arange(200) < 130
    found = share_right(right, other)
    assert found.value == pytest.approx(0.05)
    assert 0 < found.low < found.value < found.high < 0.09


def test_the_worst_mistakes_have_pictures(digits_task: ImageTask) -> None:
    indices = digits_task.indices(digits_task.held_out)
    truth = torch.from_numpy(digits_task.labels[indices])
    logits = torch.zeros(len(truth), 3)
    logits[:, 1] = torch.arange(1, len(truth) + 1) / 10  # the later, the surer of class 1
    outputs = Outputs(indices=indices, probabilities=as_probabilities(logits), truth=truth)
    found = evaluate_outputs(outputs, digits_task, class_names=("0", "1", "2"), part="validation")
    assert found.accuracy.value == pytest.approx(1 / 3, abs=0.03)
    assert all(m.predicted == 1 and m.truth != 1 for m in found.mistakes[:5])
    surest = [m.probability for m in found.mistakes]
    assert surest == sorted(surest, reverse=True)
    picture = Image.open(io.BytesIO(base64.b64decode(found.mistakes[0].picture)))
    assert picture.size == (96, 96)
    assert found.confusion_matrix.sum() == len(truth)
    assert (
        evaluate_outputs(outputs, digits_task, class_names=("0", "1", "2"), part="validation")
        == found
    )


def test_numbers_that_are_not_finite() -> None:
    with pytest.raises(ArtifactError):
        as_probabilities(torch.tensor([[0.0, torch.nan]]))


def test_confusions() -> None:
    found = make_evaluation(3)
    assert found.confusion_matrix.tolist() == [[2, 1, 0], [0, 2, 1], [1, 0, 2]]
    assert found.confused_pairs(1) == (("cat 0", "cat 1", 1),)
    assert [each.name for each in found.worst_classes(2)] == ["cat 0", "cat 1"]


def test_json_has_no_pictures_and_is_read_back() -> None:
    found = make_evaluation()
    data = json.dumps(found.to_json())
    assert "picture" not in data
    assert Evaluation.model_validate_json(data).to_json() == found.to_json()


@pytest.mark.parametrize(
    "changed",
    [
        {"confusion": [[0, 2, 1]]},
        {"mistakes": [{"image": "", "truth": 7, "predicted": 0, "probability": 0.5}]},
        {
            "mistakes": [
                {
                    "image": "",
                    "truth": 0,
                    "predicted": 1,
                    "probability": 0.5,
                    "picture": '"><script>',
                }
            ]
        },
    ],
    ids=["class", "mistake", "picture"],
)
def test_what_is_no_evaluation(changed: dict[str, object]) -> None:
    data = json.dumps({**make_evaluation().to_json(), **changed})
    with pytest.raises(ValidationError):
        Evaluation.model_validate_json(data)


def test_a_baseline_that_is_better_is_told() -> None:
    better = make_baseline()
    assert better.is_better
    assert "chance" not in better.verdict
    worse = make_baseline(difference=0.05, low=-0.02, high=0.1)
    assert not worse.is_better
    assert "chance" in worse.verdict
    assert not make_baseline(difference=0, low=-0.1, high=0.1).is_better
