"""Image tasks: sources, identity, split, decoded pixels, batches and augmentation.

Imports nothing of the SDK but ``devices`` and ``progress``. Public: ``ImageTask``, ``Part``,
``Progress``.
"""

from wsdarts_sdk.data.pixels import Progress
from wsdarts_sdk.data.split import Part
from wsdarts_sdk.data.task import ImageTask

__all__ = ["ImageTask", "Part", "Progress"]
