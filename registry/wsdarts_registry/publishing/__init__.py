"""Publishing: push, sign, pull and copy, and the model card that goes with a version.

May import ``stores`` and what that imports. Public: ``push``, ``sign_version``, ``pull`` and
``copy`` (``publication``), ``CardFacts`` and ``render_card`` (``card``, whose text stands in the
templates of ``wsdarts_cards``), trainings of a run (``training_record``).
"""
