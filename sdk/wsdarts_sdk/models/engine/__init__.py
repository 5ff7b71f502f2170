"""The training step of a derived network on compiled kernels.

``calls`` describes tensors to the kernels of ``derived.cpp``, ``program`` lays out one step of a
network for one shape of images, and ``step`` runs it under autograd. The network of modules
(``models.network``) owns every parameter and statistic, and stays what is saved and exported; where
the kernels cannot run, it computes the step as well. May import ``models.network``,
``models.operations`` and ``supernet``. Public: the names below.
"""

from wsdarts_sdk.models.engine.step import TrainingEngine, compile_ahead

__all__ = ["TrainingEngine", "compile_ahead"]
