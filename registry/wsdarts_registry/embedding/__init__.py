"""Task embeddings: their identity, the distance between them, ranking.

Imports nothing of the registry but errors, files, JSON, tensors and text. Public:
``TaskEmbedding`` (``embedding``), ``EmbeddingSpace`` (``space``), ``symmetric_distance``
(``distance``), ``rank`` and ``Ranking`` (``ranking``; the rule for "near" is there).
"""
