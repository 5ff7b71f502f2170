"""Image tasks: sources, digests, split, decoded pixels, batches and augmentation.

May import no other package. Public: ``DataOptions``, ``ImageTask``,
``Part``; ``read_task`` in ``task``, ``Batch`` in ``loader``.
"""

from wsdarts_sdk.data.options import DataOptions
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask

__all__ = ["DataOptions", "ImageTask", "Part"]
