"""The training step of a derived network on compiled kernels.

``_calls`` describes tensors in an arena to the kernels of ``derived.cpp``, ``_operations`` notes
the calls of each operation and ``_program`` those of a whole network for one shape of images;
``training_engine`` runs them under autograd where it finds nothing against it. The network of
modules (``models.network``) owns every parameter and statistic, and stays what is saved and
exported; where the kernels cannot run, it computes the step as well. May import
``models.network``, ``models._operations`` and ``supernet``. Public: ``TrainingEngine`` and
``compile_ahead`` (``training_engine``).
"""
