"""Artifacts of runs, and networks of artifacts: building, checking, loading, pulling.

May import ``data``, ``models``, ``runs``, ``search`` and ``supernet``. Public: ``build_artifact``
(``building``), ``pull`` (``pulling``), ``run_check`` (``check``), ``load_network`` and
``find_supernet`` (``loading``).
"""
