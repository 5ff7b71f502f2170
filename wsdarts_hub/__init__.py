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

    from wsdarts_registry.artifact import Artifact
    from wsdarts_registry.cleaning import clean_cache
    from wsdarts_registry.copying import copy
    from wsdarts_registry.difference import difference
    from wsdarts_registry.directory_store import DirectoryStore
    from wsdarts_registry.embedding import TaskEmbedding
    from wsdarts_registry.errors import WsdartsError
    from wsdarts_registry.finding import find
    from wsdarts_registry.gallery.server import serve_gallery
    from wsdarts_registry.gallery.site import build_gallery
    from wsdarts_registry.genotype import Genotype
    from wsdarts_registry.lineage import lineage
    from wsdarts_registry.masks import OperationMasks
    from wsdarts_registry.publication import push
    from wsdarts_registry.publication import sign_version as sign
    from wsdarts_registry.signature_policy import SignaturePolicy
    from wsdarts_registry.signing import make_keys
    from wsdarts_registry.space import SearchSpace
    from wsdarts_registry.zoo import open_registry
    from wsdarts_sdk.artifacts.pulling import pull
    from wsdarts_sdk.jobs.embedding import embed_data as embed
    from wsdarts_sdk.jobs.embedding import nearest
    from wsdarts_sdk.jobs.searching import SearchRun, search
    from wsdarts_sdk.jobs.training import TrainingRun, train
    from wsdarts_sdk.jobs.warm_starting import WarmStart, warm_start
    from wsdarts_sdk.network.classifier import Classifier
    from wsdarts_sdk.network.counting import count
    from wsdarts_sdk.network.loading import load_network
    from wsdarts_sdk.presets import PAPER, PRESETS, SMALL, TINY, Preset
    from wsdarts_sdk.progress import silent
    from wsdarts_sdk.runs.reporting import report
    from wsdarts_sdk.search.settings import darts
    from wsdarts_sdk.task2vec import FisherSettings, VariationalSettings, load_probe
    from wsdarts_sdk.tasks import ImageTask

_DISTRIBUTION = "wsdarts-hub"
_HOME = {
    "Artifact": "wsdarts_registry.artifact",
    "Classifier": "wsdarts_sdk.network.classifier",
    "DirectoryStore": "wsdarts_registry.directory_store",
    "FisherSettings": "wsdarts_sdk.task2vec",
    "Genotype": "wsdarts_registry.genotype",
    "ImageTask": "wsdarts_sdk.tasks",
    "OperationMasks": "wsdarts_registry.masks",
    "PAPER": "wsdarts_sdk.presets",
    "PRESETS": "wsdarts_sdk.presets",
    "Preset": "wsdarts_sdk.presets",
    "SMALL": "wsdarts_sdk.presets",
    "SearchRun": "wsdarts_sdk.jobs.searching",
    "SearchSpace": "wsdarts_registry.space",
    "SignaturePolicy": "wsdarts_registry.signature_policy",
    "TINY": "wsdarts_sdk.presets",
    "TaskEmbedding": "wsdarts_registry.embedding",
    "TrainingRun": "wsdarts_sdk.jobs.training",
    "VariationalSettings": "wsdarts_sdk.task2vec",
    "WarmStart": "wsdarts_sdk.jobs.warm_starting",
    "WsdartsError": "wsdarts_registry.errors",
    "build_gallery": "wsdarts_registry.gallery.site",
    "count": "wsdarts_sdk.network.counting",
    "clean_cache": "wsdarts_registry.cleaning",
    "copy": "wsdarts_registry.copying",
    "darts": "wsdarts_sdk.search.settings",
    "difference": "wsdarts_registry.difference",
    "embed": "wsdarts_sdk.jobs.embedding:embed_data",
    "load_network": "wsdarts_sdk.network.loading",
    "find": "wsdarts_registry.finding",
    "lineage": "wsdarts_registry.lineage",
    "load_probe": "wsdarts_sdk.task2vec",
    "make_keys": "wsdarts_registry.signing",
    "nearest": "wsdarts_sdk.jobs.embedding",
    "open_registry": "wsdarts_registry.zoo",
    "pull": "wsdarts_sdk.artifacts.pulling",
    "push": "wsdarts_registry.publication",
    "report": "wsdarts_sdk.runs.reporting",
    "search": "wsdarts_sdk.jobs.searching",
    "serve_gallery": "wsdarts_registry.gallery.server",
    "sign": "wsdarts_registry.publication:sign_version",
    "silent": "wsdarts_sdk.progress",
    "train": "wsdarts_sdk.jobs.training",
    "warm_start": "wsdarts_sdk.jobs.warm_starting",
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
    from wsdarts_registry.libraries import naming_hidden_libraries  # noqa: PLC0415

    with naming_hidden_libraries():
        value = getattr(import_module(module), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return [*__all__, "__version__"]
