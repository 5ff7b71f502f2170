"""A registry in a namespace on Hugging Face, through ``huggingface_hub``.

May import ``stores`` and what that imports; loaded only when such a registry is opened. Public:
``HubStore`` (``store``) and the names of such registries (``location``). The client is bounded in
what it sends and takes (``_transport`` reads and writes, ``_responses`` checks and caches);
``_retries`` has the rule by which a request is tried again.
"""
