"""Where the images of a task come from: one module for each kind of source."""

from wsdarts_sdk.tasks.sources.base import ImageSource
from wsdarts_sdk.tasks.sources.opening import open_source

__all__ = ["ImageSource", "open_source"]
