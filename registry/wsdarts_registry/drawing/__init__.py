"""Drawings of architectures: cells and operation masks as SVG and as text.

May import ``architecture``. Public: ``genotype_svg``, ``cell_svg``, ``cell_text``, ``masks_svg``
and ``Drawing`` (``cells``), and the colours and elements of all our SVG (``svg``).
"""
