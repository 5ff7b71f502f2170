"""Publishing: push, sign, pull and copy, and the model card that goes with a version.

May import ``architecture``, ``artifact``, ``drawing``, ``embedding`` and ``stores``. Public:
``push``, ``sign_version``, ``pull`` and ``copy`` (``publication``), trainings of a run
(``training_record``). The card is written by ``_card``; its text stands in the templates of
``wsdarts_cards``.
"""
