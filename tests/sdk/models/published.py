"""Genotypes as their authors printed them, and the numbers of parameters that they published."""

# Chen et al., "Progressive Differentiable Architecture Search", 2019, arXiv:1904.12760: the
# genotype of its public code. 3.4 M parameters on CIFAR-10 (20 cells, 36 channels, table 1),
# 4.9 M on ImageNet (14 cells, 48 channels, table 2).
PDARTS = """PDARTS = Genotype(normal=[('skip_connect', 0), ('dil_conv_3x3', 1), ('skip_connect', 0),
('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('sep_conv_3x3', 3), ('sep_conv_3x3',0),
('dil_conv_5x5', 4)], normal_concat=range(2, 6), reduce=[('avg_pool_3x3', 0), ('sep_conv_5x5', 1),
    ('sep_conv_3x3', 0), ('dil_conv_5x5', 2), ('max_pool_3x3', 0), ('dil_conv_3x3', 1),
    ('dil_conv_3x3', 1), ('dil_conv_5x5', 3)],
  reduce_concat=range(2, 6))

"""

# Liu et al., "DARTS", 2019, arXiv:1806.09055: 3.3 M on CIFAR-10, 4.7 M on ImageNet.
DARTS_V2 = (
    "DARTS_V2 = Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), "
    "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), "
    "('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), "
    "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)
