"""Task2Vec: embeddings of tasks by the Fisher information of a probe network.

May import ``data``. Public: ``embed``, ``embedding_space`` and ``embedding_seconds``
(``embedding``), the settings of the two estimators (``fisher``, ``variational``), ``Probe``
(``probe``), ``load_probe`` (``loading``).
"""
