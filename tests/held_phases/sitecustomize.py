"""On the path of a program under test: holds the import of the module that HELD_IMPORT names.

Signs of life come every second, not every ten.
"""

import os
import sys
import time
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

import wsdarts_sdk.progress

wsdarts_sdk.progress._INTERVAL_SECONDS = 1.0


class _Held(MetaPathFinder):
    """Finds nothing, but lets whoever asks for one module wait."""

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> None:
        while fullname == os.environ.get("HELD_IMPORT"):
            time.sleep(0.01)


sys.meta_path.insert(0, _Held())
