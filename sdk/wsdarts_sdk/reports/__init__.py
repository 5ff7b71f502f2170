"""Reports of runs: facts, charts, the page of a run, comparisons of several, notebook views.

May import ``data``, ``presets``, ``runs``, and the results of ``search`` and ``models``. None of
these knows a report. Public: ``report`` and ``Report`` (``report``), ``RunReport`` (``facts``).
"""
