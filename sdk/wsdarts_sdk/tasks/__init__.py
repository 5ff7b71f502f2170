"""Tasks: labelled image datasets, what identifies them, their split and their pixels."""

from wsdarts_sdk.tasks.pixels import Progress
from wsdarts_sdk.tasks.split import Part
from wsdarts_sdk.tasks.task import ImageTask

__all__ = ["ImageTask", "Part", "Progress"]
