"""The jobs that users start, each readable from top to bottom.

Embed, search, warm start, sweep, train, doctor, demo.
May import everything of the SDK. Public: ``warm_start``, ``search``, ``train``, ``embed_data``,
``nearest`` and their results, in the modules of these names.
"""
