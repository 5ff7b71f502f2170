"""Where downloaded and derived files are kept."""

import os
from pathlib import Path

import platformdirs

from wsdarts_registry.files import expanded

CACHE_VARIABLE = "WSDARTS_HUB_CACHE"


def cache_directory() -> Path:
    """Directory of everything that can be deleted and made again.

    The environment variable ``WSDARTS_HUB_CACHE`` names it where it is set and not empty;
    else it is the user's cache directory of the platform. It may not exist yet.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return expanded(chosen)
    return platformdirs.user_cache_path("wsdarts-hub")
