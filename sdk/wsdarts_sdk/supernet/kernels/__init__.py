"""Kernels of the supernet: one interface (``base``) and its implementations.

``portable`` is plain torch, ``compiled`` calls ``cpu.cpp``, which ``wsdarts_sdk.compiler`` compiles
and caches, ``triton_kernels`` is for CUDA, of the kernels in the other modules of that name.
``derived.cpp`` computes steps of derived networks, for ``models.engine``, of the same
``primitives.h``. May import no other module of the supernet. Public: ``Kernels`` (``base``).
"""
