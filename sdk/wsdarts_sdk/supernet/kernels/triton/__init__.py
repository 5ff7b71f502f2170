"""The supernet's kernels in Triton, for CUDA; ``kernels`` puts them together.

May import the kernels' interface and the portable ones. Public: ``TritonKernels``
(``kernels``).
"""
