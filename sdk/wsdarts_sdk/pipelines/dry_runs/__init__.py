"""Estimates of what a command will take, from a few real steps or images of the real data.

No run directory is made, and nothing is kept but what is in the cache anyway: decoded images, and
features or an embedding of so few images that they were all computed. Times are those of the
machine as it is now.
"""
