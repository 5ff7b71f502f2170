"""The gallery: a registry as a static site that works from a disk, without a server.

May import ``architecture``, ``artifact``, ``drawing``, ``embedding`` and ``stores``. Public:
``build_gallery`` and ``serve_gallery`` (``site``).
"""
