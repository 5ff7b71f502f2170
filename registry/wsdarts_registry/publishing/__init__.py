"""Publishing: push, copy, and the model card that goes with a version.

May import ``stores`` and what that imports. Public: ``push``, ``sign_version`` and ``pull``
(``publication``), ``copy`` (``copying``), ``render_card`` (``card``; what it says is in
``card_facts``, its text in the templates of ``wsdarts_cards``).
"""
