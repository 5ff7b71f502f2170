"""Image tasks: sources, digests, split, decoded pixels, batches and augmentation.

May import no other package. Public: ``ImageTask`` and ``read_task`` (``task``), ``DataOptions``
(``options``), ``Part`` (``split``), ``Batch`` (``loader``).
"""
