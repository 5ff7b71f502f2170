"""Run directories: names of their files, configuration, journals, checkpoints, cost, start.

May import no other package. Public: ``open_run`` (``directory``), ``Journal`` (``checkpoints``),
``Evaluation``, ``Baseline`` and ``GenotypeChoice`` (``result_records``).
"""
