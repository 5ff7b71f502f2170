"""An architecture zoo: publish transfer architectures, and warm-start DARTS from the nearest.

```python
from wsdarts_hub import warm_start

result = warm_start("path/to/images")
print(result.source, result.genotype)
model = result.train(preset="small").model
```

Names are imported when they are first used, so that what needs no torch does not load it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str

    from wsdarts_registry.architecture.genotype import Genotype
    from wsdarts_registry.architecture.masks import OperationMasks
    from wsdarts_registry.architecture.space import SearchSpace
    from wsdarts_registry.artifact.difference import difference
    from wsdarts_registry.artifact.reader import Artifact
    from wsdarts_registry.artifact.signing import make_keys
    from wsdarts_registry.embedding.embedding import TaskEmbedding
    from wsdarts_registry.errors import WsdartsError
    from wsdarts_registry.gallery.site import build_gallery, serve_gallery
    from wsdarts_registry.publishing.publication import copy, push
    from wsdarts_registry.publishing.publication import sign_version as sign
    from wsdarts_registry.stores.cache import clean_cache
    from wsdarts_registry.stores.directory import DirectoryStore
    from wsdarts_registry.stores.lineage import lineage
    from wsdarts_registry.stores.opening import open_registry
    from wsdarts_registry.stores.query import find
    from wsdarts_registry.stores.signature_policy import SignaturePolicy
    from wsdarts_sdk.artifacts.pulling import pull
    from wsdarts_sdk.data import ImageTask
    from wsdarts_sdk.models.classifier import Classifier
    from wsdarts_sdk.models.loading import load_network
    from wsdarts_sdk.models.size import count
    from wsdarts_sdk.pipelines.embed import embed_data as embed
    from wsdarts_sdk.pipelines.embed import nearest
    from wsdarts_sdk.pipelines.search import SearchRun, search
    from wsdarts_sdk.pipelines.train import TrainingRun, train
    from wsdarts_sdk.pipelines.warm_start import WarmStart, warm_start
    from wsdarts_sdk.presets import PAPER, PRESETS, SMALL, TINY, Preset
    from wsdarts_sdk.progress import silent
    from wsdarts_sdk.reports.report import report
    from wsdarts_sdk.search.settings import darts
    from wsdarts_sdk.task2vec import FisherSettings, VariationalSettings, load_probe

_DISTRIBUTION = "wsdarts-hub"
_HOME = {
    "Artifact": "wsdarts_registry.artifact.reader",
    "Classifier": "wsdarts_sdk.models.classifier",
    "DirectoryStore": "wsdarts_registry.stores.directory",
    "FisherSettings": "wsdarts_sdk.task2vec",
    "Genotype": "wsdarts_registry.architecture.genotype",
    "ImageTask": "wsdarts_sdk.data",
    "OperationMasks": "wsdarts_registry.architecture.masks",
    "PAPER": "wsdarts_sdk.presets",
    "PRESETS": "wsdarts_sdk.presets",
    "Preset": "wsdarts_sdk.presets",
    "SMALL": "wsdarts_sdk.presets",
    "SearchRun": "wsdarts_sdk.pipelines.search",
    "SearchSpace": "wsdarts_registry.architecture.space",
    "SignaturePolicy": "wsdarts_registry.stores.signature_policy",
    "TINY": "wsdarts_sdk.presets",
    "TaskEmbedding": "wsdarts_registry.embedding.embedding",
    "TrainingRun": "wsdarts_sdk.pipelines.train",
    "VariationalSettings": "wsdarts_sdk.task2vec",
    "WarmStart": "wsdarts_sdk.pipelines.warm_start",
    "WsdartsError": "wsdarts_registry.errors",
    "build_gallery": "wsdarts_registry.gallery.site",
    "count": "wsdarts_sdk.models.size",
    "clean_cache": "wsdarts_registry.stores.cache",
    "copy": "wsdarts_registry.publishing.publication",
    "darts": "wsdarts_sdk.search.settings",
    "difference": "wsdarts_registry.artifact.difference",
    "embed": "wsdarts_sdk.pipelines.embed:embed_data",
    "load_network": "wsdarts_sdk.models.loading",
    "find": "wsdarts_registry.stores.query",
    "lineage": "wsdarts_registry.stores.lineage",
    "load_probe": "wsdarts_sdk.task2vec",
    "make_keys": "wsdarts_registry.artifact.signing",
    "nearest": "wsdarts_sdk.pipelines.embed",
    "open_registry": "wsdarts_registry.stores.opening",
    "pull": "wsdarts_sdk.artifacts.pulling",
    "push": "wsdarts_registry.publishing.publication",
    "report": "wsdarts_sdk.reports.report",
    "search": "wsdarts_sdk.pipelines.search",
    "serve_gallery": "wsdarts_registry.gallery.site",
    "sign": "wsdarts_registry.publishing.publication:sign_version",
    "silent": "wsdarts_sdk.progress",
    "train": "wsdarts_sdk.pipelines.train",
    "warm_start": "wsdarts_sdk.pipelines.warm_start",
}

__all__ = [
    "PAPER",
    "PRESETS",
    "SMALL",
    "TINY",
    "Artifact",
    "Classifier",
    "DirectoryStore",
    "FisherSettings",
    "Genotype",
    "ImageTask",
    "OperationMasks",
    "Preset",
    "SearchRun",
    "SearchSpace",
    "SignaturePolicy",
    "TaskEmbedding",
    "TrainingRun",
    "VariationalSettings",
    "WarmStart",
    "WsdartsError",
    "build_gallery",
    "clean_cache",
    "copy",
    "count",
    "darts",
    "difference",
    "embed",
    "find",
    "lineage",
    "load_network",
    "load_probe",
    "make_keys",
    "nearest",
    "open_registry",
    "pull",
    "push",
    "report",
    "search",
    "serve_gallery",
    "sign",
    "silent",
    "train",
    "warm_start",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - only who asks waits for it

        return version(_DISTRIBUTION)
    if name not in _HOME:
        raise AttributeError(f"module 'wsdarts_hub' has no attribute {name!r}")
    module, _, attribute = _HOME[name].partition(":")
    from wsdarts_registry._libraries import naming_hidden_libraries  # noqa: PLC0415

    with naming_hidden_libraries():
        value = getattr(import_module(module), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return [*__all__, "__version__"]
