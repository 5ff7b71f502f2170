r"""The standard error of a Fisher information.

For n images whose shares in filter f are $q_{if}$, with mean $F_f$, the standard error is

$$e_f = \sqrt{\frac{1}{n (n - 1)} \sum_i \left(q_{if} - m_i F_f\right)^2},
  \quad m_i = mean_f \frac{q_{if}}{F_f}.$$

$m_i$, the factor by which image i exceeds the mean at all filters alike, is taken out because
distances do not see it. (With $m_i = 1$ it would be the usual standard error of a mean, which is
about 3 % larger in what was measured.) Sketches of the label expectation are drawn for each image
on its own, so their noise is in it.

It is that of the images for the head as it is. The head is fitted to the same images, and other
images would give another one: disjoint halves of a task lay 0.8 to 1.4 times as far apart as this
error says if they had one head, and 1.5 to 8 times if each had its own. (Six pairs of halves, 120
to 400 images each, 10 or 102 classes, the shipped probe.) So it tells how far some of a task's
images are from all of them, where all have a part in the head, rather than from other images.
"""

import numpy as np
from numpy.typing import NDArray


def standard_error(shares_NF: NDArray[np.floating]) -> NDArray[np.float64] | None:
    """Return the standard error of the mean of the images' shares; see the top of this module.

    Args:
        shares_NF: What each image adds to each filter, shape ``(images, filters)``, >= 0.

    Returns:
        Shape ``(filters,)``; None for one image alone, or if all shares are 0.
    """
    images = len(shares_NF)
    shares_NF = shares_NF.astype(np.float64)
    mean_F = shares_NF.mean(0)
    seen = mean_F > 0
    if images < 2 or not seen.any():
        return None
    factors_N = (shares_NF[:, seen] / mean_F[seen]).mean(1)
    shares_NF -= factors_N[:, None] * mean_F
    error: NDArray[np.float64] = np.sqrt(np.square(shares_NF).sum(0) / (images * (images - 1)))
    return error
