"""Task embeddings: their identity, the distance between them, ranking.

Imports nothing of the registry but its lowest modules. Public: ``TaskEmbedding`` (``embedding``),
``EmbeddingSpace`` and the rule for "near" (``embedding_space``, without numpy),
``symmetric_distance`` (``distance``), ``rank`` and ``Ranking`` (``ranking``).
"""
