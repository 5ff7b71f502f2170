"""Baselines beside a training: what labels the same held-out images without any search.

``choice`` finds the one that a user names; ``linear`` and ``fine_tuning`` measure it.
"""
