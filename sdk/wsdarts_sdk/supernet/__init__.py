"""The supernet of a search: its plan, its cells, its gradients and its kernels.

May import ``data``. Inside, ``network`` imports ``_cell`` and ``kernel_choice``, these
import ``operation_plan``, and all of them ``kernels``. The candidate operations are placed in
``operation_plan``, evaluated in ``_cell`` and computed in ``kernels``; those of derived networks
are in ``models._operations``.
"""
