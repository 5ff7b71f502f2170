"""Differentiable architecture search: settings, steps, stages, derivation of a genotype.

May import ``supernet``, ``data`` and ``runs``. Public: ``search`` and ``SearchResult``
(``loop``), ``SearchSettings`` (``settings``), ``derive_genotype`` (``derivation``). The
learning-rate schedule is in ``optimisers``.
"""
