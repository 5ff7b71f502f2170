"""Sizes of networks, against counts by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.sdk.models.published import DARTS_V2, PDARTS
from wsdarts_hub import Classifier, count, load_network
from wsdarts_registry.architecture.genotype import Genotype
from wsdarts_registry.architecture.masks import OperationMasks
from wsdarts_registry.architecture.search_space import CELL_KINDS, SearchSpace
from wsdarts_registry.errors import SettingsError
from wsdarts_sdk.models.network import DerivedNetwork, final_sizes, operation_sizes
from wsdarts_sdk.search.derivation import draw_candidates


def test_multiply_adds_by_hand(genotype: Genotype) -> None:
    net = DerivedNetwork(genotype, classes=5, cells=3, channels=4, auxiliary=True)
    # At 8×8; cells have 4, 8 and 16 channels, and put out 8, 16 and 32 at 8×8, 4×4 and 2×2.
    stem = 3 * 9 * 12 * 64
    normal = (
        2 * 12 * 4 * 64  # both inputs
        + 2 * (9 * 4 + 4 * 4) * 64  # sep_conv_3x3: depthwise and pointwise, twice
        + (25 * 4 + 4 * 4) * 64  # dil_conv_5x5
    )
    # Inputs at 8×8; skip_connect with stride 2 makes two halves of 4 channels at 4×4; the
    # dil_conv_3x3 stands on an edge within the cell, so at 4×4.
    first = (12 * 8 + 8 * 8) * 64 + (2 * 8 * 4) * 16 + (9 * 8 + 8 * 8) * 16
    # The input before a reduction cell has 8 channels at 8×8 and is halved to 4×4.
    second = (2 * 8 * 8) * 16 + (16 * 16) * 16 + (2 * 16 * 8) * 4 + (9 * 16 + 16 * 16) * 4
    found = count(net, 8)
    assert found.multiply_adds == stem + normal + first + second + 32 * 5
    tower = sum(p.numel() for p in net.auxiliary.parameters())  # type: ignore[union-attr]
    assert found.parameters == sum(p.numel() for p in net.parameters()) - tower
    assert str(found) == (
        f"{found.parameters:,} parameters, {found.multiply_adds:,} multiply-adds at 8×8"
    )


def test_networks_of_the_papers() -> None:
    # The public networks compute the same maps, and so have the same convolutions. Their papers
    # print 557 M (P-DARTS, see below) and 574 M (DARTS).
    large = [
        count(load_network(t, classes=1000, channels=48, cells=14, stem="imagenet"), 224)
        for t in (PDARTS, DARTS_V2)
    ]
    assert [size.parameters for size in large] == [4_944_352, 4_718_752]
    assert [round(size.multiply_adds / 1e6) for size in large] == [543, 530]


def test_what_the_paper_of_p_darts_counts_beside_convolutions() -> None:
    # 557 M is what ptflops says: biases too, two for each number of a norm, one for each number
    # that a ReLU puts out or a pooling takes in. Run on the public code it says 557,383,912.
    net = load_network(PDARTS, classes=1000, channels=48, cells=14, stem="imagenet")
    products = count(net, 224).multiply_adds
    others: list[int] = []
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda m, x, y: others.append(2 * y.numel()))
        elif isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda m, x, y: others.append(y.numel()))
        elif isinstance(module, nn.AvgPool2d | nn.MaxPool2d):
            module.register_forward_hook(lambda m, x, y: others.append(x[0].numel()))
    with torch.no_grad():
        net.eval()(torch.zeros(1, 3, 224, 224))
    # Where cells halve what comes before them, our ReLU is a function: 48 channels of 56×56, 192 of
    # 28×28, 384 of 14×14. The last pooling, of 768 channels of 7×7, is one, too.
    functions = 48 * 56**2 + 192 * 28**2 + 384 * 14**2 + 768 * 7**2
    assert products + 1000 + sum(others) + functions == 557_383_912


def test_the_network_is_left_as_it_is(genotype: Genotype) -> None:
    net = DerivedNetwork(genotype, classes=5, cells=3, channels=4)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert count(net, 16).multiply_adds > 3 * count(net, 8).multiply_adds
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    model = Classifier(
        net, mean=torch.zeros(3), std=torch.ones(3), image_size=8, class_names=tuple("abcde")
    )
    assert count(model, 8) == count(net, 8)


def test_images_that_are_too_small(genotype: Genotype) -> None:
    net = DerivedNetwork(genotype, classes=5, cells=3, channels=4)
    with pytest.raises(SettingsError, match="images of 0 pixels"):
        count(net, 0)


def test_the_final_network_of_an_artifact() -> None:
    genotype = Genotype.from_darts(PDARTS)
    net = load_network(genotype, classes=10)
    whole, last = count(net, 32), 256 * 10  # 4 nodes of 64 channels
    maps = whole.multiply_adds - last
    assert final_sizes(genotype) == {
        "final_parameters": whole.parameters - last - 10,
        "final_multiply_adds_32": maps,
        "final_multiply_adds_224": 49 * maps,
    }
    assert count(net, 64).multiply_adds - last == 4 * maps  # so all maps grow with the image


def test_sizes_are_sums_over_operations() -> None:
    space = SearchSpace(
        nodes=3,
        candidates=("none", "max_pool_3x3", "skip_connect", "sep_conv_5x5", "dil_conv_3x3"),
    )
    shape = {"classes": 7, "cells": 5, "channels": 4}
    sizes = operation_sizes(space, image_size=16, **shape)
    level = {kind: np.zeros(space.shape) for kind in CELL_KINDS}
    for genotype in draw_candidates(OperationMasks.full(space), level, 8):
        assert sizes.of(genotype) == count(DerivedNetwork(genotype, **shape), 16)
