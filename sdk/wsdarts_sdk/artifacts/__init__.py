"""Between runs and artifacts: what a search publishes, and the check of published weights.

May import ``models`` and what that imports. Public: ``build_artifact`` (``building``), ``pull``
(``pulling``), ``run_check`` (``check``), ``find_supernet`` (``supernet_weights``).
"""
