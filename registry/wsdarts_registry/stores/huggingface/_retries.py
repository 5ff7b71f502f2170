"""Retries of requests to Hugging Face.

A failure that may pass, such as a lost connection, is retried three times with growing pauses. A
conflict, where somebody else wrote first, is retried at once for up to five minutes.
"""

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from wsdarts_registry.errors import RegistryError

RETRIES = 3
# Pauses in seconds: the first, doubled after each failure, and the longest.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
FIRST_CONFLICT_PAUSE = 0.05
LONGEST_CONFLICT_PAUSE = 2.0
CONFLICT_SECONDS = 300.0
_T = TypeVar("_T")
_log = logging.getLogger("wsdarts_hub.retry")


class RetryableError(Exception):
    """A request failed, or its outcome is unknown; read the state again and repeat.

    Args:
        reason: The error to raise once there are no retries left.
        conflict: Whether the only reason is that somebody else wrote first.
        retry_after: Seconds that the server asks to wait.
    """

    def __init__(
        self, reason: RegistryError, *, conflict: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.conflict = conflict
        self.retry_after = retry_after or 0.0


def with_retries(attempt: Callable[[], _T]) -> _T:
    """Call a function until it raises no ``RetryableError``, and return its result.

    Raises:
        RegistryError: The reason of the last error; there are no retries left.
    """
    begun = time.monotonic()
    failures = conflicts = 0
    while True:
        try:
            return attempt()
        except RetryableError as error:
            if error.conflict:
                conflicts += 1
                is_last = time.monotonic() - begun > CONFLICT_SECONDS
                pause = min(FIRST_CONFLICT_PAUSE * 2 ** min(conflicts, 10), LONGEST_CONFLICT_PAUSE)
            else:
                failures += 1
                # Nobody would watch a program wait longer than the longest pause.
                is_last = failures > RETRIES or error.retry_after > LONGEST_PAUSE
                pause = min(FIRST_PAUSE * 2 ** (failures - 1), LONGEST_PAUSE)
            if is_last:
                raise error.reason from error
            # Jitter keeps many programs from returning together.
            jittered = pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
            wait = max(jittered, error.retry_after)
            _log.info("trying again in %.2g s: %s", wait, error.reason)
            time.sleep(wait)
