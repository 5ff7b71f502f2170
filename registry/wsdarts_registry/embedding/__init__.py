"""Task embeddings: their identity, the distance between them, ranking.

May import no other package. Public: ``TaskEmbedding`` (``embedding``),
``EmbeddingSpace`` and the rule for "near" (``embedding_space``, without numpy),
``symmetric_distance`` (``distance``), ``rank`` and ``Ranking`` (``ranking``).
"""
