"""Paired differences of two arms: intervals by resampling, and a sign-flip test over tasks.

Two arms are compared on the same images of a task, with the same seeds. What differs by chance are
the seeds, the images and the tasks; each is resampled as a whole, so a seed that is drawn twice is
drawn twice for all images and both arms. Seeds and images are crossed, for which no resampling is
exact: this one counts the noise that belongs to a single seed and image up to three times, so the
intervals are rather too wide (Owen, "The pigeonhole bootstrap", 2007, arXiv:0710.0104).

Of ``n`` seeds or tasks ``n - 1`` are drawn, which makes the variance of a mean that of the unbiased
estimate; with ``n`` draws it would be half of that for two seeds (Rao and Wu, "Resampling inference
with complex survey data", 1988).
"""

import base64
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLES = 4000
_LEVEL = (0.025, 0.975)
_CLOSE = 1e-12


def pack_hits(right: NDArray[np.bool_]) -> str:
    """Return as text which images are labelled right, a bit each, in base64."""
    return base64.b64encode(np.packbits(right).tobytes()).decode()


def unpack_hits(text: str, images: int) -> NDArray[np.bool_]:
    """Return what ``pack_hits`` wrote, shape ``(images,)``."""
    packed = np.frombuffer(base64.b64decode(text), dtype=np.uint8)
    return np.unpackbits(packed, count=images).astype(np.bool_)


def differences(
    first: Mapping[int | None, NDArray[np.bool_]], second: Mapping[int | None, NDArray[np.bool_]]
) -> NDArray[np.int8]:
    """Return the hits of one arm less those of another: 1, 0 or -1 for each seed and image.

    Args:
        first: Whether each image is labelled right, shape ``(images,)``, by seed; by None for an
            arm without seeds, which is paired with each seed of the other.
        second: The same of the other arm.

    Returns:
        Shape ``(seeds, images)``, of the seeds that both have; no row where there are none.
    """
    seeds = sorted(seed for seed in {**first, **second} if seed is not None)
    shared = [s for s in seeds if {s, None} & first.keys() and {s, None} & second.keys()]
    rows = [_of(first, seed).astype(np.int8) - _of(second, seed).astype(np.int8) for seed in shared]
    return np.array(rows) if rows else np.zeros((0, 0), dtype=np.int8)


def _of(arm: Mapping[int | None, NDArray[np.bool_]], seed: int) -> NDArray[np.bool_]:
    return arm[seed] if seed in arm else arm[None]


def resampled_means(
    found: NDArray[np.int8], draws: np.random.Generator, samples: int = SAMPLES
) -> NDArray[np.float64]:
    """Return means of a task's differences, over resampled seeds and images.

    Args:
        found: Differences, shape ``(seeds, images)``.
        draws: Source of randomness.
        samples: How many means.

    Returns:
        Shape ``(samples,)``. With one seed the images alone are resampled.
    """
    seeds, images = found.shape
    # Images with the same differences in all seeds are alike: how many of each kind are drawn is
    # what resampling the images themselves gives, and there are few kinds.
    kinds, sizes = np.unique(found, axis=1, return_counts=True)
    drawn_images = draws.multinomial(images, sizes / images, size=samples) / images
    return np.asarray(((_shares(seeds, draws, samples) @ kinds) * drawn_images).sum(axis=1))


def _shares(count: int, draws: np.random.Generator, samples: int) -> NDArray[np.float64]:
    """Return how often each of so many is drawn, as shares, shape ``(samples, count)``."""
    times = max(1, count - 1)
    return np.asarray(draws.multinomial(times, np.full(count, 1 / count), size=samples) / times)


def interval(samples: NDArray[np.float64]) -> list[float]:
    """Return the 95 % percentile interval of resampled means."""
    return [float(bound) for bound in np.quantile(samples, _LEVEL)]


def sign_flip(means: Sequence[float]) -> float:
    """Return the two-sided p-value of the mean of paired differences, exactly.

    If two arms are equally good, each task's difference could as well have the other sign. The
    value is the share of all choices of signs whose mean is at least as far from 0 as the one that
    was found, so at best ``2 / 2 ** tasks``.

    Source: Fisher, "The Design of Experiments", 1935, section 21.
    """
    values = np.array(means, dtype=np.float64)
    signs = np.array(list(product((1, -1), repeat=len(values))))
    totals = np.abs(signs @ values)
    return float((totals >= abs(values.sum()) - _CLOSE).mean())


def compare(tasks: Mapping[str, NDArray[np.int8]], *, seed: int = 0) -> dict[str, Any]:
    """Compare two arms on several tasks, each of which counts alike.

    Args:
        tasks: Differences by task, shape ``(seeds, images)``, at least one seed each.
        seed: Seed of the resampling.

    Returns:
        ``by_task``: mean, interval and number of seeds; ``mean`` of the tasks' means; its
        ``interval`` on these tasks (seeds and images resampled) and ``interval_of_tasks`` (tasks
        as well; None for a single one); ``p`` of the sign-flip test and ``least_p``, the smallest
        that so many tasks can give.
    """
    draws = np.random.default_rng(seed)
    samples = {name: resampled_means(found, draws) for name, found in tasks.items()}
    means = {name: float(found.mean()) for name, found in tasks.items()}
    stacked = np.array(list(samples.values()))
    of_tasks = None
    if len(tasks) > 1:
        of_tasks = interval((_shares(len(tasks), draws, SAMPLES) * stacked.T).sum(axis=1))
    return {
        "by_task": {
            name: {
                "mean": means[name],
                "interval": interval(samples[name]),
                "seeds": len(tasks[name]),
            }
            for name in tasks
        },
        "mean": float(np.mean(list(means.values()))),
        "interval": interval(stacked.mean(axis=0)),
        "interval_of_tasks": of_tasks,
        "p": sign_flip(list(means.values())),
        "least_p": 2 / 2 ** len(tasks),
    }
