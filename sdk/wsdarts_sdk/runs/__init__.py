"""Run directories: configuration, checkpoints, metrics and reports."""
