"""The published format: names, manifest, files, reading, writing, signatures, comparison.

May import ``architecture`` and ``embedding``. Public: ``Reference`` (``reference``), ``Manifest``
(``manifest``; a new field begins there), ``Artifact`` and ``read_artifact`` (``reader``),
``write_artifact`` (``writer``), keys and signatures (``signing``), ``difference``
(``difference``).
"""
