"""The long jobs that users start, each in a run directory: search, warm start, training."""
