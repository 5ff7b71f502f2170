"""The datasets that commands are given: read by the job, once it has checked everything else."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from wsdarts_hub.cli.display import note
from wsdarts_registry.amounts import several

if TYPE_CHECKING:
    from wsdarts_sdk.jobs.inputs import UnreadData
    from wsdarts_sdk.tasks import ImageTask


def unread(
    data: str,
    *,
    image_column: str | None,
    label_column: str | None,
    split: str | None,
    skip_corrupt: bool,
    quiet: bool,
    on_load: "Callable[[ImageTask], None] | None" = None,
) -> "UnreadData":
    """A dataset that the job reads; the images that are left out of it are listed then.

    Args:
        data: As typed.
        image_column: Option of that name, as those that follow.
        label_column: As for ``ImageTask.load``.
        split: As for ``ImageTask.load``.
        skip_corrupt: As for ``ImageTask.load``.
        quiet: Whether to list nothing.
        on_load: Called with the task, too.
    """
    from wsdarts_sdk.jobs.inputs import ReadingOptions, UnreadData  # noqa: PLC0415

    def loaded(task: "ImageTask") -> None:
        for text in () if quiet else task.notes:
            note(f"{task.name}: {text}")
        if task.skipped and not quiet:
            note(f"{task.name}: left out {several(len(task.skipped), 'corrupt image')}:")
            for skipped in task.skipped:
                note(f"  {skipped}")
        if on_load is not None:
            on_load(task)

    return UnreadData(
        data=data,
        reading=ReadingOptions(
            image_column=image_column,
            label_column=label_column,
            split=split,
            skip_corrupt=skip_corrupt,
        ),
        on_load=loaded,
    )
