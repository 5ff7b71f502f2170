"""Differentiable architecture search: settings, steps, stages, derivation of a genotype.

May import ``data``, ``runs`` and ``supernet``. Inside, ``loop`` imports
``cuda_graphs``, these ``step``, then ``state``, then ``settings``. Public:
``search`` and ``SearchResult`` (``loop``), ``SearchSettings`` (``settings``),
``derive_genotype`` (``derivation``). The learning rate and the dropout by epoch are in
``wsdarts_sdk.schedule``.
"""
