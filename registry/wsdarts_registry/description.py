"""What an artifact is, in a few words."""

from wsdarts_registry.amounts import count, several
from wsdarts_registry.inert import plain_text
from wsdarts_registry.manifest import WEIGHTS, Manifest

_MOST_TASKS = 5
_LONGEST_NAME = 80


def described(manifest: Manifest) -> str:
    """Its kind, and the tasks that it was found on; harmless, without a stop."""
    weights = WEIGHTS in manifest.files
    if manifest.kind == "meta-transfer":
        what = f"a meta-transfer architecture (λ_meta{', with weights' if weights else ''})"
    elif weights:
        what = "a trained transfer architecture (λ̂)"
    else:
        what = "a transfer architecture (λ, masks alone)"
    tasks = [
        f"{plain_text(task.name, _LONGEST_NAME)} ({several(task.images, 'image')}, "
        f"{count(task.classes)} {'class' if task.classes == 1 else 'classes'})"
        for task in manifest.tasks[:_MOST_TASKS]
    ]
    more = len(manifest.tasks) - len(tasks)
    return f"{what} found on {', '.join(tasks)}{f' and {count(more)} more tasks' if more else ''}"
