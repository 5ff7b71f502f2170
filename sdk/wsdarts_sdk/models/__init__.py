"""Derived networks: operations, building, training, prediction, export to ONNX and timm.

May import ``data``, ``runs`` and ``supernet``. Public: ``DerivedNetwork`` and
``count`` (``network``), ``train_network`` (``training``), ``Classifier`` (``classifier``),
``inherit`` (``inheritance``). The candidate operations are in ``_operations``; ``engine`` computes
a training step on compiled kernels.
"""
