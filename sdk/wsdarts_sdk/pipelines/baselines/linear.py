"""The baseline ``linear``: a linear classifier on a probe's features."""

import time

from wsdarts_sdk.data import ImageTask
from wsdarts_sdk.models.network import Size, count
from wsdarts_sdk.pipelines.baselines.measured import Measured
from wsdarts_sdk.progress import Progress
from wsdarts_sdk.task2vec import Probe
from wsdarts_sdk.task2vec.linear_classifier import fit_linear_classifier, trained_on


def measure_linear(task: ImageTask, probe: Probe, progress: Progress) -> Measured:
    """Fit the classifier to the train part, and label the held-out images.

    Args:
        task: The dataset.
        probe: The network that makes the features.
        progress: Told how many images the probe has seen, and the figure.

    Raises:
        SettingsError: The fit does not converge.
        TaskError: An image has changed since the task was loaded.
    """
    started = time.perf_counter()
    fitted = fit_linear_classifier(task, probe, progress=progress)
    size = count(probe.model, probe.preprocessing.size)
    head = fitted.head.weight.numel()
    found = Measured(
        name=f"linear classifier on the features of {probe.name}",
        kind="linear",
        right=fitted.logits.argmax(1).numpy() == task.labels[task.indices(task.held_out)],
        size=Size(
            parameters=size.parameters + fitted.parameters,
            multiply_adds=size.multiply_adds + head,
            image_size=size.image_size,
        ),
        chosen=fitted.chosen,
        trained_on=trained_on(probe, task),
        seconds=time.perf_counter() - started,
    )
    found.announce(progress)
    return found
