"""A small genotype with every operation, and digits to train it on."""

import pytest

from wsdarts_registry.architecture.genotype import Connection, Genotype
from wsdarts_registry.architecture.search_space import SearchSpace


def _cell(*nodes: tuple[tuple[str, int], ...]) -> tuple[tuple[Connection, ...], ...]:
    return tuple(
        tuple(Connection(operation=operation, source=source) for operation, source in node)
        for node in nodes
    )


@pytest.fixture(scope="session")
def genotype() -> Genotype:
    """Two nodes; the normal cell has convolutions and an identity, the other one poolings."""
    return Genotype(
        space=SearchSpace(nodes=2),
        normal=_cell(
            (("sep_conv_3x3", 0), ("skip_connect", 1)), (("dil_conv_5x5", 0), ("skip_connect", 2))
        ),
        reduction=_cell(
            (("max_pool_3x3", 0), ("skip_connect", 1)), (("avg_pool_3x3", 1), ("dil_conv_3x3", 2))
        ),
    )
