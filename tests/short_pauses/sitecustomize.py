"""On the path of a program under test, whose libraries then retry without long pauses.

They retry as often, and say so, as ever: huggingface_hub has no setting for how long it waits.
"""

import time

_LONGEST = 0.01
_sleep = time.sleep


def _short_sleep(seconds: float) -> None:
    _sleep(min(seconds, _LONGEST))


time.sleep = _short_sleep
