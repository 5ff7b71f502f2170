"""A small evaluation and a baseline, as a training keeps them."""

from wsdarts_sdk.runs.result_records import Baseline, ClassScores, Evaluation, Interval, Mistake


def interval(value: float) -> Interval:
    return Interval(value=value, low=value / 2, high=(1 + value) / 2)


def make_evaluation(classes: int = 2, name: str = "cat") -> Evaluation:
    """Of each class three images: two right, one taken for the next class."""
    following = [(place + 1) % classes for place in range(classes)]
    pairs = [(place, place, 2) for place in range(classes)]
    pairs += [(place, following[place], 1) for place in range(classes)]
    return Evaluation(
        dataset="photos",
        digest=f"sha256:{'0' * 64}",
        part="validation",
        images=3 * classes,
        accuracy=interval(0.75),
        top_5=None,
        balanced_accuracy=interval(0.7),
        macro_f1=interval(0.6),
        calibration_error=interval(0.1),
        classes=tuple(
            ClassScores(name=f"{name} {place}", precision=0.5, recall=0.25, f1=None, images=3)
            for place in range(classes)
        ),
        confusion=tuple(sorted(pairs)),
        mistakes=(
            Mistake(
                image="photos/cat/1.jpg", truth=0, predicted=1, probability=0.9, picture="AAAA"
            ),
        ),
    )


def make_baseline(difference: float = -0.25, low: float = -0.4, high: float = -0.1) -> Baseline:
    return Baseline(
        name="linear classifier on the features of a probe",
        kind="linear",
        accuracy=interval(0.75 - difference),
        difference=Interval(value=difference, low=low, high=high),
        parameters=1000,
        multiply_adds=2000,
        image_size=64,
        network_parameters=30,
        network_multiply_adds=40,
        network_image_size=32,
        chosen="Its strength was chosen.",
        trained_on="Nothing is known.",
        seconds=1.5,
    )
