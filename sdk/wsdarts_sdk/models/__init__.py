"""Derived networks: building, training, prediction, export to ONNX and timm.

May import ``search`` and what that imports. Public: ``DerivedNetwork`` (``network``),
``train_network`` (``training``), ``Classifier`` (``classifier``), ``load_network``
(``loading``), ``count`` (``size``).
"""
