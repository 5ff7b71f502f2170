"""Facts about an artifact, as labels and formatted values.

The model card, the gallery, the terminal and the notebook show the same facts; each takes them
from here, so that a fact has one label and one form.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

from wsdarts_registry._format import (
    count,
    duration,
    metric_text,
    millions,
    percent,
    pluralize,
    points,
    setting,
)
from wsdarts_registry.artifact.manifest import Lineage, Manifest, Provenance

if TYPE_CHECKING:  # it loads numpy, which lists of artifacts do without
    from wsdarts_registry.architecture.masks import OperationMasks

Facts = list[tuple[str, str]]
SHOWN_DIGEST = 19  # "sha256:" and as many digits as a reference needs

CLASSIFIER_ACCURACY = "classifier_accuracy"
CLASSIFIER_IMAGES = "classifier_images"
CLASSIFIER_EPOCHS = "classifier_epochs"
CLASSIFIER_PARAMETERS = "classifier_parameters"
BASELINE_ACCURACY = "classifier_baseline_accuracy"
DIFFERENCE_LOW = "classifier_baseline_difference_low"
DIFFERENCE_HIGH = "classifier_baseline_difference_high"
RANDOM_CELL_ACCURACY = "classifier_random_cell_accuracy"
FINAL_PARAMETERS = "final_parameters"
TRANSFER_GAIN = "transfer_gain"
TRANSFER_LOW = "transfer_gain_low"
TRANSFER_HIGH = "transfer_gain_high"
TRANSFER_SETS = "transfer_sets"
TRANSFER_STEPS = "transfer_steps"
CLASSIFIER, BASELINE = "classifier", "classifier_baseline"
"""Keys of ``config``: the settings of the training, and the name of its baseline."""

# Licence identifiers of the Hub (huggingface.co/docs/hub/repositories-licenses) that fit data and
# weights; every other licence is written as "other" with a name.
_HUB_LICENCES = frozenset(
    (
        *("apache-2.0", "mit", "isc", "unlicense", "wtfpl", "bsd-2-clause", "bsd-3-clause"),
        *("cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0"),
        *("cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0"),
        *("cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0"),
        *("cc-by-nc-sa-4.0", "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0"),
        *("odc-by", "odbl", "pddl", "openrail", "openmdw-1.0", "openmdw-1.1", "artistic-2.0"),
        *("epl-1.0", "epl-2.0", "eupl-1.1", "eupl-1.2", "agpl-3.0", "gfdl", "gpl-2.0", "gpl-3.0"),
        *("lgpl-2.1", "lgpl-3.0", "mpl-2.0", "osl-3.0", "ncsa", "unknown"),
    )
)

_ALPHA_HALF = "the half of the search's images that α is fitted to"
_WEIGHTS_HALF = "the half of the search's images that the weights are fitted to"
_SUPERNET = "Of the supernet in the search's last epoch, on"
_FULL_SIZE = (
    "Of the network that the papers train in the end: 20 cells, 16 channels, no last layer."
)
# Label and explanation of each metric that this library writes, in the order of their weight.
METRICS: dict[str, tuple[str, str]] = {
    TRANSFER_GAIN: (
        "transfer gain",
        "On unseen image sets: accuracy after warm starts from its weights, less cold searches'.",
    ),
    TRANSFER_LOW: (
        "transfer gain, at least",
        "Lower end of the 95 % interval; bootstrap over the image sets.",
    ),
    TRANSFER_HIGH: (
        "transfer gain, at most",
        "Upper end of the 95 % interval; bootstrap over the image sets.",
    ),
    TRANSFER_SETS: (
        "image sets of the transfer gain",
        "None of which its search had seen.",
    ),
    TRANSFER_STEPS: ("steps of the transfer gain", "Steps of each of these trainings."),
    CLASSIFIER_ACCURACY: (
        "trained accuracy",
        "Share of held-out images that a network with these cells labels right, once trained.",
    ),
    BASELINE_ACCURACY: (
        "linear baseline",
        "The same of a linear classifier on the features of a fixed pretrained network.",
    ),
    DIFFERENCE_LOW: (
        "trained accuracy less baseline, at least",
        "Lower end of the 95 % interval; bootstrap over the held-out images.",
    ),
    DIFFERENCE_HIGH: (
        "trained accuracy less baseline, at most",
        "Upper end of the 95 % interval; bootstrap over the held-out images.",
    ),
    RANDOM_CELL_ACCURACY: (
        "accuracy of a random cell",
        "The same of a network with cells drawn at random, trained as long from random weights.",
    ),
    CLASSIFIER_IMAGES: ("held-out images", "Images that these accuracies were measured on."),
    CLASSIFIER_EPOCHS: ("epochs of the training", "Passes over the images that it trained on."),
    CLASSIFIER_PARAMETERS: (
        "parameters as trained",
        "Of the network that was trained, with its last layer.",
    ),
    FINAL_PARAMETERS: ("parameters at full size", _FULL_SIZE),
    "final_multiply_adds_32": ("multiply-adds at full size, image of 32×32", _FULL_SIZE),
    "final_multiply_adds_224": ("multiply-adds at full size, image of 224×224", _FULL_SIZE),
    "alpha_accuracy": (
        "supernet accuracy, α half",
        f"{_SUPERNET} {_ALPHA_HALF}: a progress figure of the search, no trained classifier.",
    ),
    "weights_accuracy": (
        "supernet accuracy, weights half",
        f"{_SUPERNET} {_WEIGHTS_HALF}: a progress figure of the search, no trained classifier.",
    ),
    "alpha_loss": ("supernet loss, α half", f"{_SUPERNET} {_ALPHA_HALF} (cross-entropy)."),
    "weights_loss": (
        "supernet loss, weights half",
        f"{_SUPERNET} {_WEIGHTS_HALF} (cross-entropy).",
    ),
    "steps": ("weight steps", "Steps of the weights' optimiser in all stages of the search."),
    "skip_connects": ("skip-connects", "In the normal cell; many of them mark a failed search."),
    "choice_candidates": (
        "candidate cells",
        "Cell pairs drawn from the final α and trained briefly, to choose the best.",
    ),
    "choice_others": (
        "candidates trained again",
        "Trained a second time beside the chosen one, to test the choice.",
    ),
    "choice_gain_accuracy": (
        "gain of the choice",
        "Accuracy of the chosen cells in a second training, less the mean of the others.",
    ),
    "choice_margin_accuracy": (
        "gain that chance explains",
        "Largest gain of the choice that is explained by chance (95 %).",
    ),
}

_ROUNDING = 1e-9
Judgement = Literal["above", "below", "unsure", "unknown"]


@dataclass(frozen=True, kw_only=True)
class TrainedResult:
    """Accuracy of a network trained with an artifact's cells, beside its linear baseline.

    Attributes:
        accuracy: Share of the held-out images that the network labels right.
        baseline: The same of a linear classifier on a probe's features; None if not measured.
        baseline_name: What that is, in words.
        low: Lower end of the 95 % interval of accuracy less baseline; None if not stated.
        high: Its upper end.
        images: Held-out images; None if not stated.
        epochs: Epochs of the training; None if not stated.
        parameters: Parameters of the trained network; None if not stated.
        inherited: Whether the training began with the supernet's weights.
        part: Which images were held out, in words.
    """

    accuracy: float
    baseline: float | None = None
    baseline_name: str = "linear classifier on a fixed network's features"
    low: float | None = None
    high: float | None = None
    images: int | None = None
    epochs: int | None = None
    parameters: int | None = None
    inherited: bool = False
    part: str = "validation third"

    @classmethod
    def of(cls, manifest: Manifest) -> Self | None:
        """Read what an artifact states; None without an accuracy. Anyone may write an artifact."""
        metrics, settings = manifest.metrics, manifest.config.get(CLASSIFIER)
        accuracy = _share(manifest, CLASSIFIER_ACCURACY)
        if accuracy is None:
            return None
        baseline = _share(manifest, BASELINE_ACCURACY)
        low, high = (metrics.get(key) for key in (DIFFERENCE_LOW, DIFFERENCE_HIGH))
        known = (
            baseline is not None
            and low is not None
            and high is not None
            and -1 <= low <= accuracy - baseline + _ROUNDING
            and accuracy - baseline - _ROUNDING <= high <= 1
        )
        name, split = manifest.config.get(BASELINE), manifest.tasks[0].split
        return cls(
            accuracy=accuracy,
            baseline=baseline,
            baseline_name=name if isinstance(name, str) and name else cls.baseline_name,
            low=low if known else None,
            high=high if known else None,
            images=_whole(manifest, CLASSIFIER_IMAGES),
            epochs=_whole(manifest, CLASSIFIER_EPOCHS),
            parameters=_whole(manifest, CLASSIFIER_PARAMETERS),
            inherited=isinstance(settings, dict) and settings.get("weights") == "inherited",
            part="validation third" if split is None else f"given {split.held_out} part",
        )

    @property
    def difference(self) -> float | None:
        """Accuracy less baseline; None without a baseline."""
        return None if self.baseline is None else self.accuracy - self.baseline

    @property
    def judgement(self) -> Judgement:
        """Whether it is above its baseline; ``"unsure"`` where the interval holds 0."""
        if self.difference is None:
            return "unknown"
        if self.low is not None and self.high is not None and self.low <= 0 <= self.high:
            return "unsure"
        if self.difference == 0:
            return "unsure"
        return "above" if self.difference > 0 else "below"

    @property
    def verdict(self) -> str:
        """The comparison in a few words, as ``5.2 points above the linear baseline``."""
        if self.difference is None:
            return "no baseline was measured"
        if self.difference == 0:
            return "equal to the linear baseline"
        side = "above" if self.difference > 0 else "below"
        text = f"{100 * abs(self.difference):.1f} points {side} the linear baseline"
        return f"{text}, which may be chance" if self.judgement == "unsure" else text

    @property
    def conditions(self) -> str:
        """Images, epochs and the weights that it began with, in words."""
        these = "" if self.images is None else f" ({pluralize(self.images, 'image')})"
        length = "" if self.epochs is None else f" for {pluralize(self.epochs, 'epoch')}"
        begun = "from the supernet's weights" if self.inherited else "from scratch"
        return (
            f"on the {self.part}{these} of a classifier with these cells, trained {begun}{length}"
        )

    @property
    def sentence(self) -> str:
        """Everything in sentences."""
        text = f"Accuracy {percent(self.accuracy)} {self.conditions}."
        if self.difference is None or self.baseline is None:
            return f"{text} No baseline was measured."
        text += f" A {self.baseline_name}: {percent(self.baseline)}. It is {self.verdict}"
        if self.low is not None and self.high is not None:
            text += f" (95 % interval {points(self.low)} to {points(self.high)})"
        advice = ": on these images the linear classifier is the better model"
        return f"{text}{advice if self.judgement == 'below' else ''}. One training with one seed."


@dataclass(frozen=True, kw_only=True)
class TransferGain:
    """Gain of warm starts from an artifact on other image sets.

    Attributes:
        gain: Accuracy of the networks that they found, trained from the inherited weights, less
            that of networks of cold searches, trained as long from random weights; mean over sets.
        low: Lower end of the 95 % interval over sets; None if not stated.
        high: Its upper end.
        sets: Image sets, none of which the artifact's search had seen.
        steps: Steps of each training; None if not stated.
    """

    gain: float
    low: float | None
    high: float | None
    sets: int
    steps: int | None

    @classmethod
    def of(cls, manifest: Manifest) -> Self | None:
        """Read what an artifact states; None without a gain and its number of sets."""
        metrics, sets = manifest.metrics, _whole(manifest, TRANSFER_SETS)
        gain, low, high = (metrics.get(k) for k in (TRANSFER_GAIN, TRANSFER_LOW, TRANSFER_HIGH))
        if gain is None or sets is None or abs(gain) > 1:
            return None
        known = low is not None and high is not None and -1 <= low <= gain <= high <= 1
        return cls(
            gain=gain,
            low=low if known else None,
            high=high if known else None,
            sets=sets,
            steps=_whole(manifest, TRANSFER_STEPS),
        )

    @property
    def sentence(self) -> str:
        """Everything in a sentence."""
        length = "" if self.steps is None else f" for {pluralize(self.steps, 'step')}"
        text = (
            f"Transfer gain {points(self.gain)}: accuracy of networks that warm starts from its "
            f"weights found on {pluralize(self.sets, 'image set')} that it had not seen, trained "
            f"from these weights{length}, less that of cold searches' networks, trained as long "
            "from random weights"
        )
        if self.low is not None and self.high is not None:
            text += f" (95 % interval over the sets {points(self.low)} to {points(self.high)})"
        return f"{text}. One seed."


def _share(manifest: Manifest, name: str) -> float | None:
    value = manifest.metrics.get(name)
    return float(value) if value is not None and 0 <= value <= 1 else None


def _whole(manifest: Manifest, name: str) -> int | None:
    value = manifest.metrics.get(name)
    return int(value) if value is not None and 1 <= value < 1e15 else None


def final_parameters(manifest: Manifest) -> int | None:
    """Return the parameters of its network of 20 cells and 16 channels; None if not stated."""
    return _whole(manifest, FINAL_PARAMETERS)


def image_count(manifest: Manifest) -> int:
    """Return the number of images of all tasks."""
    return sum(task.images for task in manifest.tasks)


def class_count(manifest: Manifest) -> int:
    """Return the number of classes of all tasks."""
    return sum(task.classes for task in manifest.tasks)


def total_size(manifest: Manifest) -> int:
    """Return the bytes of all files, the manifest apart."""
    return sum(record.size for record in manifest.files.values())


def licence_text(manifest: Manifest) -> str:
    """Return the licence; ``"not stated"`` where there is none."""
    return manifest.license or "not stated"


def hub_licence(licence: str) -> dict[str, str]:
    """Return a licence as a card's head names it; unknown words are called ``other``."""
    known = licence.lower() or "unknown"
    if known in _HUB_LICENCES:
        return {"license": known}
    # The name has to be an identifier; the licence's own words stand at the end of the card.
    name = re.sub(r"[^a-z0-9.]+", "-", licence.lower())[:80].strip("-.")
    return {"license": "other", "license_name": name or "see-the-card"}


def result_facts(manifest: Manifest) -> Facts:
    """Return what it is worth: transfer gain, trained accuracy beside its baseline, cost, size."""
    result = TrainedResult.of(manifest)
    parameters = final_parameters(manifest)
    transfer = TransferGain.of(manifest)
    facts = [] if transfer is None else [(METRICS[TRANSFER_GAIN][0], points(transfer.gain))]
    facts.append(
        ("trained accuracy", "not measured" if result is None else percent(result.accuracy))
    )
    if result is not None and result.baseline is not None:
        facts += [
            ("linear baseline", percent(result.baseline)),
            ("accuracy less baseline", points(result.accuracy - result.baseline)),
        ]
    elif result is not None:
        facts.append(("linear baseline", "not measured"))
    random = _share(manifest, RANDOM_CELL_ACCURACY)
    if random is not None:
        facts.append((METRICS[RANDOM_CELL_ACCURACY][0], percent(random)))
    facts.append(("search time", duration(manifest.provenance.seconds)))
    if parameters is not None:
        facts.append(("parameters at full size", millions(parameters)))
    return facts


def overview_facts(manifest: Manifest) -> Facts:
    """Return the few figures that stand at the top of a page."""
    tasks = [("tasks", count(len(manifest.tasks)))] if len(manifest.tasks) > 1 else []
    return [
        *result_facts(manifest),
        *tasks,
        ("images", count(image_count(manifest))),
        ("classes", count(class_count(manifest))),
    ]


def supernet_facts(manifest: Manifest, stages: "Sequence[OperationMasks]") -> Facts:
    """Return search space, supernet, and masks after each stage."""
    network = manifest.network
    masks = (
        f"after stage {number}: at most {pluralize(stage.widest, 'operation')} an edge"
        for number, stage in enumerate(stages, start=1)
    )
    return [
        ("search space", str(manifest.search_space)),
        (
            "supernet",
            (
                f"{pluralize(network.cells, 'cell')}, {pluralize(network.channels, 'channel')}, "
                f"images of {pluralize(network.image_size, 'pixel')}"
            ),
        ),
        ("masks", "; ".join(masks)),
    ]


def search_facts(manifest: Manifest, stages: "Sequence[OperationMasks]") -> Facts:
    """Return search space, supernet, masks after each stage, and every setting."""
    settings = manifest.config.items()
    return [
        *supernet_facts(manifest, stages),
        *((key, setting(value)) for key, value in settings if key != "space"),
    ]


class Metric(NamedTuple):
    """A measured figure: label, value in words, and explanation (empty for an unknown one)."""

    label: str
    value: str
    explanation: str


def metric_label(key: str) -> str:
    """Return the name of a measured figure in words."""
    return METRICS[key][0] if key in METRICS else key.replace("_", " ")


def explained_metrics(manifest: Manifest) -> list[Metric]:
    """Return every measured figure with an explanation; unknown ones by their names, last."""
    metrics = manifest.metrics
    ordered = [key for key in METRICS if key in metrics]
    ordered += [key for key in metrics if key not in METRICS]
    return [
        Metric(
            label=metric_label(key),
            value=metric_text(key, metrics[key]),
            explanation=METRICS[key][1] if key in METRICS else "",
        )
        for key in ordered
    ]


def metric_facts(manifest: Manifest) -> Facts:
    """Return every measured figure."""
    return [(metric.label, metric.value) for metric in explained_metrics(manifest)]


def provenance_facts(made: Provenance) -> Facts:
    """Return when, with which seed, on what and by which code an artifact was made."""
    return [
        ("created", made.created),
        ("seed", str(made.seed)),
        ("search time", duration(made.seconds)),
        ("hardware", made.hardware),
        ("code", made.code_version),
        ("libraries", ", ".join(f"{n} {v}" for n, v in sorted(made.libraries.items()))),
    ]


def start_text(lineage: Lineage, digits: int = 0) -> str:
    """Return the start of the search in words: ``cold``, ``topology from digits@1``.

    Args:
        lineage: Of the artifact.
        digits: Characters of each parent's digest to show after its reference.
    """
    if not lineage.parents:
        return lineage.mode
    parents = (_parent(each.reference, each.digest, digits) for each in lineage.parents)
    return f"{lineage.mode} from {', '.join(parents)}"


def _parent(reference: str, digest: str, digits: int) -> str:
    if not digits:
        return reference
    return f"{reference} ({digest[:digits]}{'…' if digits < len(digest) else ''})"
