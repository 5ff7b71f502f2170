"""How much memory a step needs, known before it runs.

Counted are the tensors of image size: what the forward pass of the weights keeps for the
backward pass, and the gradients that the backward pass holds at its widest. Weights, optimisers
and a thread's own buffers are small beside them.
"""

from collections.abc import Sequence

from wsdarts_sdk.supernet.kernels.base import strided
from wsdarts_sdk.supernet.plan import CellPlan, Group

# Depthwise and pointwise results of each half; one result of everything else that computes.
_KEPT_BY_HALF = 2


def elements_per_image(plans: Sequence[CellPlan], stem: int, size: int) -> int:
    """Elements that one image of a batch needs in a step of the weights.

    Args:
        plans: Of the supernet's cells.
        stem: Channels of its stem.
        size: Rows and columns of an image.
    """
    kept = passing = 3 * stem * size**2  # convolution, norm and gradient of the stem
    for plan in plans:
        before = size**2
        if plan.kind == "reduction":
            size = strided(size, 2)
        area = size**2
        inputs = 4 * plan.channels * before  # two inputs, before and after their norm
        branches = sum(_kept(group) * plan.channels * area for group in plan.groups)
        output = plan.nodes * plan.channels * area
        kept += inputs + branches + output
        widest = max(
            (len(group.edges) * plan.channels * area for group in plan.groups if group.halves),
            default=0,
        )
        # Gradients of three outputs, of the cell's inputs, and between two halves.
        passing = max(passing, 3 * output + inputs // 2 + widest)
    return kept + passing


def _kept(group: Group) -> int:
    """Results that a group keeps, in tensors of one branch."""
    if group.halves:
        return _KEPT_BY_HALF * len(group.halves) * len(group.edges)
    if group.identity:
        return 0
    return len(group.edges) if group.parts else 1  # the edges of a pool share its result
