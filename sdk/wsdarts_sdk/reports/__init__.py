"""Reports of runs: facts, charts, the page of a run, comparisons of several, notebook views.

May import ``runs``, ``data``, ``presets`` and the results of ``search`` and ``models``; none of
these knows a report. Public: ``report`` and ``Report`` (``report``), ``RunReport`` (``facts``).
"""
