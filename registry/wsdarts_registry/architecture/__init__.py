"""Architectures as data: search space, genotype, operation masks, skip-connect collapse.

Imports nothing of the registry but errors, files, JSON and text. Public: ``SearchSpace``
(``search_space``), ``Genotype`` (``genotype``), ``OperationMasks`` (``masks``), ``find_collapses``
(``collapse``). A new candidate operation begins in ``search_space``.
"""
