"""The pictures of the concepts, redrawn by ``python -m docs.pictures``."""
