"""Baselines of a training: classifiers of the same held-out images, without any search.

``choice`` finds the one that a user names; ``linear`` and ``fine_tuning`` measure it.
"""
