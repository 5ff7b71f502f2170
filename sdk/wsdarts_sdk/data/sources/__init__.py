"""Sources of images: one module for each form in which users hand in a dataset.

May import the decoding of images and the split. Public: ``ImageSource`` (``base``), ``open_source``
(``source_kinds``, which chooses the form).
"""
