"""A registry in a namespace on the Hugging Face Hub, through ``huggingface_hub``.

May import ``stores`` and what that imports; loaded only when such a registry is opened. Public:
``HubStore`` (``store``) and the names of such registries (``location``). Everything that the
Hub answers is checked in ``client`` and ``answers``; how often a request is repeated is in
``retry``.
"""
