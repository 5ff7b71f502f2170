"""Gallery items: one version of an artifact each, and its facts as names and values in words."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from wsdarts_registry._format import count, millions, pluralize, setting
from wsdarts_registry.architecture.search_space import CELL_KINDS
from wsdarts_registry.artifact.facts import (
    BASELINE,
    CLASSIFIER,
    Facts,
    TrainedResult,
    TransferGain,
    class_count,
    final_parameters,
    image_count,
    licence_text,
    metric_facts,
    result_facts,
    start_text,
)
from wsdarts_registry.artifact.manifest import (
    CARD,
    CHECKSUM,
    GENOTYPE,
    MANIFEST,
    MASKS,
    PICTURE,
)
from wsdarts_registry.artifact.reader import Artifact
from wsdarts_registry.stores.records import Entry

KIND_TITLES = {
    "masks": "λ, operation masks",
    "weights": "λ̂, with weights",
    "meta": "λ_meta, several tasks",
}
KIND_TEXTS = {
    "masks": (
        "A transfer architecture: which operations survived a search, without weights. A search "
        "that starts from it chooses among them."
    ),
    "weights": (
        "A trained transfer architecture: the operations that survived, with the weights and α of "
        "the supernet that found them. A search can go on from there."
    ),
    "meta": (
        "A meta-transfer architecture: found by one search over several tasks that shared weights "
        "and α."
    ),
}
# Words in the name of a task, and the sign that is drawn for it.
_SIGNS = {
    "flower": ("flower", "plant", "leaf", "leaves", "tree", "fungi", "mushroom"),
    "animal": ("bird", "animal", "pet", "dog", "cats", "fish", "insect", "fauna"),
    "vehicle": ("aircraft", "plane", "vehicle", "cars", "ship", "traffic"),
    "texture": ("texture", "dtd", "pattern", "material", "fabric"),
    "digits": ("digit", "mnist", "number", "letter", "char", "svhn"),
    "map": ("satellite", "eurosat", "aerial", "land", "scene", "resisc"),
    "medical": ("medical", "xray", "histo", "blood", "derma", "tissue", "patho"),
    "objects": ("cifar", "imagenet", "object", "caltech", "stl", "coil"),
}
_SHORT = {"skip_connect": "skip", "none": "none"}
_SHORTENED = {"_conv": "", "_pool": "", "_": " ", "3x3": "3×3", "5x5": "5×5", "7x7": "7×7"}
_SHOWN_NODES = 6
_LONGEST_NAME = 14


def short_operation(name: str) -> str:
    """Return a short name of an operation, such as ``sep 3×3``."""
    short = _SHORT.get(name, name)
    for part, instead in _SHORTENED.items():
        short = short.replace(part, instead)
    return short if len(short) <= _LONGEST_NAME else f"{short[: _LONGEST_NAME - 1]}…"


def sign_of(task: str) -> str:
    """Return the sign of a task by its name; ``"image"`` where no word of it is known."""
    name = task.lower()
    return next((s for s, words in _SIGNS.items() if any(w in name for w in words)), "image")


@dataclass(frozen=True, kw_only=True, eq=False)
class GalleryItem:
    """A version of an artifact with all that the gallery shows of it.

    Attributes:
        entry: Its entry in the registry.
        artifact: Its verified content.
        latest: Whether a plain ``NAME`` means this version, so that it can be ranked.
    """

    entry: Entry
    artifact: Artifact
    latest: bool

    @cached_property
    def reference(self) -> str:
        """The exact reference, ``NAME@3``."""
        return str(self.entry.reference)

    @property
    def folder(self) -> str:
        """Folder of its files, from the gallery's root."""
        return f"artifacts/{self.entry.name}/v{self.entry.version}"

    @property
    def page(self) -> str:
        """Path of its page, from the gallery's root."""
        return f"{self.folder}.html"

    @property
    def sort(self) -> str:
        """``"masks"`` (λ), ``"weights"`` (λ̂) or ``"meta"`` (λ_meta)."""
        if self.entry.manifest.kind == "meta-transfer":
            return "meta"
        return "weights" if self.artifact.has_weights else "masks"

    @property
    def kind_title(self) -> str:
        """Kind in words."""
        return KIND_TITLES[self.sort]

    @cached_property
    def images(self) -> int:
        """Images of all its tasks."""
        return image_count(self.entry.manifest)

    @cached_property
    def classes(self) -> int:
        """Classes of all its tasks."""
        return class_count(self.entry.manifest)

    @cached_property
    def operations(self) -> tuple[str, ...]:
        """Operations that its cells use, in the order of the search space."""
        genotype = self.artifact.genotype
        used = {c.operation for kind in CELL_KINDS for node in genotype.cell(kind) for c in node}
        return tuple(name for name in genotype.space.candidates if name in used)

    @cached_property
    def result(self) -> TrainedResult | None:
        """Accuracy of a network trained with its cells, beside the linear baseline."""
        return TrainedResult.of(self.entry.manifest)

    @cached_property
    def transfer(self) -> TransferGain | None:
        """Gain of warm starts from it, compared with other artifacts; None if not stated."""
        return TransferGain.of(self.entry.manifest)

    @cached_property
    def parameters(self) -> int | None:
        """Parameters of its network at full size; None if not stated."""
        return final_parameters(self.entry.manifest)

    @property
    def size_text(self) -> str:
        """The same in words."""
        return "not stated" if self.parameters is None else millions(self.parameters)

    @property
    def signs(self) -> tuple[str, ...]:
        """Signs of its first tasks, each once."""
        tasks = self.entry.manifest.tasks[:8]
        return tuple(dict.fromkeys(sign_of(task.name) for task in tasks))[:3]

    @property
    def nodes(self) -> tuple[tuple[tuple[str, str, str], ...], ...]:
        """Inputs of the first nodes of the normal cell: source, operation, short name."""
        return tuple(
            tuple(
                (_source(each.source), each.operation, short_operation(each.operation))
                for each in node
            )
            for node in self.artifact.genotype.cell("normal")[:_SHOWN_NODES]
        )

    @property
    def hidden_nodes(self) -> int:
        """Nodes of the normal cell beyond those."""
        return max(0, len(self.artifact.genotype.cell("normal")) - _SHOWN_NODES)

    @property
    def raw_files(self) -> tuple[str, ...]:
        """Files that the gallery copies: all but the weights and their checksums."""
        files = self.entry.manifest.files
        own = [MANIFEST, CHECKSUM, GENOTYPE, MASKS]
        own += [record.file for record in self.entry.manifest.embeddings]
        return (*own, *(path for path in (CARD, PICTURE) if path in files))


def identity(item: GalleryItem) -> Facts:
    """Return names, digest, signature, kind and licence of an artifact."""
    entry = item.entry
    return [
        ("reference", item.reference),
        ("digest", entry.digest),
        ("other names", ", ".join(f"{entry.name}@{a}" for a in entry.status.aliases) or "none"),
        ("signature", "there is one; `verify` checks it" if entry.status.signed else "none"),
        ("kind", item.kind_title),
        ("licence", licence_text(entry.manifest)),
    ]


def _source(index: int) -> str:
    return f"k−{2 - index}" if index < 2 else str(index - 2)


def compared(item: GalleryItem) -> Facts:
    """Return the facts for a comparison of several items; names are equal for all."""
    manifest = item.entry.manifest
    genotype = item.artifact.genotype
    facts = [
        ("kind", item.kind_title),
        ("tasks", ", ".join(task.name for task in manifest.tasks)),
        ("images", count(item.images)),
        ("classes", count(item.classes)),
        ("operations used", ", ".join(item.operations)),
        *(
            (f"skip-connects, {kind} cell", count(genotype.count("skip_connect", kind)))
            for kind in CELL_KINDS
        ),
        ("seed", str(manifest.provenance.seed)),
        ("started", start_text(manifest.lineage)),
        ("preset", setting(manifest.config.get("preset"))),
        ("hardware", manifest.provenance.hardware),
        ("made", manifest.provenance.created[:10]),
        ("licence", licence_text(manifest)),
    ]
    above = {name for name, _ in worth(item)}
    return [*facts, *(fact for fact in metric_facts(manifest) if fact[0] not in above)]


def worth(item: GalleryItem) -> Facts:
    """Return what items are chosen by, under names that are equal for all."""
    found = dict(result_facts(item.entry.manifest))
    names = (
        "transfer gain",
        "trained accuracy",
        "linear baseline",
        "accuracy less baseline",
        "accuracy of a random cell",
        "search time",
    )
    return [(name, found.get(name, "–")) for name in (*names, "parameters at full size")]


@dataclass(frozen=True, kw_only=True)
class SettingGroup:
    """Settings of one subject.

    Attributes:
        title: The subject.
        chosen: Names and values that differ from the defaults, or have none.
        defaults: Those at their defaults.
    """

    title: str
    chosen: Facts
    defaults: Facts


DEFAULTS: dict[str, Any] = {
    "order": "first",
    "compute_dtype": "float32",
    "stable_epochs": None,
    "warm_skip_connects": None,
    "flip": True,
    "crop_padding": None,
    "weights": {
        "learning_rate": 0.025,
        "learning_rate_min": 0.0,
        "momentum": 0.9,
        "weight_decay": 3e-4,
        "gradient_clip": 5.0,
    },
    "alpha": {
        "learning_rate": 6e-4,
        "beta1": 0.5,
        "beta2": 0.999,
        "weight_decay": 1e-3,
        "gradient_clip": 5.0,
    },
}
"""Defaults of a search's settings, which this package cannot import; a test compares them."""

_GROUPS = {
    "Schedule": ("preset", "stages", "steps_per_epoch", "batch_size", "stable_epochs", "order"),
    "Supernet": ("channels", "compute_dtype", "skip_connects", "warm_skip_connects"),
    "Images": ("image_size", "flip", "crop_padding"),
    "Optimiser of the weights": ("weights",),
    "Optimiser of α": ("alpha",),
    "Training of the network": (CLASSIFIER, BASELINE),
}
_FIRST_OF_TRAINING = (
    "preset",
    "cells",
    "channels",
    "epochs",
    "batch_size",
    "image_size",
    "weights",
)
_ELSEWHERE = ("space", "seed")  # in other tables of the page


def setting_groups(item: GalleryItem) -> list[SettingGroup]:
    """Return the settings of the search and of the training by subject, empty ones left out."""
    config = item.entry.manifest.config
    grouped = {key for keys in _GROUPS.values() for key in keys} | set(_ELSEWHERE)
    others = tuple(key for key in config if key not in grouped)
    groups = [
        _group(title, {key: config[key] for key in keys if key in config})
        for title, keys in {**_GROUPS, "Other settings": others}.items()
    ]
    return [group for group in groups if group.chosen or group.defaults]


def _group(title: str, settings: dict[str, Any]) -> SettingGroup:
    chosen: Facts = []
    defaults: Facts = []
    for key, value in settings.items():
        if key == "stages":
            chosen += _stages(value)
        elif isinstance(value, dict) and key in ("weights", "alpha", CLASSIFIER):
            known = DEFAULTS.get(key, {})
            for name, part in value.items():
                usual = name in known and known[name] == part
                further = key == CLASSIFIER and name not in _FIRST_OF_TRAINING
                target = defaults if usual or further else chosen
                target.append((_named(name), setting(part)))
        else:
            usual = key in DEFAULTS and DEFAULTS[key] == value
            (defaults if usual else chosen).append((_named(key), setting(value)))
    return SettingGroup(title=title, chosen=chosen, defaults=defaults)


def _stages(stages: Any) -> Facts:
    names = ("cells", "operations", "epochs")
    if not isinstance(stages, list) or not all(isinstance(s, dict) for s in stages):
        return [("stages", setting(stages))]
    facts = []
    for number, stage in enumerate(stages, start=1):
        if not all(isinstance(stage.get(name), int) for name in names):
            facts.append((f"stage {number}", setting(stage)))
            continue
        text = f"{pluralize(stage['cells'], 'cell')}, at most "
        text += f"{pluralize(stage['operations'], 'operation')} an edge, "
        text += pluralize(stage["epochs"], "epoch")
        if stage.get("weights_only_epochs"):
            text += f" ({setting(stage['weights_only_epochs'])} of weights only)"
        if stage.get("skip_dropout"):
            text += f", dropout on skip-connects {setting(stage['skip_dropout'])}"
        facts.append((f"stage {number}", text))
    return facts


def _named(key: str) -> str:
    return {"skip_connects": "skip-connects, at most"}.get(key, key.replace("_", " "))
