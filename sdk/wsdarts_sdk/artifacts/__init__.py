"""Artifacts of runs, and networks of artifacts: building and checking, loading, pulling.

May import ``data``, ``models``, ``runs``, ``search`` and ``supernet``. Public: ``build_artifact``
and ``run_check`` (``building``), ``pull`` (``pulling``), ``load_network`` and ``find_supernet``
(``loading``).
"""
