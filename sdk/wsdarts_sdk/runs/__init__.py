"""Run directories: configuration, journals with checkpoints, environment, cost.

Imports nothing of the SDK. Public: ``open_run`` (``directory``), ``Journal`` (``journal``).
"""
