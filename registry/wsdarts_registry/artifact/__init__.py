"""The published format: manifest, files, reading, writing, signatures, comparison.

May import ``architecture`` and ``embedding``. Public: ``Manifest`` (``manifest``; a new field
begins there), ``Artifact`` and ``read_artifact`` (``reader``), ``write_artifact`` (``writer``),
keys and signatures (``signing``), ``difference`` (``difference``), labels and formatted values to
show (``facts``).
"""
