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

import wsdarts_registry.notebook  # noqa: F401 - registers the views of notebooks
