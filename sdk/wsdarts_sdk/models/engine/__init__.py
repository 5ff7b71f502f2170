"""The training step of a derived network on compiled kernels.

``calls`` describes tensors in an arena to the kernels of ``derived.cpp``, ``operations`` notes the
calls of each operation and ``program`` those of a whole network for one shape of images; ``step``
runs them under autograd where it finds nothing against it. The network of modules
(``models.network``) owns every parameter and statistic, and stays what is saved and exported; where
the kernels cannot run, it computes the step as well. May import ``models.network``,
``models.operations`` and ``supernet``. Public: the names below.
"""

from wsdarts_sdk.models.engine._step import TrainingEngine, compile_ahead

__all__ = ["TrainingEngine", "compile_ahead"]
