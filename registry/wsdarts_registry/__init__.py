"""The zoo without torch: architectures, artifacts, embeddings, registries and their display.

Packages import downwards only::

    gallery  notebook  publishing      what users see and publish
    stores                             registries: directories and the Hugging Face Hub
    artifact                           the published format, references
    embedding  drawing                 distances between tasks; pictures of cells
    architecture                       search space, genotype, operation masks
    _tensors, _files, _json, …         files and their forms, arguments, libraries
    errors, _text, …                   errors, text from outside, figures in words

Nothing here imports torch, so a laptop without it can browse, rank and publish. What is stable
is what ``wsdarts_hub`` names; everything else may change.
"""

from wsdarts_registry._views import register_views

_VIEWS = "wsdarts_registry.notebook"

register_views(
    {
        "wsdarts_registry.architecture.genotype:Genotype": f"{_VIEWS}:genotype_view",
        "wsdarts_registry.architecture.masks:OperationMasks": f"{_VIEWS}:masks_view",
        "wsdarts_registry.artifact.difference:Difference": f"{_VIEWS}:difference_view",
        "wsdarts_registry.artifact.reader:Artifact": f"{_VIEWS}:artifact_view",
        "wsdarts_registry.embedding.ranking:Ranking": f"{_VIEWS}:ranking_view",
        "wsdarts_registry.stores.lineage:LineageTree": f"{_VIEWS}:lineage_view",
    }
)
