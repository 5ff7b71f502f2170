"""Views of objects in notebooks: HTML that is complete in itself and runs no script.

May import ``architecture``, ``artifact``, ``drawing``, ``embedding`` and ``stores``. None of these
knows a view: importing ``wsdarts_registry`` registers these views by name, and they are loaded when
an object is first shown. Public: ``view`` and its parts, and the panels that other views share
(``views``).
"""

from wsdarts_registry._views import register_views

_VIEWS = "wsdarts_registry.notebook.views"

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
