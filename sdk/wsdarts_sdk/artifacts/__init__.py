"""Between runs and artifacts: what a search publishes, and what a warm start takes over.

May import ``models`` and what that imports. Public: ``build_artifact`` (``building``), ``pull``
and ``starting_point`` (``starting``), ``run_check`` (``check``).
"""
