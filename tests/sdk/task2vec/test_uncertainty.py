"""The standard error by hand, against a bootstrap, and against distances of disjoint halves."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.sdk.task2vec.conftest import gratings
from wsdarts_registry.embedding.distance import symmetric_distance
from wsdarts_registry.embedding.embedding import relative_error
from wsdarts_sdk.task2vec.estimation import ProbeWithHead, standard_error
from wsdarts_sdk.task2vec.fisher import image_fisher
from wsdarts_sdk.task2vec.probe import Probe, fit_head


def test_two_images_and_two_filters_by_hand() -> None:
    # F = (2, 1). Relative shares (1/2, 2) and (3/2, 0): factors 5/4 and 3/4. What is left:
    # (1 - 5/2, 2 - 5/4) and (3 - 3/2, 0 - 3/4); squares sum up to (9/2, 9/8), over 2 · 1.
    # The plain standard error of the mean would be (1, 1).
    found = standard_error(np.array([[1.0, 2.0], [3.0, 0.0]]))
    np.testing.assert_allclose(found, [1.5, 0.75])


def test_a_factor_common_to_all_filters_is_no_error() -> None:
    shares = np.outer([1.0, 2.0, 6.0], [0.5, 3.0, 0.0])
    np.testing.assert_allclose(standard_error(shares), 0, atol=1e-12)


def test_unknown() -> None:
    assert standard_error(np.ones((1, 3))) is None
    assert standard_error(np.zeros((4, 3))) is None


@pytest.fixture
def shares(tiny_probe: Probe) -> NDArray[np.float64]:
    """Shares of 240 images of four classes, with one head."""
    images, labels = gratings(4, 60)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    pixels = pixels.repeat_interleave(2, 2).repeat_interleave(2, 3)
    head = fit_head(tiny_probe.features(pixels.float()), torch.from_numpy(labels), 10.0)
    network = ProbeWithHead(tiny_probe, head)
    rows = list(image_fisher(network, pixels, batch=60))
    return np.concatenate(rows).astype(np.float64)


def test_agrees_with_a_bootstrap(shares: NDArray[np.float64]) -> None:
    found = standard_error(shares)
    assert found is not None
    rng = np.random.default_rng(0)
    drawn = np.stack([shares[rng.integers(0, 240, 240)].mean(0) for _ in range(400)])
    mean = shares.mean(0)
    seen = mean > 0
    ratios = drawn[:, seen] / mean[seen]
    ratios /= ratios.mean(1, keepdims=True)
    np.testing.assert_allclose(found[seen] / mean[seen], ratios.std(0), rtol=0.15)


def test_says_how_far_samples_lie_apart() -> None:
    # The factors of whole images are large here, and no distance sees them.
    rng = np.random.default_rng(0)
    scales = rng.lognormal(0, 2, 500)
    found, said, plain = [], [], []
    for _ in range(20):
        pair = rng.gamma(0.5, size=(2, 200, 500)) * rng.lognormal(0, 1, (2, 200, 1)) * scales
        found.append(symmetric_distance(pair[0].mean(0), pair[1].mean(0)[None])[0])
        for shares in pair:
            error = standard_error(shares)
            assert error is not None
            said.append(relative_error(shares.mean(0), error) ** 2 / 2)
            plain.append((shares.var(0) / 200 / shares.mean(0) ** 2).mean() / 2)
    assert np.mean(found) == pytest.approx(2 * np.mean(said), rel=0.1)
    assert np.mean(plain) > 1.2 * np.mean(said)
