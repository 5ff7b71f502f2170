"""Architectures as data: search space, genotype, operation masks, verdicts.

May import no other package. Public: ``SearchSpace``
(``search_space``), ``Genotype`` (``genotype``), ``OperationMasks`` (``masks``), ``find_collapses``
and ``ChanceTest`` (``search_verdicts``). A new candidate operation begins in ``search_space``.
"""
