"""Between runs and artifacts: what a search publishes, the check of weights, networks by name.

May import ``models`` and what that imports. Public: ``build_artifact`` (``building``), ``pull``
(``pulling``), ``run_check`` (``check``), ``load_network`` and ``find_supernet`` (``loading``).
"""
