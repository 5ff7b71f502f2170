"""Reading the datasets that commands are given."""

from typing import TYPE_CHECKING

import wsdarts_hub as hub
from wsdarts_hub.cli.display import note
from wsdarts_registry.amounts import several

if TYPE_CHECKING:
    from wsdarts_sdk.progress import Progress
    from wsdarts_sdk.tasks import ImageTask


def load_data(
    data: str,
    *,
    image_column: str | None,
    label_column: str | None,
    split: str | None,
    skip_corrupt: bool,
    quiet: bool,
    progress: "Progress",
) -> "ImageTask":
    """Read a dataset, and say what its owner should know of how it was read."""
    task = hub.ImageTask.load(
        data,
        image_column=image_column,
        label_column=label_column,
        split=split,
        skip_corrupt=skip_corrupt,
        progress=progress,
    )
    for text in () if quiet else task.notes:
        note(f"{task.name}: {text}")
    if task.skipped and not quiet:
        note(f"{task.name}: left out {several(len(task.skipped), 'corrupt image')}:")
        for skipped in task.skipped:
            note(f"  {skipped}")
    return task
