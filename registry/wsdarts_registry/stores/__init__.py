"""Registries: where artifacts live, how they are named, listed and found.

May import ``artifact`` and ``embedding``. Public: ``Store`` (``store``), ``DirectoryStore``
(``directory``), ``HubStore`` (``huggingface.store``), ``open_registry`` (``opening``), ``find``
(``query``), ``lineage`` (``lineage``), ``clean_cache`` (``cache``).
"""
