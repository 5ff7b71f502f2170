"""Run directories: names of their files, configuration, journals, checkpoints, cost, start.

Imports of the SDK only ``progress``. Public: ``open_run`` (``directory``), ``Journal``
(``checkpoints``), ``Callback`` (``callbacks``), ``Costs`` and ``StartRecord`` (``records``).
"""
