"""Registries of artifacts: opening, listing, finding, ranking, lineage and their caches.

May import ``architecture``, ``artifact`` and ``embedding``. Public: ``Store`` (``store``),
``DirectoryStore`` (``directory``), ``HubStore`` (``huggingface.store``), ``open_registry``
(``opening``), ``find`` (``query``), ``lineage`` (``lineage``), ``clean_cache`` (``cache``).
``records`` holds what a registry keeps of each version, ``signature_policy`` which signatures are
required.
"""
