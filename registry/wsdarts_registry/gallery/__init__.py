"""The gallery: a registry as a static site that works from a disk, without a server.

May import ``stores`` and what that imports. Public: ``build_gallery`` and ``serve_gallery``
(``site``).
"""
