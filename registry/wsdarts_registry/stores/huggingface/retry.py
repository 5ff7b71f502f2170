"""How often, and how long apart, something is tried again."""

import random
import time
from dataclasses import dataclass, field

from wsdarts_registry.errors import RegistryError

# Seconds: the first pause after trouble, and the longest pause; tests shorten them.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
# Where others were merely faster, the next try may come soon.
FIRST_CONTEST = 0.05
LONGEST_CONTEST = 2.0


class UnsettledError(Exception):
    """Something was not done, or it is not known whether it was; look again and repeat.

    Args:
        reason: What to raise where patience ends.
        contested: Whether the only trouble is that somebody else was first.
        wait: Seconds that the server asks to wait.
    """

    def __init__(
        self, reason: RegistryError, *, contested: bool = False, wait: float | None = None
    ) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.contested = contested
        self.wait = wait


@dataclass
class Patience:
    """Counts what was in vain, and pauses, with jitter so that many do not return together.

    Attributes:
        troubles: How often trouble is met with another try.
        seconds: How long others may be faster before it is given up.
    """

    troubles: int = 3
    seconds: float = 300.0
    _met: int = 0
    _contests: int = 0
    _begun: float = field(default_factory=time.monotonic)

    def after(self, error: UnsettledError) -> None:
        """Pause before the next try.

        Raises:
            RegistryError: The reason of the error; it was tried often enough.
        """
        if error.contested:
            self._contests += 1
            if time.monotonic() - self._begun > self.seconds:
                raise error.reason from error
            pause = min(FIRST_CONTEST * 2 ** min(self._contests, 10), LONGEST_CONTEST)
        else:
            self._met += 1
            # A server that asks for a longer wait than anybody would watch is not waited for.
            if self._met > self.troubles or (error.wait or 0) > LONGEST_PAUSE:
                raise error.reason from error
            pause = min(FIRST_PAUSE * 2 ** (self._met - 1), LONGEST_PAUSE)
        jittered = pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        time.sleep(max(jittered, error.wait or 0.0))
