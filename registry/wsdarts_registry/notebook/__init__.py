"""Views of objects in notebooks: HTML that is complete in itself and runs no script.

Depends on what it shows, which does not know it: importing this package registers the views of
genotypes, masks, artifacts, rankings, lineages and differences (``wsdarts_hub`` does so).
Public: ``view`` and its parts (``html``).
"""
