"""Reports: the facts of runs, their page, their charts, and comparisons of several.

May import ``runs`` and the results of ``search`` and ``models``; none of these knows a report.
Public: ``report`` (``report``), ``RunReport`` (``facts``).
"""
