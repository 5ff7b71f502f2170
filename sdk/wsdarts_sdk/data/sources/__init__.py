"""Sources of images: one module for each form in which users hand in a dataset.

May import the decoding of images and the split. Public: ``ImageSource``,
``open_source``.
"""

from wsdarts_sdk.data.sources._opening import open_source
from wsdarts_sdk.data.sources.base import ImageSource

__all__ = ["ImageSource", "open_source"]
